"""The decoder under training: Llama's maths on stacked weights.

Every kind of weight is one tensor over all layers (`q` is [L, H*D, M]), so that the optimizer
works on a handful of batched matrices instead of dozens of small ones. `export.py` gives them the
names of Hugging Face's LlamaForCausalLM, which computes the same function.

Letters: B sequences, T positions, L layers, M hidden size, H heads, D head size, F feed-forward
size, V vocabulary.

Sources: Touvron et al. 2023 (Llama), Su et al. 2021 (RoPE), Shazeer 2020 (SwiGLU),
Zhang and Sennrich 2019 (RMSNorm).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu

from loss import next_token_loss

BLOCK = 128  # queries that share one piece of attention's work on a processor


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the decoder; the defaults are what the shipped model uses."""

    vocab: int = 6144
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    head_dim: int = 64
    feed: int = 768
    max_positions: int = 1024
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5


class Decoder(nn.Module):
    """Ids in, mean loss out.

    >>> Decoder(ModelConfig())(ids)  # ids [B, T + 1] -> scalar
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Draws the weights at random."""
        super().__init__()
        c = self.config = config
        inner = c.heads * c.head_dim
        self.embed = _normal(c.vocab, c.hidden, std=0.5)
        self.q = _normal(c.layers, inner, c.hidden, std=c.hidden**-0.5)
        self.k = _normal(c.layers, inner, c.hidden, std=c.hidden**-0.5)
        self.v = _normal(c.layers, inner, c.hidden, std=c.hidden**-0.5)
        self.gate = _normal(c.layers, c.feed, c.hidden, std=c.hidden**-0.5)
        self.up = _normal(c.layers, c.feed, c.hidden, std=c.hidden**-0.5)
        # What writes into the residual stream starts at zero: each block begins as the identity,
        # and the model learns from its embeddings upwards (Zhang et al. 2019, "Fixup").
        self.o = _zeros(c.layers, c.hidden, inner)
        self.down = _zeros(c.layers, c.hidden, c.feed)
        self.head = _zeros(c.vocab, c.hidden)
        self.attention_norm = nn.Parameter(torch.ones(c.layers, c.hidden))
        self.feed_norm = nn.Parameter(torch.ones(c.layers, c.hidden))
        self.final_norm = nn.Parameter(torch.ones(c.hidden))
        cos, sin = rotary_table(c)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden_states(self, ids: Tensor) -> Tensor:
        """What the head reads, [B, T, M], after ids [B, T]."""
        c = self.config
        x = embedding(ids, self.embed)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
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
            x = x + linear(silu(linear(y, gate)) * linear(y, up), down)
        return rms_norm(x, self.final_norm, c.norm_eps)

    def logits(self, ids: Tensor) -> Tensor:
        """Logits [B, T, V] after ids [B, T], for evaluation."""
        return linear(self.hidden_states(ids), self.head)

    def forward(self, ids: Tensor) -> Tensor:
        """The mean loss of predicting each of ids [B, T + 1] from those before it."""
        hidden = self.hidden_states(ids[:, :-1])
        return next_token_loss(hidden.flatten(0, 1), self.head, ids[:, 1:].flatten())


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Scales x [..., M] to unit root mean square; the statistics are taken in float32."""
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
    queries, keys, values = (
        linear(x, weight).view(b, t, c.heads, c.head_dim).transpose(1, 2) for weight in (q, k, v)
    )
    queries, keys = _rotate(queries, cos, sin), _rotate(keys, cos, sin)
    if x.is_cuda:
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=True)
    else:
        mixed = _attend_in_blocks(queries, keys, values)
    return linear(mixed.transpose(1, 2).reshape(b, t, -1), o)


def _attend_in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention over [B, H, T, D] for processors.

    Each block of queries meets only the keys up to its end. Plain matrix products and a compiled
    softmax took less time than PyTorch's own kernel for processors.
    """
    t = q.shape[-2]
    outputs = []
    for start in range(0, t, BLOCK):
        end = min(start + BLOCK, t)
        scores = q[..., start:end, :] @ k[..., :end, :].transpose(-1, -2)
        position = torch.arange(end, device=q.device)
        ahead = position > position[start:, None]
        scores = (scores.float() * q.shape[-1] ** -0.5).masked_fill(ahead, float("-inf"))
        outputs.append(scores.softmax(-1).to(q.dtype) @ v[..., :end, :])
    return torch.cat(outputs, dim=-2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (i, i + D/2) of x [B, H, T, D] by their position's angles, in float32."""
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x.float() * cos + turned * sin).to(x.dtype)


def _normal(*shape: int, std: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * std)


def _zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))
