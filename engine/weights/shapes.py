"""A checkpoint read for its shapes alone: all is asked of it, and no byte of its weights read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ... import ModelError
from ..matrix import Matrix, SideBySide
from ..model.decoder import Decoder
from .adapted import Adapted
from .adapter import Lora, open_adapter
from .checkpoint import Checkpoint
from .load import WeightReader, stored_dtype
from .mapped import readable
from .shards import Entry, Shard


class ShapeReader(WeightReader):
    """A checkpoint's weights as shapes without numbers; faults are collected, not raised."""

    def __init__(self, checkpoint: Checkpoint, adapted: Adapted | None = None) -> None:
        meta = torch.device("meta")
        super().__init__(checkpoint, stored_dtype(checkpoint), meta, adapted=adapted)
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

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """See `Source`. Nothing is joined: torch would import much to do it without numbers."""
        if len(names) == 1:
            return super().matrix(names, outputs, inputs, taken)
        rows = zip(names, outputs, strict=True)
        return SideBySide([self.matrix([name], [width], inputs) for name, width in rows], outputs)

    def stored(self, shard: Shard, entry: Entry, theirs: str) -> Tensor:
        """A tensor of the stored shape; its bytes aren't touched."""
        return torch.empty(entry.shape, dtype=readable(shard, entry, theirs), device="meta")


def adapt(checkpoint: Checkpoint, loras: Sequence[Lora]) -> Adapted | None:
    """Adapters that are known to fit `checkpoint`, before a byte of their tensors is read.

    Raises `ModelError` for one that is missing, damaged, of another kind or of another model, and
    for a checkpoint that doesn't load.
    """
    if not loras:
        return None
    # All are looked at, also those that a scale of 0 leaves out.
    adapters = [open_adapter(lora) for lora in loras]
    adapted = Adapted(adapters, checkpoint)
    reader = ShapeReader(adapted.checkpoint, adapted)
    Decoder(adapted.checkpoint.spec, reader)
    if reader.faults:
        raise reader.faults[0]
    adapted.refuse_rest()
    return adapted
