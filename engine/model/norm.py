"""Normalization over the last axis."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..spec import NormSpec
from .source import Source


class Norm:
    """RMS or layer normalization of x [..., width], as `NormSpec` says.

    Its weight has the given shape, [width] or, with a weight for each head, [H, width].
    """

    def __init__(self, spec: NormSpec, source: Source, name: str, *shape: int) -> None:
        self.spec = spec
        self.weight = source.take(f"{name}.weight", *shape) if spec.weight else None
        self.bias = source.take(f"{name}.bias", *shape) if spec.bias else None
        self._sized: Tensor | None = None
        if self.weight is not None and self.weight.is_meta:
            return  # shapes alone, for whose arithmetic torch would import seconds' worth of Python
        if spec.offset and self.weight is not None:
            # The references add it in float32 to RMS weights, in the model's dtype to the others.
            weight = self.weight.float() if spec.kind == "rms" else self.weight
            self.weight = weight + spec.offset
        device = None if self.weight is None else self.weight.device
        # 1 / sqrt(mean(x * x) + eps) is size / hypot(|x|, least): half as many calls.
        self._least = torch.tensor(math.sqrt(shape[-1] * spec.eps), device=device)
        self._size = torch.tensor(math.sqrt(shape[-1]), device=device)
        if self.weight is not None:
            self._sized = self.weight * self._size

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width], in x's dtype.

        Sums run in float32 and the weight is applied in its own dtype, as the references do:
        this is where bfloat16 models would drift apart from them.
        """
        over, eps = x.shape[-1:], self.spec.eps
        plain = self.weight is None or self.weight.dim() == 1
        if self.spec.kind == "layer" and plain:
            return F.layer_norm(x, over, self.weight, self.bias, eps)
        if self.spec.kind == "layer":
            wide = F.layer_norm(x.float(), over, None, None, eps)
        else:
            length = torch.hypot(_length(x), self._least)
            if x.dtype == torch.float32 and self._sized is not None:
                return torch.div(x, length).mul_(self._sized)
            wide = x * torch.div(self._size, length)
        if self.weight is None:
            return wide.to(x.dtype)
        if self.spec.kind == "layer" or self.weight.dtype == torch.float32:
            wide = wide * self.weight
            return (wide if self.bias is None else wide + self.bias).to(x.dtype)
        return wide.to(x.dtype) * self.weight


def _length(x: Tensor) -> Tensor:
    """|x| over the last axis, float32 [..., 1]."""
    norm = torch.linalg.vector_norm  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast("Tensor", norm(x, dim=-1, keepdim=True, dtype=torch.float32))
