"""The linear map that every part is made of."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from .source import Source


class Linear:
    """x @ weight.T + bias, for x [..., inputs]; weights are [outputs, inputs] as on disk."""

    def __init__(self, source: Source, name: str, inputs: int, outputs: int, bias: bool) -> None:
        self.weight = source.take(f"{name}.weight", outputs, inputs)
        self.bias = source.take(f"{name}.bias", outputs) if bias else None

    def widen(self) -> None:
        """Compute in float32 from now on."""
        self.weight = self.weight.float()
        self.bias = None if self.bias is None else self.bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return F.linear(x, self.weight, self.bias)
