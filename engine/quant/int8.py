"""Weights in eight bits: whole numbers from -127 to 127, and a scale for each output.

Measured on Zen 4 (AVX-512 with VNNI), an 8192 x 2048 matrix, two cores. oneDNN's product needs
rounded inputs, for which torch has no single call; FBGEMM rounds them itself.

                                 one row, from memory   eight rows   512 rows   no matter how small
    FBGEMM's linear_dynamic                   0.53 ms      0.57 ms      23 ms                 18 us
    oneDNN's qlinear                          0.60 ms      0.71 ms      20 ms         28 us, and 15
    torch's _weight_int8pack_mm               0.84 ms      1.90 ms     119 ms                  6 us
    packed bfloat16, to compare               0.78 ms                   39 ms
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..matrix import Matrix
from .blocks import blocks, product, wide_enough

LARGEST = 127
"""The largest code. -128 stays unused, so that the codes of -w are minus those of w."""

SMALL = 1 << 20
"""Numbers of a weight whose product costs less than quantizing what it is multiplied by."""

FEW = 16
"""Rows up to which `_weight_int8pack_mm` beats unpacking; it takes them four at a time."""

_TINY = torch.tensor([1e-30])
_PER_RANGE = 1 / 126.99
"""So that no rounding on the way leads beyond 127."""


@dataclass(frozen=True)
class Int8Weight:
    """weights [N, K] = codes, int8 [N, K], times scales, bfloat16 [N]."""

    codes: Tensor
    scales: Tensor

    @classmethod
    def quantize(cls, weight: Tensor) -> Int8Weight:
        """The nearest codes; the largest number of each row is what its scale is made for."""
        codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scales = torch.empty(len(weight), dtype=torch.bfloat16, device=weight.device)
        for rows in blocks(*weight.shape):
            part = weight[rows].float()
            # Rounded first, so that codes fit the scale that is kept.
            scale = (part.abs().amax(1) / LARGEST).bfloat16()
            scales[rows] = scale
            divisor = torch.where(scale == 0, 1, scale).float()[:, None]
            codes[rows] = (part / divisor).round_().clamp_(-LARGEST, LARGEST)
        return cls(codes, scales)

    @classmethod
    def of(cls, parts: Mapping[str, Tensor], inputs: int) -> Int8Weight:
        """The weight of so many inputs whose `parts` these are."""
        del inputs
        return cls(parts[""], parts[".scale"])

    @classmethod
    def layout(cls, outputs: int, inputs: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of the parts of a weight, by what is added to its name."""
        return {"": (torch.int8, (outputs, inputs)), ".scale": (torch.bfloat16, (outputs,))}

    @classmethod
    def joined(cls, weights: Sequence[Int8Weight]) -> Int8Weight:
        """Weights with the same input, one below the other."""
        return cls(torch.cat([w.codes for w in weights]), torch.cat([w.scales for w in weights]))

    def part(self, axis: int, span: range) -> Int8Weight:
        """A copy of some outputs (axis 0) or inputs (axis 1)."""
        codes = self.codes.narrow(axis, span.start, len(span))
        scales = self.scales if axis else self.scales[span.start : span.stop]
        return Int8Weight(codes.clone(memory_format=torch.contiguous_format), scales.clone())

    def parts(self) -> dict[str, Tensor]:
        """See `layout`."""
        return {"": self.codes, ".scale": self.scales}

    def dense(self, rows: slice = slice(None), dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights as numbers, or some rows of them."""
        wide = wide_enough(dtype)
        return self.codes[rows].to(wide).mul_(self.scales[rows].to(wide)[:, None]).to(dtype)

    def affine(self) -> tuple[Tensor, ...]:
        """What isn't codes: scales."""
        return (self.scales,)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def hold(self) -> Matrix:
        """The fastest form there is here."""
        if self.codes.device.type != "cpu":
            return PlainInt8(self)
        if self.codes.numel() > SMALL and multiplies_bytes():
            return DynamicInt8(self)
        return WeightOnlyInt8(self)


class PlainInt8:
    """Unpacked block by block; runs anywhere."""

    def __init__(self, weight: Int8Weight) -> None:
        self.weight = weight
        self.nbytes = weight.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        weight = self.weight
        return product(x, len(weight.codes), lambda rows: weight.dense(rows, x.dtype), bias)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self.weight.dense()


class WeightOnlyInt8(PlainInt8):
    """A kernel for a few rows that widens codes as it reads them; inputs are bfloat16."""

    def __init__(self, weight: Int8Weight) -> None:
        # The kernel crashes on codes that don't begin at a multiple of what it reads at a time.
        if weight.codes.data_ptr() % 16:
            weight = replace(weight, codes=weight.codes.clone())
        super().__init__(weight)
        self._multiply = torch.ops.aten._weight_int8pack_mm.default
        # Where rows aren't whole sixteens, it would read past the last one.
        self._few = FEW if weight.codes.shape[1] % 16 == 0 else 0

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        if x.shape[0] > self._few:
            return super().__call__(x, bias)
        rows = x.to(torch.bfloat16).contiguous()
        if rows.data_ptr() % 32:  # part of a longer row, which would crash the kernel
            rows = rows.clone()
        out: Tensor = self._multiply(rows, self.weight.codes, self.weight.scales)
        out = out.to(x.dtype)
        return out if bias is None else out.add_(bias)


class DynamicInt8:
    """Inputs are rounded to eight bits too, each row by its own scale, and bytes are multiplied.

    FBGEMM rounds all rows it gets by one scale. So rows are first brought to one range, and a last
    row that spans it keeps the scale at 1: no row's answer depends on those beside it.
    """

    def __init__(self, weight: Int8Weight) -> None:
        self.nbytes = weight.nbytes
        self._packed = _pack(weight)
        self._multiply = torch.ops.quantized.linear_dynamic.default
        self._span = torch.zeros(1, weight.codes.shape[1])
        self._span[0, 0], self._span[0, -1] = 127, -128

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        scale = torch.add(_TINY, x.abs().amax(-1, keepdim=True), alpha=_PER_RANGE)  # [T, 1]
        rows = torch.cat((x / scale, self._span))
        out: Tensor = self._multiply(rows, self._packed)[:-1]
        out = out.mul_(scale) if bias is None else torch.addcmul(bias, out, scale)
        return out.to(x.dtype)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        weight, _ = torch.ops.quantized.linear_unpack(self._packed)
        return weight.dequantize()


def _pack(weight: Int8Weight) -> Any:
    """FBGEMM's own layout of a weight."""
    zeros = torch.zeros(len(weight.codes), dtype=torch.int64)
    # Not by way of torch.ops: that writes its warning past Python's.
    make: Any = getattr(torch, "_make_per_channel_quantized_tensor")  # noqa: B009
    with warnings.catch_warnings():
        # Some day torch will drop such tensors; `multiplies_bytes` will say so then.
        warnings.simplefilter("ignore")
        made = make(weight.codes, weight.scales.double(), zeros, 0)
    return torch.ops.quantized.linear_prepack(made, None)


@cache
def multiplies_bytes() -> bool:
    """Whether FBGEMM multiplies bytes here, and exactly.

    On processors without VNNI, sums of two products are cut off at 16 bits.
    """
    if torch.backends.quantized.engine not in ("x86", "fbgemm"):
        return False
    weight = Int8Weight(
        torch.full((16, 64), LARGEST, dtype=torch.int8), torch.ones(16, dtype=torch.bfloat16)
    )
    try:
        got = DynamicInt8(weight)(torch.ones(1, 64))
    except (RuntimeError, AttributeError, TypeError):  # a torch without it, or with another one
        return False
    return torch.allclose(got, torch.full((1, 16), 64.0 * LARGEST), rtol=1e-3)
