"""The attention block: what a position gathers from those before it."""

from __future__ import annotations

import torch
from torch import Tensor, cat

from ..cache.layout import KeyValue
from ..spec import AttentionSpec
from ..step import Segment
from .attend import attend
from .linear import Linear
from .norm import Norm
from .passing import Pass
from .rope import rotate
from .source import Source


class Attention:
    """Project, turn by position, cache, attend, project back."""

    def __init__(self, spec: AttentionSpec, source: Source, hidden: int, layer: int) -> None:
        self.spec = spec
        self.layer = layer
        heads = (spec.heads, spec.kv_heads, spec.kv_heads)
        widths = [count * spec.head_dim for count in heads]
        self.qkv = Linear(source, ("q", "k", "v"), hidden, widths, spec.bias)
        self.out = Linear(source, "out", widths[0], hidden, spec.out_bias)
        self.q_norm = _qk_norm(spec, source, "q_norm", spec.heads)
        self.k_norm = _qk_norm(spec, source, "k_norm", spec.kv_heads)
        self.sinks = source.take("sinks", spec.heads) if spec.sinks else None
        self.scale = spec.scale if spec.scale is not None else spec.head_dim**-0.5

    def __call__(self, x: Tensor, shared: Pass) -> Tensor:
        """[T, M] -> [T, M], of the tokens that go on."""
        q, k, v = self.project(x, shared)
        shared.cache.write(self.layer, k, v, shared.step)
        q = shared.kept(q)
        gathered = [self._gather(q, segment, shared) for segment in shared.onward.segments]
        return self.out(gathered[0] if len(gathered) == 1 else cat(gathered))

    def project(self, x: Tensor, shared: Pass) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [T, H, D], keys and values [T, G, D] of x [T, M], turned by position."""
        spec = self.spec
        qkv = self.qkv(x)
        heads = qkv.view(len(x), -1, spec.head_dim)  # [T, H + 2 G, D]
        turning, v = torch.split(heads, [spec.heads + spec.kv_heads, spec.kv_heads], 1)
        if spec.qk_norm is not None and not spec.qk_norm.after_rope:
            turning = self._normed(turning)
        if spec.clip is not None:
            turning, v = turning.clamp(-spec.clip, spec.clip), v.clamp(-spec.clip, spec.clip)
        if spec.rope is not None:
            turning = rotate(turning, shared.turns[spec.rope], spec.rope)
        if spec.qk_norm is not None and spec.qk_norm.after_rope:
            turning = self._normed(turning)
        q, k = torch.split(turning, [spec.heads, spec.kv_heads], 1)
        return q, k, v

    def values(self, kv: KeyValue) -> Tensor:
        """What each slot of a row gives to each head that attends to it wholly, [S, H, D]."""
        shared_by = self.spec.heads // self.spec.kv_heads
        return kv.v[0].transpose(0, 1).repeat_interleave(shared_by, 1)

    def _normed(self, turning: Tensor) -> Tensor:
        """Queries and keys normalized, [T, H + G, D]."""
        assert self.spec.qk_norm is not None
        assert self.q_norm is not None
        assert self.k_norm is not None
        heads, parts = self.spec.heads, list[Tensor]()
        for part, norm in ((turning[:, :heads], self.q_norm), (turning[:, heads:], self.k_norm)):
            if self.spec.qk_norm.over == "whole":
                parts.append(norm(part.flatten(1)).view(part.shape))
            else:
                parts.append(norm(part))
        return cat(parts, dim=1)

    def _gather(self, q: Tensor, segment: Segment, shared: Pass) -> Tensor:
        """One segment's rows attend to what they have cached, [R * N, H * D]."""
        spec = self.spec
        kv = shared.cache.read(self.layer, segment)
        seen = shared.sight(spec, segment, kv)
        own = q if len(shared.onward.segments) == 1 else q[segment.start : segment.stop]
        own = own.view(segment.rows, segment.width, spec.heads, spec.head_dim)
        out = attend(own, kv, seen, self.scale, spec.cap, self.sinks)
        return out.reshape(-1, spec.heads * spec.head_dim)


def _qk_norm(spec: AttentionSpec, source: Source, name: str, heads: int) -> Norm | None:
    if spec.qk_norm is None:
        return None
    width = spec.head_dim
    shapes = {"head": (width,), "heads": (heads, width), "whole": (heads * width,)}
    return Norm(spec.qk_norm.norm, source, name, *shapes[spec.qk_norm.over])
