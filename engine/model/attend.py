"""Who sees whom, and the weighted sum over what is seen."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..cache.layout import KeyValue
from ..spec import AttentionSpec
from ..step import Segment

Sight: TypeAlias = Tensor | Literal["all", "causal"]
"""What a segment's queries see: every key, those up to their own place, or a mask: bool
[R, 1, N, S], or with ALiBi the float bias [R, H, N, S] that is added to the scores."""


def sight(spec: AttentionSpec, segment: Segment, kv: KeyValue) -> Sight:
    """Which keys each of a segment's queries sees.

    One rule serves padding, rings and rewound rows: a key is seen if its slot holds anything, it
    isn't later than the query, and it is less than `window` positions back.
    """
    slots, window = kv.k.shape[2], spec.window
    plain = kv.positions is None and (window is None or slots <= window) and not spec.alibi
    if plain and segment.width == 1:
        return "all"
    if plain and segment.width == slots:
        return "causal"
    device = kv.k.device
    lengths = torch.tensor(segment.lengths, device=device)
    queries = lengths[:, None] - segment.width + torch.arange(segment.width, device=device)
    keys = torch.arange(slots, device=device)[None] if kv.positions is None else kv.positions
    back = queries[:, :, None] - keys[:, None, :]  # [R, N, S]
    seen = (back >= 0) & (keys[:, None, :] >= 0)
    if window is not None:
        seen &= back < window
    if not spec.alibi:
        return seen[:, None]
    slopes = alibi_slopes(spec.heads).to(device)[:, None, None]
    bias = torch.where(seen[:, None], -slopes * back[:, None], float("-inf"))
    return bias.to(kv.k.dtype)


def alibi_slopes(heads: int) -> Tensor:
    """Each head's penalty for a step back, float32 [H] (Press et al. 2021, arXiv:2108.12409).

    For a power of two they are 2^(-8/H), 2^(-16/H), …; other counts take the missing ones from
    every second slope of the next power, as the paper's code does.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)]
    return torch.tensor(slopes)


def attend(q: Tensor, kv: KeyValue, seen: Sight, scale: float, cap: float | None = None) -> Tensor:
    """softmax(q k^T * scale) v over the keys that are seen; q and result [R, H, N, D].

    `cap` squashes scores by tanh first (Gemma 2, arXiv:2408.00118).
    """
    if cap is not None:
        return _attend_capped(q, kv, seen, scale, cap)
    rows, heads, width, dim = q.shape
    groups = kv.k.shape[1]
    if width == 1 and not (isinstance(seen, Tensor) and seen.shape[1] > 1):
        # The H / G heads that share a key-value head become queries of that head, so that each
        # key is read from memory once: decoding is bound by that.
        q = q.reshape(rows, groups, heads // groups, dim)
        mask = seen if isinstance(seen, Tensor) else None
        out = F.scaled_dot_product_attention(q, kv.k, kv.v, attn_mask=mask, scale=scale)
        return out.reshape(rows, heads, 1, dim)
    return F.scaled_dot_product_attention(
        q,
        kv.k,
        kv.v,
        attn_mask=seen if isinstance(seen, Tensor) else None,
        is_causal=seen == "causal" if isinstance(seen, str) else False,
        scale=scale,
        enable_gqa=groups != heads,
    )


def _attend_capped(q: Tensor, kv: KeyValue, seen: Sight, scale: float, cap: float) -> Tensor:
    rows, heads, width, dim = q.shape
    groups, slots = kv.k.shape[1:3]
    q = q.reshape(rows, groups, heads // groups * width, dim)
    scores = (q @ kv.k.transpose(-1, -2)).reshape(rows, heads, width, slots) * scale
    scores = cap * torch.tanh(scores / cap)
    if isinstance(seen, Tensor) and seen.dtype == torch.bool:
        scores = scores.masked_fill(~seen, float("-inf"))
    elif isinstance(seen, Tensor):
        scores = scores + seen
    elif seen == "causal":
        later = torch.ones(width, slots, dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    weights = weights.reshape(rows, groups, heads // groups * width, slots)
    return (weights @ kv.v).reshape(rows, heads, width, dim)
