"""From one distribution of the next token to another: how far it is, and which tokens move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..device import to_host
from .explanation import Guess


@dataclass(frozen=True, slots=True)
class Odds:
    """The same token in two distributions."""

    before: Guess
    after: Guess

    @property
    def id(self) -> int:
        """Its id."""
        return self.before.id


@dataclass(frozen=True, slots=True)
class Move:
    """From one distribution p of the next token to another, q.

    `kl` is KL(p || q) in nats: what q costs where p holds. `gained` and `lost` are the tokens whose
    probability rose and fell most; `watched` are those that were asked for.
    """

    kl: float
    gained: tuple[Odds, ...]
    lost: tuple[Odds, ...]
    watched: tuple[Odds, ...]


class Answer:
    """The distribution of the next token that logits [V] give."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits
        self._logs = logits.double().log_softmax(-1)  # or else small moves would be rounding

    def best(self, top: int) -> tuple[Guess, ...]:
        """The likeliest tokens."""
        return self._guesses(self._logs.topk(min(top, len(self._logs))).indices)

    def towards(self, other: Answer, watched: Sequence[int], top: int) -> Move:
        """The way to another one, with `top` tokens each that gain and lose."""
        p, q = self._logs.exp(), other._logs.exp()
        kl = torch.where(p > 0, p * (self._logs - other._logs), 0.0).sum()
        risen, fallen = ((sign * (q - p)).topk(min(top, len(p))) for sign in (1, -1))

        def odds(ids: Tensor) -> tuple[Odds, ...]:
            return tuple(map(Odds, self._guesses(ids), other._guesses(ids)))

        return Move(
            max(0.0, float(kl)),  # which rounding may put below
            odds(risen.indices[risen.values > 0]),
            odds(fallen.indices[fallen.values > 0]),
            odds(torch.tensor(watched, dtype=torch.int64, device=p.device)),
        )

    def _guesses(self, ids: Tensor) -> tuple[Guess, ...]:
        told = (to_host(column) for column in (ids, self._logs[ids].exp(), self._logits[ids]))
        return tuple(map(Guess, *told))
