"""A normalization held at what it did to one input: a linear map, which sums go through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.norm import Norm


@dataclass(frozen=True)
class Frozen:
    """y = scale * (x - mean(x) if `centred`) + constant, at each of n positions, in float64.

    Its factor 1 / |x| is that of the input it was made for: "frozen", as in direct logit
    attribution (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits").
    """

    scale: Tensor  # [n, M]
    centred: bool
    constant: Tensor | None  # [M]

    @classmethod
    def at(cls, norm: Norm, x: Tensor) -> Frozen:
        """What `norm` does at x [n, M]."""
        wide, centred = x.double(), norm.spec.kind == "layer"
        if centred:
            wide = wide - wide.mean(-1, keepdim=True)
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.spec.eps).expand_as(wide)
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        return cls(scale, centred, None if norm.bias is None else norm.bias.double())

    def __call__(self, x: Tensor) -> Tensor:
        """A part x [n, M] of what goes in -> its part of what comes out."""
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return x * self.scale

    def row(self, row: int) -> Frozen:
        """The map of one position, for any number of parts."""
        return Frozen(self.scale[row : row + 1], self.centred, self.constant)

    def back(self, direction: Tensor) -> Tensor:
        """A direction [n, M] to measure outputs by -> the one that measures inputs so."""
        direction = direction * self.scale
        return direction - direction.mean(-1, keepdim=True) if self.centred else direction

    def fixed(self, direction: Tensor) -> Tensor:
        """How far the constant goes in a direction [n, M]: [n]."""
        if self.constant is None:
            return direction.new_zeros(len(direction))
        return direction @ self.constant
