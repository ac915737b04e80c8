"""The attention block: what a position gathers from those before it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, cat

from ..cache.layout import KeyValue, KVCache
from ..spec import AttentionSpec, RopeSpec
from ..step import Segment, Step
from .attend import Sight, attend, sight
from .linear import Linear
from .norm import Norm
from .rope import Turn, rotate
from .source import Source


@dataclass
class Pass:
    """What all layers of one forward pass share.

    That is the step, the cache, and what needs computing only once: each rope's angles, and who
    sees whom for each kind of attention.
    """

    step: Step
    cache: KVCache
    turns: dict[RopeSpec, Turn]
    _sights: dict[tuple[Segment, int | None, int], Sight] = field(
        default_factory=dict[tuple[Segment, int | None, int], Sight]
    )

    def sight(self, spec: AttentionSpec, segment: Segment, kv: KeyValue) -> Sight:
        """Who sees whom in a segment, computed by the first layer of its kind."""
        key = (segment, spec.window, spec.heads if spec.alibi else 0)
        if key not in self._sights:
            self._sights[key] = sight(spec, segment, kv)
        return self._sights[key]


class Attention:
    """Project, turn by position, cache, attend, project back."""

    def __init__(self, spec: AttentionSpec, source: Source, hidden: int, layer: int) -> None:
        self.spec = spec
        self.layer = layer
        queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        self.q = Linear(source, "q", hidden, queries, spec.bias)
        self.k = Linear(source, "k", hidden, keys, spec.bias)
        self.v = Linear(source, "v", hidden, keys, spec.bias)
        self.out = Linear(source, "out", queries, hidden, spec.out_bias)
        norm = spec.qk_norm
        self.q_norm = Norm(norm, source, "q_norm", spec.head_dim) if norm else None
        self.k_norm = Norm(norm, source, "k_norm", spec.head_dim) if norm else None
        self.scale = spec.scale if spec.scale is not None else spec.head_dim**-0.5

    def __call__(self, x: Tensor, shared: Pass) -> Tensor:
        """[T, M] -> [T, M]."""
        spec = self.spec
        q = self.q(x).view(-1, spec.heads, spec.head_dim)  # [T, H, D]
        k = self.k(x).view(-1, spec.kv_heads, spec.head_dim)  # [T, G, D]
        v = self.v(x).view(-1, spec.kv_heads, spec.head_dim)
        if self.q_norm and self.k_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if spec.rope is not None:
            turn = shared.turns[spec.rope]
            q, k = rotate(q, turn, spec.rope), rotate(k, turn, spec.rope)
        shared.cache.write(self.layer, k, v, shared.step)
        gathered = [self._gather(q, segment, shared) for segment in shared.step.segments]
        return self.out(gathered[0] if len(gathered) == 1 else cat(gathered))

    def _gather(self, q: Tensor, segment: Segment, shared: Pass) -> Tensor:
        """One segment's rows attend to what they have cached, [R * N, H * D]."""
        spec = self.spec
        kv = shared.cache.read(self.layer, segment)
        seen = shared.sight(spec, segment, kv)
        own = q[segment.start : segment.stop]
        own = own.view(segment.rows, segment.width, spec.heads, spec.head_dim).transpose(1, 2)
        out = attend(own, kv, seen, self.scale, spec.cap)  # [R, H, N, D]
        return out.transpose(1, 2).reshape(-1, spec.heads * spec.head_dim)
