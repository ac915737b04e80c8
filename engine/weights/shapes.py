"""A checkpoint read for its shapes alone: all is asked of it, and no byte of its weights read."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ModelError
from .checkpoint import Checkpoint
from .load import WeightReader, readable, stored_dtype
from .shards import Entry, Shard


class ShapeReader(WeightReader):
    """A checkpoint's weights as shapes without numbers; faults are collected, not raised."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, stored_dtype(checkpoint), torch.device("meta"))
        self.faults: list[ModelError] = []

    def _read(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None
    ) -> tuple[Tensor, list[tuple[Shard, Entry]]]:
        """A weight of the shape asked for, whether the checkpoint has it or not."""
        try:
            return super()._read(name, shape, dtype)
        except ModelError as fault:
            self.faults.append(fault)
            return torch.empty(shape, device="meta", dtype=self.dtype), []

    def _part(
        self, name: str, dtype: torch.dtype, shape: tuple[int, ...]
    ) -> tuple[Tensor, list[tuple[Shard, Entry]]]:
        """A part of the shape asked for, whether the checkpoint has it or not."""
        try:
            return super()._part(name, dtype, shape)
        except ModelError as fault:
            self.faults.append(fault)
            return torch.empty(shape, device="meta", dtype=dtype), []

    def stored(self, shard: Shard, entry: Entry, theirs: str) -> Tensor:
        """A tensor of the stored shape; its bytes aren't touched."""
        return torch.empty(entry.shape, dtype=readable(shard, entry, theirs), device="meta")
