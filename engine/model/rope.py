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
from ..step import Step

Turn: TypeAlias = tuple[Tensor, Tensor]
"""What each number of a turned head and its partner are multiplied by: [T, 1, width] each.

That is the cosine, and the sine with the sign that the partner takes.
"""

FIRST = 1024
"""Positions whose turns are computed at once, ahead of their use."""


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
        self._table = torch.empty(0, device=device)  # [positions, 2, width]

    def turn(self, step: Step, dtype: torch.dtype) -> Turn:
        """The turns of a step's tokens."""
        if isinstance(self.spec.scaling, DynamicScaling | LongScaling):
            extents = torch.tensor(step.extents, device=self.device)
            turns = self._turns(step.positions, self._stretched(extents), dtype)
        else:
            self.reach(step.longest, dtype)
            turns = self._table.index_select(0, step.positions)
        return turns[:, :1], turns[:, 1:]

    def reach(self, length: int, dtype: torch.dtype) -> None:
        """Have the turns of so many positions ready; they depend on nothing else, mostly."""
        if length > len(self._table) or self._table.dtype != dtype:
            count = max(FIRST, 1 << (length - 1).bit_length())
            # In pieces of one size: the last bits must not depend on how far a table reaches.
            every = (torch.arange(FIRST, device=self.device) + at for at in range(0, count, FIRST))
            self._table = torch.cat([self._turns(some, self._frequencies, dtype) for some in every])

    def _turns(self, positions: Tensor, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
        """Cosines, and sines signed for the partner, [T, 2, width]."""
        angles = positions[:, None].float() * frequencies
        if self.spec.backward:
            angles = -angles
        cos, sin = angles.cos() * self._amplitude, angles.sin() * self._amplitude
        if self.spec.interleaved:
            pairs = [torch.stack(pair, dim=-1).flatten(-2) for pair in ((cos, cos), (-sin, sin))]
        else:
            pairs = [torch.cat(pair, dim=-1) for pair in ((cos, cos), (-sin, sin))]
        return torch.stack(pairs, dim=1).to(dtype)

    def _stretched(self, extents: Tensor) -> Tensor:
        """Frequencies for each token by the length of its text, [T, width / 2]."""
        scaling = self.spec.scaling
        if isinstance(scaling, DynamicScaling):
            return self._dynamic(scaling, extents)
        assert isinstance(scaling, LongScaling)
        factors = torch.tensor((scaling.short, scaling.long), device=self.device)
        return self._frequencies / factors[(extents > scaling.original).long()]

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
        partners = torch.flip(turned.view(*turned.shape[:-1], -1, 2), (-1,)).view(turned.shape)
    else:
        partners = torch.roll(turned, width // 2, -1)
    turned = (turned * cos).add_(partners.mul_(sin))
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
