"""Weights in four bits: groups of 32 inputs have a scale and a zero of their own.

Measured on Zen 4, an 8192 x 2048 matrix, two cores: one row takes 0.44 ms, whether from memory
or from the cache, since widening the codes is what takes time; four rows take 0.8 ms, eight 1.6.
Unpacked block by block it takes 6 ms and then what bfloat16 takes: for 512 rows 47 ms against 39.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ... import UsageError
from ..matrix import Matrix
from .blocks import blocks, product, wide_enough
from .kinds import GROUP

FEW = 48
"""Rows up to which the kernel, which widens the codes for every four, beats unpacking once."""

REFITS = 2
"""Times that scale and zero are fitted to codes and codes to them; more gains next to nothing."""


@dataclass(frozen=True)
class Int4Weight:
    """weights [N, K] = (codes - 8) times scales plus zeros, the latter bfloat16 [N, G].

    Codes of two inputs share a byte, the first in its lower half: uint8 [N, 16 G]. Where the last
    group isn't whole, its other codes mean nothing.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    inputs: int

    @classmethod
    def quantize(cls, weight: Tensor) -> Int4Weight:
        """Codes, scales and zeros near the least squared error."""
        outputs, inputs = weight.shape
        parts = cls.layout(outputs, inputs)
        made = {
            name: torch.empty(shape, dtype=dtype, device=weight.device)
            for name, (dtype, shape) in parts.items()
        }
        columns = _whole_groups(inputs, weight.device)
        for rows in blocks(outputs, len(columns)):
            part = weight[rows].float()
            part = part if len(columns) == inputs else part[:, columns]
            groups = part.reshape(-1, GROUP)
            scale, zero = _fit(groups)
            codes = _nearest(groups, scale, zero).add_(8).to(torch.uint8).view(len(part), -1)
            made[""][rows] = codes[:, 0::2] | codes[:, 1::2] << 4
            made[".scale"][rows] = scale.view(len(part), -1)
            made[".zero"][rows] = zero.view(len(part), -1)
        return cls.of(made, inputs)

    @classmethod
    def of(cls, parts: Mapping[str, Tensor], inputs: int) -> Int4Weight:
        """The weight of so many inputs whose `parts` these are."""
        return cls(parts[""], parts[".scale"], parts[".zero"], inputs)

    @classmethod
    def layout(cls, outputs: int, inputs: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of the parts of a weight, by what is added to its name."""
        groups = -(-inputs // GROUP)
        shape = (outputs, groups)
        return {
            "": (torch.uint8, (outputs, groups * GROUP // 2)),
            ".scale": (torch.bfloat16, shape),
            ".zero": (torch.bfloat16, shape),
        }

    @classmethod
    def joined(cls, weights: Sequence[Int4Weight]) -> Int4Weight:
        """Weights with the same input, one below the other."""
        parts = [weight.parts() for weight in weights]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return cls.of(whole, weights[0].inputs)

    def part(self, axis: int, span: range) -> Int4Weight:
        """A copy of some outputs (axis 0) or inputs (axis 1).

        Raises `UsageError` for inputs that aren't whole groups.
        """
        if axis == 0:
            some = {name: x[span.start : span.stop].clone() for name, x in self.parts().items()}
            return Int4Weight.of(some, self.inputs)
        if span.start % GROUP or (span.stop % GROUP and span.stop != self.inputs):
            raise UsageError(
                f"int4 weights can't be cut before input {span.start} and after {span.stop}: "
                f"{GROUP} inputs share a scale",
                hint="use int8, or another number of processes",
            )
        first, last = span.start // GROUP, -(-span.stop // GROUP)
        codes = self.codes[:, first * GROUP // 2 : last * GROUP // 2].contiguous()
        scales, zeros = (x[:, first:last].contiguous() for x in self.affine())
        return Int4Weight(codes, scales, zeros, len(span))

    def parts(self) -> dict[str, Tensor]:
        """See `layout`."""
        return {"": self.codes, ".scale": self.scales, ".zero": self.zeros}

    def unpacked(self, rows: slice = slice(None)) -> Tensor:
        """The codes a byte each, uint8 [N, 32 G], or those of some rows."""
        pairs = self.codes[rows]
        return torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(1)

    def dense(self, rows: slice = slice(None), dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights as numbers, or some rows of them."""
        wide = wide_enough(dtype)
        scales, zeros = (part[rows].to(wide)[..., None] for part in self.affine())
        codes = self.unpacked(rows).to(wide).sub_(8).view(*scales.shape[:2], GROUP)
        return torch.addcmul(zeros, codes, scales).flatten(1)[:, : self.inputs].to(dtype)

    def affine(self) -> tuple[Tensor, ...]:
        """What isn't codes: scales and zeros."""
        return self.scales, self.zeros

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and zeros."""
        return sum(part.nbytes for part in self.parts().values())

    def hold(self) -> Matrix:
        """The fastest form there is here."""
        panel = kernel_panel() if self.codes.device.type == "cpu" else None
        return PlainInt4(self) if panel is None else PackedInt4(self, panel)


def _whole_groups(inputs: int, device: torch.device) -> Tensor:
    """Columns to quantize: all, and those of a last group that isn't whole once more."""
    whole = inputs // GROUP * GROUP
    columns = torch.arange(-(-inputs // GROUP) * GROUP, device=device)
    if whole < inputs:
        columns[whole:] = whole + torch.arange(GROUP, device=device) % (inputs - whole)
    return columns


def _fit(values: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and zeros, bfloat16 [B, 1], of groups float32 [B, 32].

    First the range is parted evenly. Then, by turns, scale and zero are the least squares' for the
    codes, and the codes the nearest for them; the best of all rounds is kept.
    """
    low, high = values.amin(1, True), values.amax(1, True)
    scale = (high - low) / 15
    kept = _as_stored(scale, low + 8 * scale)
    scale, zero = kept
    least = torch.full_like(low, torch.inf)
    mean = values.mean(1, True)
    for round in range(REFITS + 1):
        codes = _nearest(values, scale, zero)
        missed = torch.addcmul(zero.float(), codes, scale.float()).sub_(values)
        error = missed.square_().sum(1, True)
        better = error < least
        kept = torch.where(better, scale, kept[0]), torch.where(better, zero, kept[1])
        if round == REFITS:
            break
        least = torch.minimum(error, least)
        middle = codes.mean(1, True)
        together = torch.mul(codes, values).mean(1, True) - middle * mean
        spread = codes.square_().mean(1, True) - middle.square()
        slope = torch.where(spread > 0, together / spread, scale)
        scale, zero = _as_stored(slope, mean - slope * middle)
    return kept


def _as_stored(scale: Tensor, zero: Tensor) -> tuple[Tensor, Tensor]:
    """Rounded as they are kept; a scale of 0 does as well as 1."""
    scale = scale.bfloat16()
    return torch.where(scale == 0, 1, scale), zero.bfloat16()


def _nearest(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The codes from -8 to 7 nearest to groups [B, 32], as float32."""
    return torch.sub(values, zero).div_(scale).round_().clamp_(-8, 7)


class PlainInt4:
    """Unpacked block by block; runs anywhere."""

    def __init__(self, weight: Int4Weight) -> None:
        self.weight = weight
        self.nbytes = weight.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        weight = self.weight
        return product(x, len(weight.codes), lambda rows: weight.dense(rows, x.dtype), bias)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self.weight.dense()


@dataclass(frozen=True)
class Panel:
    """How the kernel lays codes out: outputs in panels of `width`, and input by input in one.

    A byte holds the codes of two outputs, one of those that `low` takes of the panel and its
    counterpart of those that `high` takes.
    """

    width: int
    low: slice
    high: slice

    def packed(self, codes: Tensor) -> Tensor:
        """uint8 [N, K] -> [N / width, K, width / 2]; N is whole panels."""
        panels = codes.view(-1, self.width, codes.shape[1])
        return (panels[:, self.low] | panels[:, self.high] << 4).transpose(1, 2)

    def unpack(self, packed: Tensor, into: Tensor) -> None:
        """[P, K, width / 2] -> codes in `into`, [K, P, width]."""
        pairs = packed.transpose(0, 1)
        into[..., self.low] = pairs & 15
        into[..., self.high] = pairs >> 4


PANELS = (
    Panel(64, slice(0, 32), slice(32, 64)),  # AVX-512
    Panel(32, slice(0, 16), slice(16, 32)),  # AVX2
    Panel(32, slice(0, None, 2), slice(1, None, 2)),  # elsewhere
)


@cache
def kernel_panel() -> Panel | None:
    """The kernel's layout on this processor; None if there is no such kernel, or a new layout."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (64, GROUP), generator=generator, dtype=torch.int32)
    try:
        packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    except (RuntimeError, AttributeError, TypeError):
        return None
    for panel in PANELS:
        if torch.equal(packed.flatten(), panel.packed(codes.to(torch.uint8)).flatten()):
            return panel
    return None


class PackedInt4:
    """In the layout of torch's kernel for a few rows, from which many rows unpack it by blocks.

    Inputs are rounded to bfloat16 either way, and outputs come in it.
    """

    def __init__(self, weight: Int4Weight, panel: Panel) -> None:
        self.nbytes = weight.nbytes
        self._multiply = torch.ops.aten._weight_int4pack_mm_for_cpu.default
        self._panel = panel
        self._outputs, self._inputs = len(weight.codes), weight.inputs
        count = -(-self._outputs // panel.width)
        outputs, width = count * panel.width, weight.codes.shape[1] * 2
        self._packed = torch.empty(count, width, panel.width // 2, dtype=torch.uint8)
        for panels in blocks(count, panel.width * width):
            rows = slice(panels.start * panel.width, panels.stop * panel.width)
            codes = weight.unpacked(rows)
            missing = rows.stop - rows.start - len(codes)
            self._packed[panels] = panel.packed(F.pad(codes, (0, 0, 0, missing)))
        affine = torch.stack((weight.scales.T, weight.zeros.T), dim=-1)  # [G, N, 2]
        self._affine = F.pad(affine, (0, 0, 0, outputs - self._outputs)).contiguous()
        self._rows = self._packed.view(outputs, width // 2)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        rows = x.to(torch.bfloat16).contiguous()
        missing = self._packed.shape[1] - self._inputs
        if missing:
            rows = F.pad(rows, (0, missing))
        if len(x) <= FEW:
            out: Tensor = self._multiply(rows, self._rows, GROUP, self._affine)
        else:
            out = self._unpacking(rows)
        if out.shape[1] != self._outputs:
            out = out[:, : self._outputs].contiguous()
        out = out.to(x.dtype)
        return out if bias is None else out.add_(bias)

    def _unpacking(self, rows: Tensor) -> Tensor:
        """The product with weights unpacked panels at a time: bfloat16 [T, K] -> [T, N]."""
        dtype = torch.bfloat16 if _multiplies_bfloat16() else torch.float32
        rows, width = rows.to(dtype), self._panel.width
        out = torch.empty(len(rows), len(self._rows), dtype=dtype)
        for panels in blocks(len(self._packed), width * rows.shape[1]):
            outputs = slice(panels.start * width, panels.stop * width)
            out[:, outputs] = rows @ self._dense(panels, dtype)
        return out

    def _dense(self, panels: slice, dtype: torch.dtype) -> Tensor:
        """Some panels as numbers, the outputs last: [K, P * width]."""
        packed, width = self._packed[panels], self._panel.width
        dense = torch.empty(packed.shape[1], len(packed), width, dtype=dtype)
        self._panel.unpack(packed, dense)
        grouped = dense.view(-1, GROUP, len(packed) * width)
        affine = self._affine[:, None, panels.start * width : panels.stop * width].float()
        # (code - 8) scale + zero, without a pass over all codes for the 8.
        scales, zeros = affine[..., 0], affine[..., 1] - 8 * affine[..., 0]
        scales, zeros = scales.to(dtype).contiguous(), zeros.to(dtype)
        return torch.addcmul(zeros, grouped, scales, out=grouped).flatten(0, 1)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        every = self._dense(slice(0, len(self._packed)), torch.float32)
        return every.T[: self._outputs, : self._inputs].contiguous()


@cache
def _multiplies_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
