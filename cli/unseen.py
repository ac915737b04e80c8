"""Which tokens of a prompt some of its words are, to be kept from a model's sight."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from .. import ModelError, UsageError
from .prompt_words import Spelling, parted
from .terminal import Terminal

if TYPE_CHECKING:
    from ..tokenizer.tokenizer import Tokenizer


def places_of(
    words: str, ids: Sequence[int], tokenizer: Tokenizer | None, terminal: Terminal
) -> list[range]:
    """The tokens that `words` touch, wherever a prompt has them as words of their own.

    The last token isn't among them, from which the answer is read; it says so, and where tokens
    say more than that. Raises `UsageError` where the prompt doesn't have the words, `ModelError`
    without a tokenizer.
    """
    asked = f"--ablate text:{words}"
    if tokenizer is None:
        raise ModelError(f"{asked}: the model has no tokenizer", hint="tokens:FIRST-LAST does")
    spelling = Spelling(tokenizer)
    parts = [spelling.data(id) for id in ids]
    whole, wanted = b"".join(parts), words.encode()
    ends = list(accumulate(map(len, parts)))
    found: list[range] = []
    within: range | None = None
    for begin in _occurrences(wanted, whole):
        end = begin + len(wanted)
        places = range(bisect_right(ends, begin), bisect_right(ends, end - 1) + 1)
        if _parted(whole[:begin], wanted) and _parted(wanted, whole[end:]):
            found.append(places)
        elif within is None:
            within = places
    if not found:
        raise UsageError(f"{asked}: {_missing(within, ids, spelling)}")
    if len(ids) - 1 in found[-1] and len(found) > 1:
        found.pop()
        terminal.note(f"`{words}` is seen where the prompt ends: the answer is read there")
    wider = {
        spelling.shown(*ids[one.start : one.stop]): None
        for one in found
        if b"".join(parts[one.start : one.stop]).strip() != wanted.strip()
    }
    if wider:
        listed = ", ".join(f"`{shown}`" for shown in wider)
        terminal.note(f"tokens are unseen as a whole, for `{words}`: {listed}")
    return found


def _missing(within: range | None, ids: Sequence[int], spelling: Spelling) -> str:
    """Why words aren't found, which may be `within` others."""
    if within is None:
        return "the prompt doesn't have it"
    shown = next(word.shown for word in spelling.words(ids) if within.start < word.end)
    return f"the prompt has it only within other words, as in `{shown}`"


def _occurrences(wanted: bytes, whole: bytes) -> Iterator[int]:
    begin = whole.find(wanted)
    while begin >= 0:
        yield begin
        begin = whole.find(wanted, begin + 1)


def _parted(before: bytes, after: bytes) -> bool:
    """Whether a word ends between what stands before and after."""
    letter = before[-4:].decode("utf-8", "ignore")[-1:]  # some letter's halves may stand before
    return not after or parted(letter.encode(), after[:4])


def joined(stretches: Sequence[range]) -> tuple[range, ...]:
    """The same places in their order, those that touch each other as one."""
    found: list[range] = []
    for one in sorted(stretches, key=lambda one: one.start):
        if found and one.start <= found[-1].stop:
            one = range(found[-1].start, max(found.pop().stop, one.stop))
        found.append(one)
    return tuple(found)
