"""Whose turn it is to get a token, and the random numbers that it is drawn by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from torch import Tensor

from ..request import Sampling

TOKEN, COIN = 0, 1
"""Lanes of the random stream: which token is drawn, and whether XTC acts."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A row's turn: its sampling settings, its sample's own seed, the token's position.

    `recent` are the ids that `Sampling.repetition` makes less likely, `said` those generated so
    far, `text` all, the prompt's too; each is empty where nothing that is on looks at it. `barred`
    are ids that can't be chosen, and `mask`, packed [W], the only ones that can.
    """

    sampling: Sampling
    seed: int
    position: int
    recent: Sequence[int] = ()
    barred: frozenset[int] = frozenset()
    mask: Tensor | None = None
    said: Sequence[int] = ()
    text: Sequence[int] = ()

    def uniform(self, lane: int) -> float:
        """The turn's random number in [0, 1) for one purpose, its lane."""
        return uniform(self.seed, lane, self.position)


def uniform(seed: int, lane: int, position: int) -> float:
    """A random number in [0, 1) that only its three arguments decide.

    A hash is a counter-based generator (Salmon et al. 2011) that needs no state: a sample's draws
    are the same alone, in a batch, after a restart, and on every machine.
    """
    digest = blake2b(f"{seed} {lane} {position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53
