"""A cache some of whose positions nobody sees: what if that part of the text weren't there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..step import Segment, Step
from .layout import KeyValue, KVCache, held_positions


class Veiled:
    """Another cache, of which no token sees the positions `unseen`, not even those there their own.

    Everything keeps its position. It lasts for one step.
    """

    def __init__(self, cache: KVCache, unseen: Sequence[range]) -> None:
        self._cache = cache
        self._unseen = unseen
        self._known: dict[tuple[Segment, int, int], Tensor] = {}

    def reserve(self, row: int, length: int, first: int = 0) -> bool:
        """See `KVCache`."""
        return self._cache.reserve(row, length, first)

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        """See `KVCache`."""
        self._cache.write(layer, k, v, step)

    def read(self, layer: int, segment: Segment) -> KeyValue:
        """See `KVCache`: slots of unseen positions are told to be empty."""
        kv = self._cache.read(layer, segment)
        # Views of blocks: windows see fewer of them.
        key = (segment, kv.k.shape[2], 0 if kv.positions is None else len(kv.positions))
        if key not in self._known:
            self._known[key] = self._seen(kv, segment)
        return kv._replace(positions=self._known[key])

    def fork(self, source: int, target: int, length: int) -> None:
        """See `KVCache`."""
        self._cache.fork(source, target, length)

    def _seen(self, kv: KeyValue, segment: Segment) -> Tensor:
        positions = kv.positions
        if positions is None:
            last = torch.tensor(segment.lengths, device=kv.k.device)[:, None] - 1
            positions = held_positions(kv, last)
        for places in self._unseen:
            within = (positions >= places.start) & (positions < places.stop)
            positions = positions.masked_fill(within, -1)
        return positions
