"""Normalization over the last axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..spec import NormSpec
from .source import Source


class Norm:
    """RMS or layer normalization of x [..., width], as `NormSpec` says."""

    def __init__(self, spec: NormSpec, source: Source, name: str, width: int) -> None:
        self.spec = spec
        self.weight = source.take(f"{name}.weight", width)
        self.bias = source.take(f"{name}.bias", width) if spec.bias else None
        if spec.offset:
            self.weight = self.weight.float() + spec.offset

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width], in x's dtype.

        Sums run in float32 and the weight is applied in its own dtype, as the references do:
        this is where bfloat16 models would drift apart from them.
        """
        if self.spec.kind == "layer":
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.spec.eps)
        if x.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.spec.eps)
        wide = F.rms_norm(x.float(), x.shape[-1:], None, self.spec.eps)
        if self.weight.dtype == torch.float32:
            return (wide * self.weight).to(x.dtype)
        return wide.to(x.dtype) * self.weight
