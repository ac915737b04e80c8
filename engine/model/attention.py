"""The attention block: what a position gathers from those before it."""

from __future__ import annotations

from torch import Tensor, cat

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
        queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        self.widths = (queries, keys, keys)
        self.qkv = Linear(source, ("q", "k", "v"), hidden, self.widths, spec.bias)
        self.out = Linear(source, "out", queries, hidden, spec.out_bias)
        self.q_norm = _qk_norm(spec, source, "q_norm", spec.heads)
        self.k_norm = _qk_norm(spec, source, "k_norm", spec.kv_heads)
        self.sinks = source.take("sinks", spec.heads) if spec.sinks else None
        self.scale = spec.scale if spec.scale is not None else spec.head_dim**-0.5

    def __call__(self, x: Tensor, shared: Pass) -> Tensor:
        """[T, M] -> [T, M]."""
        spec = self.spec
        q, k, v = self.qkv(x).split(self.widths, dim=-1)
        after = spec.qk_norm is not None and spec.qk_norm.after_rope
        q, k = self._heads(q, k, normed=not after)
        if spec.clip is not None:
            q, k, v = (part.clamp(-spec.clip, spec.clip) for part in (q, k, v))
        if spec.rope is not None:
            turn = shared.turns[spec.rope]
            q, k = rotate(q, turn, spec.rope), rotate(k, turn, spec.rope)
        if after:
            q, k = self._heads(q.flatten(1), k.flatten(1), normed=True)
        v = v.unflatten(-1, (spec.kv_heads, spec.head_dim))
        shared.cache.write(self.layer, k, v, shared.step)
        gathered = [self._gather(q, segment, shared) for segment in shared.step.segments]
        return self.out(gathered[0] if len(gathered) == 1 else cat(gathered))

    def _heads(self, q: Tensor, k: Tensor, normed: bool) -> tuple[Tensor, Tensor]:
        """Queries and keys by head, [T, H, D] and [T, G, D]; normalized if that is due."""
        spec = self.spec
        norms = (self.q_norm, self.k_norm) if normed else (None, None)
        whole = spec.qk_norm is not None and spec.qk_norm.over == "whole"
        heads: list[Tensor] = []
        for part, norm, count in zip((q, k), norms, (spec.heads, spec.kv_heads), strict=True):
            if norm is not None and whole:
                part = norm(part)
            part = part.unflatten(-1, (count, spec.head_dim))
            if norm is not None and not whole:
                part = norm(part)
            heads.append(part)
        return heads[0], heads[1]

    def _gather(self, q: Tensor, segment: Segment, shared: Pass) -> Tensor:
        """One segment's rows attend to what they have cached, [R * N, H * D]."""
        spec = self.spec
        kv = shared.cache.read(self.layer, segment)
        seen = shared.sight(spec, segment, kv)
        own = q[segment.start : segment.stop]
        own = own.unflatten(0, (segment.rows, segment.width)).transpose(1, 2)
        out = attend(own, kv, seen, self.scale, spec.cap, self.sinks)  # [R, H, N, D]
        return out.transpose(1, 2).reshape(-1, spec.heads * spec.head_dim)


def _qk_norm(spec: AttentionSpec, source: Source, name: str, heads: int) -> Norm | None:
    if spec.qk_norm is None:
        return None
    shapes = {
        "head": (spec.head_dim,),
        "heads": (heads, spec.head_dim),
        "whole": (heads * spec.head_dim,),
    }
    return Norm(spec.qk_norm.norm, source, name, *shapes[spec.qk_norm.over])
