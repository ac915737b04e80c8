"""Which tokens of a prompt the model gets where the context can't hold them all. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from .. import InputError

T = TypeVar("T")

Overflow = Literal["error", "truncate-left", "truncate-middle", "shift"]
"""What becomes of a text that the context can't hold.

For a prompt see `fit`. A context that fills up while a text is written ends it; only with "shift"
the older half of the text makes room.
"""
OVERFLOWS: tuple[Overflow, ...] = ("error", "truncate-left", "truncate-middle", "shift")


@dataclass(frozen=True)
class Fit:
    """A prompt of `total` tokens, of which the first `head` and the last `tail` are kept."""

    total: int
    head: int
    tail: int

    @property
    def dropped(self) -> int:
        """Tokens left out: those from place `head` on."""
        return self.total - self.head - self.tail

    def of(self, ids: Sequence[T]) -> tuple[T, ...]:
        """What is kept of the prompt's tokens, or of anything else that has one for each."""
        return (*ids[: self.head], *ids[self.total - self.tail :])


def fit(total: int, context: int, max_new: int | None, overflow: Overflow, first: int = 0) -> Fit:
    """What of a prompt's `total` tokens to keep in a context of so many tokens.

    A prompt that leaves room for one token is whole. One that is cut leaves room for `max_new`
    tokens (None: as many as there are) or half the context, whichever is less. Its `first` tokens,
    a begin-of-text token, are kept. Of what else there is room for, "truncate-middle" keeps half
    at each end, and the others keep the end.
    Raises `InputError` with both counts where it doesn't fit and `overflow` is "error".
    """
    least = 0 if max_new == 0 else 1
    if total + least <= context:
        return Fit(total, total, 0)
    if overflow == "error":
        raise InputError(
            f"the prompt has {total} tokens, the context {context}: no room is left for an answer",
            hint="shorten it, or let --overflow truncate-left drop its beginning",
        )
    half = context // 2
    kept = context - max(least, half if max_new is None else min(max_new, half))
    head = min(first, kept - 1)
    if overflow == "truncate-middle":
        head = max(head, kept // 2)
    return Fit(total, head, kept - head)
