"""Weights in eight bits: whole numbers from -127 to 127, and a scale for each output.

Measured on Zen 4 (AVX-512 with VNNI), an 8192 x 2048 matrix, two cores:

                                         one row      from the cache    512 rows
    packed bfloat16, to compare with     43 GB/s                           39 ms
    `DynamicInt8`, as four rows          36 GB/s            79 GB/s        20 ms
    `_weight_int8pack_mm`                20 GB/s            35 GB/s       119 ms
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..matrix import TILE, Matrix
from .blocks import blocks, product

LARGEST = 127
"""The largest code. -128 stays unused, so that the codes of -w are minus those of w."""

SMALL = 1 << 20
"""Numbers of a weight whose product costs less than quantizing what it is multiplied by."""

FEW = 16
"""Rows up to which `_weight_int8pack_mm` beats unpacking; it takes them four at a time."""

_HALF = torch.tensor(128.5)
_TINY = torch.tensor([1e-30])
_NO_ZERO_POINT = torch.zeros(1, dtype=torch.int64)


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

    def parts(self) -> dict[str, Tensor]:
        """See `layout`."""
        return {"": self.codes, ".scale": self.scales}

    def dense(self, rows: slice = slice(None), dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights as numbers, or some rows of them."""
        return self.codes[rows].to(dtype).mul_(self.scales[rows].to(dtype)[:, None])

    def affine(self) -> tuple[Tensor, ...]:
        """What isn't codes: scales."""
        return (self.scales,)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def hold(self, streamed: bool) -> Matrix:
        """The fastest form there is here; `streamed` says that products read it from memory."""
        if self.codes.device.type != "cpu":
            return PlainInt8(self)
        if self.codes.numel() > SMALL and multiplies_bytes():
            return DynamicInt8(self, streamed)
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
        super().__init__(weight)
        self._multiply = torch.ops.aten._weight_int8pack_mm.default
        # It reads sixteen inputs at a time, and past the last row where that doesn't come out.
        self._few = FEW if weight.codes.shape[1] % 16 == 0 else 0

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        if x.shape[0] > self._few:
            return super().__call__(x, bias)
        rows = x.to(torch.bfloat16).contiguous()
        out: Tensor = self._multiply(rows, self.weight.codes, self.weight.scales)
        out = out.to(x.dtype)
        return out if bias is None else out.add_(bias)


class DynamicInt8:
    """Inputs are rounded to eight bits too, each row by its own scale, and bytes are multiplied.

    A row's answer doesn't depend on the rows beside it. oneDNN wants inputs above zero: 128 is
    added to their codes, and what that adds to the answers is taken off again like a bias.
    """

    def __init__(self, weight: Int8Weight, streamed: bool) -> None:
        self.nbytes = weight.nbytes
        shape = [TILE, weight.codes.shape[1]]
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(weight.codes, shape)
        self._multiply = torch.ops.onednn.qlinear_pointwise.default
        self._scales = weight.scales.float()
        self._shift = -128 * _sums(weight.codes) * self._scales
        self._least = TILE if streamed else 1

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        scale = torch.add(_TINY, x.abs().amax(-1, keepdim=True), alpha=1 / LARGEST)  # [T, 1]
        # Whole numbers are cut off, not rounded: hence the half.
        codes = torch.addcdiv(_HALF, x, scale).to(torch.uint8)
        rows = x.shape[0]
        if rows < self._least:
            codes = codes.expand(TILE, -1) if rows == 1 else F.pad(codes, (0, 0, 0, TILE - rows))
        out: Tensor = self._multiply(
            codes, 1.0, 0, self._packed, self._scales, _NO_ZERO_POINT, self._shift,
            1.0, 0, torch.float32, "none", [], "",
        )[:rows]  # fmt: skip
        out = out.mul_(scale) if bias is None else torch.addcmul(bias, out, scale)
        return out.to(x.dtype)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self._packed.to_dense().T.float() * self._scales[:, None]


def _sums(codes: Tensor) -> Tensor:
    """The sum of each row, float32 [N], exact."""
    return torch.cat([codes[rows].sum(1) for rows in blocks(*codes.shape)]).float()


@cache
def multiplies_bytes() -> bool:
    """Whether oneDNN multiplies bytes fast here, and exactly.

    Without VNNI or its like, sums of two products are cut off at 16 bits.
    """
    vnni: Any = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    if not vnni() or not torch.backends.mkldnn.is_available():
        return False
    weight = Int8Weight(
        torch.full((16, 64), LARGEST, dtype=torch.int8), torch.ones(16, dtype=torch.bfloat16)
    )
    try:
        got = DynamicInt8(weight, True)(torch.ones(1, 64))
    except (RuntimeError, AttributeError, TypeError):  # a torch without it, or with another one
        return False
    return bool(torch.equal(got, torch.full((1, 16), 64.0 * LARGEST)))
