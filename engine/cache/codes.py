"""Cached numbers in fewer bytes than the model computes in: int8 codes with scales, or a cast.

Attention reads them a block of slots at a time, each block turned back into numbers in the same
memory, so that there is never a full copy of the context.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

GROUP = 64
"""Neighbouring numbers of a head that share a scale, where its width is a multiple of it."""

BLOCK = 1 << 20
"""Numbers of a block: 4 MB of float32, which a processor's cache holds."""

FEWEST = 64
"""Slots of a block at least, however many rows and heads there are."""

SMALLEST = 1e-30
"""The least scale, for a head that is all zero."""


def groups(width: int) -> int:
    """How many scales a head of so many numbers has at a position."""
    return width // GROUP if width % GROUP == 0 else 1


def block_numbers(rows: int, heads: int, width: int) -> int:
    """How many numbers a block should have at least, of so many rows and heads."""
    return max(BLOCK, rows * heads * width * FEWEST)


def encode(x: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 codes [..., D] and their float32 scales [..., groups] of x [..., D].

    The largest number of a group becomes 127 or -127, so none is off by more than 1/254 of it.
    """
    if x.shape[-1] == 0:
        return x.to(torch.int8), x.float()
    parts = x.float().view(*x.shape[:-1], groups(x.shape[-1]), -1)
    scales = (parts.abs().amax(-1, keepdim=True) / 127).clamp_min_(SMALLEST)
    codes = (parts / scales).round_().to(torch.int8)
    return codes.reshape(x.shape), scales.squeeze(-1)


class Scratch:
    """Memory for a block of keys and one of values, made when first needed and used again.

    Fresh memory for each would cost more than all else: the system hands it out page by page.
    `numbers` is how many a block should have.
    """

    def __init__(self, numbers: int, device: torch.device) -> None:
        self.numbers = numbers
        self._device = device
        self._rooms: dict[str, Tensor] = {}

    def room(self, which: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """The memory called `which` as a tensor of that shape, whatever is in it."""
        memory = self._rooms.get(which)
        if memory is None or memory.numel() < shape.numel():
            size = max(shape.numel(), self.numbers)
            with torch.inference_mode(False):  # so that it may be written to in any mode
                memory = torch.empty(size, dtype=torch.float32, device=self._device)
            self._rooms[which] = memory
        return memory.view(dtype)[: shape.numel()].view(shape)


class Packing(NamedTuple):
    """The scales of a segment's keys and values [R, G, S, groups], if any, and where to unpack."""

    scratch: Scratch
    k_scales: Tensor | None = None
    v_scales: Tensor | None = None

    def unpacked(
        self, k: Tensor, v: Tensor, begin: int, end: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of slots `begin` to `end` in `dtype`, good until the next such call."""
        keys = self._unpacked("keys", k, self.k_scales, begin, end, dtype)
        if v is k:
            return keys, keys
        return keys, self._unpacked("values", v, self.v_scales, begin, end, dtype)

    def _unpacked(
        self,
        which: str,
        stored: Tensor,
        scales: Tensor | None,
        begin: int,
        end: int,
        dtype: torch.dtype,
    ) -> Tensor:
        part = stored.narrow(2, begin, end - begin)
        out = self.scratch.room(which, part.shape, dtype).copy_(part)
        if scales is not None:
            each = scales.narrow(2, begin, end - begin)[..., None]
            out.view(*each.shape[:-1], -1).mul_(each)
        return out
