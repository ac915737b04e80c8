"""What the model needs of a KV cache, whatever its layout."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..step import Segment, Step
from .codes import Packing


class KeyValue(NamedTuple):
    """Keys and values of a segment's rows, [R, G, S, D] each, this step's among them.

    Where they lie is said in one of two ways: position p is in slot p modulo `ring`, or
    `positions` [R, S] tells which position each slot holds, below zero for an empty one. `packing`
    tells how to read numbers that aren't of the model's dtype.
    """

    k: Tensor
    v: Tensor
    positions: Tensor | None = None
    ring: int = 0
    packing: Packing | None = None


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

    def reserve(self, row: int, length: int) -> None:
        """Make room for `length` tokens in a row."""
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
