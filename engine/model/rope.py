"""Rotary positions: the angles of a step, and turning queries and keys by them.

Su et al. 2021, arXiv:2104.09864. The scalings follow transformers' modeling_rope_utils.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from ..spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    ProportionalScaling,
    RopeSpec,
    YarnScaling,
)

Turn: TypeAlias = tuple[Tensor, Tensor]
"""cos and sin of a step's angles, [T, 1, width / 2] each."""


class Rotary:
    """One `RopeSpec` made ready: inverse frequencies in float32, [width / 2]."""

    def __init__(self, spec: RopeSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self._spread = spec.spread or spec.width
        self._frequencies = self._scaled()
        scaling = spec.scaling
        stretched = isinstance(scaling, YarnScaling | LongScaling)
        self._amplitude = scaling.attention_factor if stretched else 1.0

    def turn(self, positions: Tensor, extents: Tensor, dtype: torch.dtype) -> Turn:
        """Cos and sin for tokens at `positions` [T] of texts that reach `extents` [T]."""
        frequencies, scaling = self._frequencies, self.spec.scaling
        if isinstance(scaling, DynamicScaling):
            frequencies = self._dynamic(scaling, extents)
        elif isinstance(scaling, LongScaling):
            factors = torch.tensor((scaling.short, scaling.long), device=self.device)
            frequencies = frequencies / factors[(extents > scaling.original).long()]
        angles = positions[:, None].float() * frequencies
        if self.spec.backward:
            angles = -angles
        cos, sin = angles.cos() * self._amplitude, angles.sin() * self._amplitude
        return cos.to(dtype)[:, None], sin.to(dtype)[:, None]

    def _plain(self, theta: Tensor | float) -> Tensor:
        exponents = torch.arange(0, self.spec.width, 2, device=self.device).float()
        return 1.0 / theta ** (exponents / self._spread)

    def _scaled(self) -> Tensor:
        frequencies, scaling = self._plain(self.spec.theta), self.spec.scaling
        if isinstance(scaling, LinearScaling):
            return frequencies / scaling.factor
        if isinstance(scaling, Llama3Scaling):
            return _llama3(frequencies, scaling)
        if isinstance(scaling, ProportionalScaling):
            turning = torch.arange(len(frequencies), device=self.device) < scaling.turning
            return frequencies * turning / scaling.factor
        if isinstance(scaling, YarnScaling):
            return _yarn(frequencies, scaling, self.spec)
        return frequencies

    def _dynamic(self, scaling: DynamicScaling, extents: Tensor) -> Tensor:
        """Each token's own frequencies, [T, width / 2]: the base grows with the text's length."""
        width, factor = self._spread, scaling.factor
        reach = extents.clamp(min=scaling.original).double() / scaling.original
        growth = (factor * reach - (factor - 1)) ** (width / (width - 2))
        return self._plain((self.spec.theta * growth).float()[:, None])


def rotate(x: Tensor, turn: Turn, spec: RopeSpec) -> Tensor:
    """Turn the first `spec.width` of each head of x [T, H, D]; the rest passes as it is."""
    cos, sin = turn
    width = spec.width
    turned = x if width == x.shape[-1] else x[..., :width]
    if spec.interleaved:
        one, two = turned[..., 0::2], turned[..., 1::2]
        pairs = torch.stack((one * cos - two * sin, two * cos + one * sin), dim=-1)
        turned = pairs.flatten(-2)
    else:
        one, two = turned[..., : width // 2], turned[..., width // 2 :]
        turned = torch.cat((one * cos - two * sin, two * cos + one * sin), dim=-1)
    return turned if width == x.shape[-1] else torch.cat((turned, x[..., width:]), dim=-1)


def _llama3(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original * frequencies / (2 * math.pi)  # full circles over the first context
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - keep) * frequencies / scaling.factor + keep * frequencies


def _yarn(frequencies: Tensor, scaling: YarnScaling, spec: RopeSpec) -> Tensor:
    def dimension(circles: float) -> float:
        """The dimension that makes so many full circles over the original context."""
        span = math.log(scaling.original / (circles * 2 * math.pi))
        return (spec.spread or spec.width) * span / (2 * math.log(spec.theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, (spec.spread or spec.width) - 1)
    if low == high:
        high += 0.001
    places = torch.arange(spec.width // 2, device=frequencies.device).float()
    stretch = ((places - low) / (high - low)).clamp(0, 1)
    return frequencies / scaling.factor * stretch + frequencies * (1 - stretch)
