"""What the model needs of a KV cache, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..step import Segment, Step
from .bags import Bags
from .codes import Packing


class Paging(NamedTuple):
    """Which blocks a segment's rows see: `owners` [V] is who sees each of `blocks` [V].

    `table` [R, P] has the places in that list of each row's blocks, and `absent` [R, P] is true of
    those that fill it up. Blocks are read `most` at a time, or with `bags` where they lie.
    """

    blocks: Tensor
    owners: Tensor
    table: Tensor
    absent: Tensor
    most: int
    bags: Bags | None = None


class Frame(NamedTuple):
    """Where a segment's queries stand among the `width` that attend with them: from `first` on."""

    first: int
    width: int


class KeyValue(NamedTuple):
    """Keys and values of a segment's rows, [R, G, S, D] each, this step's among them.

    Where they lie is said in one of two ways: position p is in slot p modulo `ring`, or
    `positions` [R, S] tells which position each slot holds, below zero for an empty one. `packing`
    tells how to read numbers that aren't of the model's dtype. With `paging`, k and v are the
    blocks of a whole layer, and `positions` are those of the views that it lists. With a `frame`,
    slots beyond the segment's own may hold anything.
    """

    k: Tensor
    v: Tensor
    positions: Tensor | None = None
    ring: int = 0
    packing: Packing | None = None
    paging: Paging | None = None
    frame: Frame | None = None


def held_positions(kv: KeyValue, last: Tensor) -> Tensor:
    """Which position each slot holds [R, S], in rows whose last ones are `last` [R, 1]."""
    if kv.positions is not None:
        return kv.positions
    slots = torch.arange(kv.k.shape[2], device=kv.k.device)
    return last - (last - slots) % kv.ring


class KVCache(Protocol):
    """Keys and values of what was read, by row. A row is one sequence.

    Each slot knows its absolute position, so one rule masks padding, rings and drafts alike: a
    key is seen if it isn't empty, not later than the query, and within the window.
    """

    def reserve(self, row: int, length: int, first: int = 0) -> bool:
        """Make room for `length` tokens in a row, of which those from `first` on are written next.

        False where there is none.
        """
        ...

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        """Store the step's keys and values, [T, G, D] each."""
        ...

    def read(self, layer: int, segment: Segment) -> KeyValue:
        """All that the segment's rows may see, after `write`."""
        ...

    def fork(self, source: int, target: int, length: int) -> None:
        """Make a row's first `length` tokens those of another."""
        ...


class Rooms(KVCache, Protocol):
    """A cache as whoever gives its rows away sees it."""

    block: int
    """Tokens of a block, where rows are made of blocks that texts can share; else 0."""

    def enter(self, row: int, names: Many[bytes], length: int, spare: int) -> int | None:
        """Let a text of `length` tokens have a row, and say how many of them are cached already.

        `names` are those of its first blocks. None if there is no room for it and `spare` blocks.
        """
        ...

    def publish(self, row: int, names: Many[bytes]) -> None:
        """Let a row's first blocks, which are whole, be found by their names."""
        ...

    def find(self, names: Many[bytes]) -> int:
        """How many of these first blocks are there."""
        ...

    def move(self, source: int, target: int, length: int) -> None:
        """Give a row of `length` tokens another number."""
        ...

    def release(self, row: int) -> None:
        """Let go of what a row holds."""
        ...
