"""The decoder under training: Llama's maths on stacked weights.

Every kind of weight is one tensor over all layers (`q` is [L, H*D, M]), so that the optimizer works
on a handful of batched matrices instead of dozens of small ones. `export.py` gives them the names of
Hugging Face's LlamaForCausalLM, which computes the same function.

Letters: B sequences, T positions, L layers, M hidden size, H heads, G key/value heads, D head size,
F feed-forward size, V vocabulary.

Sources: Touvron et al. 2023 (Llama), Su et al. 2021 (RoPE), Shazeer 2020 (SwiGLU),
Zhang and Sennrich 2019 (RMSNorm), Ainslie et al. 2023 (grouped-query attention).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loss import next_token_loss


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the decoder; the defaults are what the shipped model uses."""

    vocab: int = 6144
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 64
    feed: int = 768
    max_positions: int = 1024
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5


class Decoder(nn.Module):
    """Ids in, mean loss out.

    >>> Decoder(ModelConfig())(ids)  # ids [B, T + 1] -> scalar
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        queries, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.embed = _normal(c.vocab, c.hidden, std=0.5)
        self.q = _normal(c.layers, queries, c.hidden, std=c.hidden**-0.5)
        self.k = _normal(c.layers, keys, c.hidden, std=c.hidden**-0.5)
        self.v = _normal(c.layers, keys, c.hidden, std=c.hidden**-0.5)
        self.gate = _normal(c.layers, c.feed, c.hidden, std=c.hidden**-0.5)
        self.up = _normal(c.layers, c.feed, c.hidden, std=c.hidden**-0.5)
        # What writes into the residual stream starts at zero: each block begins as the identity,
        # and the model learns from its embeddings upwards (Zhang et al. 2019, "Fixup").
        self.o = _zeros(c.layers, c.hidden, queries)
        self.down = _zeros(c.layers, c.hidden, c.feed)
        self.head = _zeros(c.vocab, c.hidden)
        self.attention_norm = nn.Parameter(torch.ones(c.layers, c.hidden))
        self.feed_norm = nn.Parameter(torch.ones(c.layers, c.hidden))
        self.final_norm = nn.Parameter(torch.ones(c.hidden))
        cos, sin = rotary_table(c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden_states(self, ids: Tensor) -> Tensor:
        """ids [B, T] -> what the head reads, [B, T, M]."""
        c = self.config
        x = F.embedding(ids, self.embed)
        # Cast once: tables are kept in float32, the stream flows in the weights' dtype.
        cos, sin = (t[: ids.shape[1]].to(x.dtype) for t in (self.cos, self.sin))
        layers = zip(
            *(w.unbind(0) for w in (self.q, self.k, self.v, self.o)),
            *(w.unbind(0) for w in (self.gate, self.up, self.down)),
            self.attention_norm.unbind(0),
            self.feed_norm.unbind(0),
            strict=True,
        )
        for q, k, v, o, gate, up, down, attention_norm, feed_norm in layers:
            x = x + _attend(rms_norm(x, attention_norm, c.norm_eps), q, k, v, o, cos, sin, c)
            y = rms_norm(x, feed_norm, c.norm_eps)
            x = x + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), down)
        return rms_norm(x, self.final_norm, c.norm_eps)

    def logits(self, ids: Tensor) -> Tensor:
        """ids [B, T] -> logits [B, T, V], for tests and evaluation."""
        return F.linear(self.hidden_states(ids), self.head)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, T + 1] -> the mean loss of predicting each id from those before it."""
        hidden = self.hidden_states(ids[:, :-1])
        return next_token_loss(hidden.flatten(0, 1), self.head, ids[:, 1:].flatten())


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [..., M] scaled to unit root mean square; the statistics are taken in float32."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


def rotary_table(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines [max_positions, D], each half of a head sharing the same angles."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    angles = torch.outer(
        torch.arange(config.max_positions, dtype=torch.float64), config.rope_theta**-half
    )
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def _attend(
    x: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, cos: Tensor, sin: Tensor, c: ModelConfig
) -> Tensor:
    """Causal attention over x [B, T, M]."""
    b, t, _ = x.shape
    queries = _rotate(F.linear(x, q).view(b, t, c.heads, c.head_dim).transpose(1, 2), cos, sin)
    keys = _rotate(F.linear(x, k).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2), cos, sin)
    values = F.linear(x, v).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, enable_gqa=c.heads != c.kv_heads
    )
    return F.linear(mixed.transpose(1, 2).reshape(b, t, -1), o)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (i, i + D/2) of x [B, H, T, D] by their position's angles."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _normal(*shape: int, std: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * std)


def _zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))
