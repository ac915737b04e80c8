"""Multi-head latent attention: all heads read one cached latent (DeepSeek-V2, arXiv:2405.04434)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cache.layout import KeyValue
from ..spec import LatentSpec
from ..step import Segment
from .attend import attend
from .linear import Linear
from .norm import Norm
from .passing import Pass
from .rope import rotate
from .source import Source


class LatentAttention:
    """Attention in the latent's own space, so that heads' keys and values are never made.

    A head's score q k = q (W l) = (q W) l: its query is carried into the latent's space instead of
    each cached latent into the head's. The answer, a mix of latents, becomes values once.
    """

    def __init__(self, spec: LatentSpec, source: Source, hidden: int, layer: int) -> None:
        self.spec = spec
        self.layer = layer
        head = spec.nope_dim + spec.rope.width
        queries = spec.heads * head
        if spec.q_rank is None:
            self.q_down, self.q_norm = None, None
            self.q = Linear(source, "q", hidden, queries, False)
        else:
            self.q_down = Linear(source, "q_down", hidden, spec.q_rank, spec.bias)
            self.q_norm = Norm(spec.norm, source, "q_norm", spec.q_rank)
            self.q = Linear(source, "q", spec.q_rank, queries, False)
        self.kv_down = Linear(source, "kv_down", hidden, spec.key_width, spec.bias)
        self.kv_norm = Norm(spec.norm, source, "kv_norm", spec.kv_rank)
        widths = spec.nope_dim + spec.value_dim
        up = source.take("kv.weight", spec.heads * widths, spec.kv_rank)
        up = up.view(spec.heads, widths, spec.kv_rank)
        self.key_up, self.value_up = up[:, : spec.nope_dim], up[:, spec.nope_dim :]  # [H, ., rank]
        self.out = Linear(source, "out", spec.heads * spec.value_dim, hidden, spec.bias)
        self.scale = head**-0.5 if spec.scale is None else spec.scale

    def __call__(self, x: Tensor, shared: Pass) -> Tensor:
        """[T, M] -> [T, M], of the tokens that go on."""
        q, k, v = self.project(x, shared)
        shared.cache.write(self.layer, k, v, shared.step)
        q, segments = shared.kept(q), shared.onward.segments
        mixed = torch.cat([self._gather(q, segment, shared) for segment in segments])
        values = torch.einsum("thr,hdr->thd", mixed, self.value_up)
        return self.out(values.flatten(1))

    def project(self, x: Tensor, shared: Pass) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [T, H, rank + rope] of x [T, M], one key [T, 1, rank + rope], and no value."""
        spec = self.spec
        turn = shared.turns[spec.rope]
        down = x if self.q_down is None or self.q_norm is None else self.q_norm(self.q_down(x))
        q = self.q(down).view(-1, spec.heads, spec.nope_dim + spec.rope.width)
        plain = torch.einsum("thd,hdr->thr", q[..., : spec.nope_dim], self.key_up)
        turned = rotate(q[..., spec.nope_dim :], turn, spec.rope)
        q = torch.cat((plain, turned), dim=-1)  # [T, H, rank + rope]
        down = self.kv_down(x)[:, None]
        latent = self.kv_norm(down[..., : spec.kv_rank])
        k = torch.cat((latent, rotate(down[..., spec.kv_rank :], turn, spec.rope)), dim=-1)
        return q, k, k[..., :0]

    def values(self, kv: KeyValue) -> Tensor:
        """What each slot of a row gives to each head that attends to it wholly, [S, H, D]."""
        return torch.einsum("sr,hdr->shd", kv.k[0, 0, :, : self.spec.kv_rank], self.value_up)

    def _gather(self, q: Tensor, segment: Segment, shared: Pass) -> Tensor:
        """One segment's heads each mix the latents they attend to, [R * N, H, rank]."""
        spec = self.spec
        kv = shared.cache.read(self.layer, segment)
        # The latent is key and value; that the mix gets turned keys too costs less than a view
        # without them, which the fused kernels don't take.
        kv = kv._replace(v=kv.k)
        own = q[segment.start : segment.stop]
        own = own.view(segment.rows, segment.width, *own.shape[1:])
        out = attend(own, kv, shared.sight(spec, segment, kv), self.scale)
        return out[..., : spec.kv_rank].flatten(0, 1)
