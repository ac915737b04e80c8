"""A weight matrix held in the form that this processor multiplies by fastest.

Decoding reads every weight once a token, so what counts is how near a product comes to the
memory's own speed. Measured with an 8192 x 2048 matrix, cycling through more of them than the
cache holds, GB/s at one row on two cores:

                                 bfloat16                      float32
    Zen 4 (55 to 62 to be had)   linear 20, mv 11, packed 31,  linear 19, packed 31,
                                 packed with 4 rows 43         packed with 4 rows 44
    AMX   (31 to be had)         linear 25, mv 31, packed 27
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .device import available_memory, has_amx

TILE = 4
"""Rows that oneDNN's packed products like best while weights stream from memory; with one row it
prefetches worse, so one is computed as four alike."""

CACHE = 128 << 20
"""Bytes: weights of fewer stay in a processor's last cache between two tokens."""

WIDENED = 16
"""Rows from which turning half-precise weights into float32 takes less time than it saves."""

NUMBERS = 1 << 19
"""Weights that are turned at once: 2 MB of float32, which a processor's cache holds."""

LARGEST_JOINED = 96 << 20
"""Bytes of matrices joined into one: a product of that size doesn't feel what calling it costs,
and loading must not hold large weights twice."""

_reorder = torch.ops.mkldnn._reorder_linear_weight
_linear = torch.ops.mkldnn._linear_pointwise.default


class Matrix(Protocol):
    """Weights [outputs, inputs] and the product with them."""

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x @ weights.T + bias: [T, inputs] -> [T, outputs], in x's dtype."""
        ...

    def dense(self) -> Tensor:
        """The weights as numbers, [outputs, inputs]."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes read by one product."""
        ...


class Plain:
    """As the weights lie in memory, or in the mapped file."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        return F.linear(x, self.weight, bias)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self.weight

    @property
    def nbytes(self) -> int:
        """See `Matrix`."""
        return self.weight.nbytes


class Vectored(Plain):
    """The same, with a matrix-vector product for a single row: the fastest there is with AMX."""

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        if x.shape[0] != 1:
            return F.linear(x, self.weight, bias)
        row = x[0]
        out = torch.mv(self.weight, row) if bias is None else torch.addmv(bias, self.weight, row)
        return out[None]


class Widened(Plain):
    """Half-precise weights that this processor has no products of: many rows take float32's.

    Measured with AVX2, such products of torch's run at 10 GFLOP/s whatever the number of rows;
    weights that are turned into float32 each time, some at a time, come to 30 with 16 rows, to 60
    with 64 and to 70 with 192.
    """

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        rows, (outputs, inputs) = len(x), self.weight.shape
        if rows < WIDENED:
            return super().__call__(x, bias)
        wide, out = x.float(), torch.empty(rows, outputs)
        some = max(1, NUMBERS // inputs)
        numbers = torch.empty(min(some, outputs), inputs)
        for begin in range(0, outputs, some):
            part = self.weight[begin : begin + some]
            weight = numbers[: len(part)].copy_(part)
            torch.mm(wide, weight.t(), out=out[:, begin : begin + len(part)])
        return (out if bias is None else out.add_(bias)).to(x.dtype)


class Packed:
    """In oneDNN's own blocked layout, the same for one row and for many."""

    def __init__(self, weight: Tensor, streamed: bool) -> None:
        self.nbytes = weight.nbytes
        self._packed = _reorder(weight, TILE)
        self._least = TILE if streamed else 1

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        rows = x.shape[0]
        if rows >= self._least:
            return _linear(x, self._packed, bias, "none", [], "")
        x = x.expand(TILE, -1) if rows == 1 else F.pad(x, (0, 0, 0, TILE - rows))
        return _linear(x, self._packed, bias, "none", [], "")[:rows]

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self._packed.to_dense()


class SideBySide:
    """Several matrices with the same input, too large to be joined; answers are."""

    def __init__(self, parts: Sequence[Matrix], outputs: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self.outputs = list(outputs)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        nothing = [None] * len(self.parts)
        biases = nothing if bias is None else torch.split(bias, self.outputs)
        pairs = zip(self.parts, biases, strict=True)
        return torch.cat([part(x, own) for part, own in pairs], dim=-1)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return torch.cat([part.dense() for part in self.parts])

    @property
    def nbytes(self) -> int:
        """See `Matrix`."""
        return sum(part.nbytes for part in self.parts)


@dataclass(frozen=True)
class Placement:
    """How a model's matrices are held; the same on every run of one machine.

    `packed` is decided for the model as a whole, since packing takes memory of its own where
    mapped weights take none; `streamed` says that it is too large for the processor's cache.
    `constant` marks weights as such for a compiler, which packs them in its own way.
    """

    packed: bool = False
    streamed: bool = False
    constant: bool = False

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype, nbytes: int) -> Placement:
        """For a model of so many bytes of weights."""
        there = available_memory()
        roomy = there is None or nbytes + nbytes // 8 < there
        return cls(packed=_can_pack(device, dtype) and roomy, streamed=nbytes > CACHE)

    def hold(self, weight: Tensor) -> Matrix:
        """The matrix of a weight [outputs, inputs]."""
        if self.constant:
            return Plain(torch.nn.Parameter(weight, requires_grad=False))
        if self.packed and weight.dtype in (torch.float32, torch.bfloat16):
            return Packed(weight, self.streamed)
        if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and has_amx():
            return Vectored(weight)
        if weight.device.type == "cpu" and _is_slow(weight.dtype):
            return Widened(weight)
        return Plain(weight)


def _is_slow(dtype: torch.dtype) -> bool:
    """Whether the processor has no products of such numbers, so that torch does them one by one."""
    ops = torch.ops.mkldnn
    fast = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    return dtype in fast and not bool(getattr(ops, fast[dtype])())


def _can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and not has_amx()
    return dtype == torch.float32
