"""Who sees whom, and the weighted sum over what is seen."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..cache.layout import KeyValue
from ..spec import AlibiSpec, Mixer
from ..step import Segment

Sight: TypeAlias = Tensor | Literal["all", "causal"]
"""What a segment's queries see: every key, those up to their own place, or a mask: bool
[R, 1, N, S], or with ALiBi the float bias [R, H, N, S] that is added to the scores."""


def sight(spec: Mixer, segment: Segment, kv: KeyValue, queries: Tensor) -> Sight:
    """Which keys each of a segment's queries sees, whose positions are `queries` [R, N].

    One rule serves padding, rings and rewound rows: a key is seen if its slot holds anything, it
    isn't later than the query, and it is less than `window` positions back.
    """
    slots, window = kv.k.shape[2], spec.window
    plain = kv.positions is None and (window is None or slots <= window) and spec.alibi is None
    if plain and segment.width == 1:
        return "all"
    if plain and segment.width == slots:
        return "causal"
    device = kv.k.device
    keys = torch.arange(slots, device=device)[None] if kv.positions is None else kv.positions
    back = queries[:, :, None] - keys[:, None, :]  # [R, N, S]
    seen = (back >= 0) & (keys[:, None, :] >= 0)
    if window is not None:
        seen &= back < window
    if spec.alibi is None:
        return seen[:, None]
    bias = _penalty(spec.alibi, queries[:, :, None], keys[:, None])
    return torch.where(seen[:, None], bias, float("-inf")).to(kv.k.dtype)


def _penalty(alibi: AlibiSpec, queries: Tensor, keys: Tensor) -> Tensor:
    """What is added to scores of keys at positions [R, 1, S], for queries at [R, N, 1]."""
    slopes = torch.tensor(alibi.slopes, device=keys.device)[:, None, None]
    if not alibi.rounded:
        return slopes * alibi.scale * (keys - queries)[:, None]
    slopes = slopes.bfloat16()
    back = (slopes * queries[:, None]).float() - (slopes * keys[:, None]).float()
    return back * -alibi.scale


def attend(
    q: Tensor,
    kv: KeyValue,
    seen: Sight,
    scale: float,
    cap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T * scale) v over the keys that are seen, q [R, N, H, D] -> [R, N, H, Dv].

    `cap` squashes scores by tanh first (Gemma 2, arXiv:2408.00118). `sinks` [H] is one more score
    in each head's softmax, of a key without a value (gpt-oss, after arXiv:2309.17453).
    """
    rows, width, heads, _ = q.shape
    if cap is not None or sinks is not None:
        return _attend_openly(q.transpose(1, 2), kv, seen, scale, cap, sinks).transpose(1, 2)
    groups = kv.k.shape[1]
    if width == 1 and not (isinstance(seen, Tensor) and seen.shape[1] > 1):
        # The H / G heads that share a key-value head become queries of that head, so that each
        # key is read from memory once: decoding is bound by that.
        q = q.reshape(rows, groups, heads // groups, -1)
        mask = seen if isinstance(seen, Tensor) else None
        out = F.scaled_dot_product_attention(q, kv.k, kv.v, attn_mask=mask, scale=scale)
        return out.reshape(rows, 1, heads, -1)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        kv.k,
        kv.v,
        attn_mask=seen if isinstance(seen, Tensor) else None,
        is_causal=seen == "causal" if isinstance(seen, str) else False,
        scale=scale,
        enable_gqa=groups != heads,
    )
    return out.transpose(1, 2)


def _attend_openly(
    q: Tensor, kv: KeyValue, seen: Sight, scale: float, cap: float | None, sinks: Tensor | None
) -> Tensor:
    """The same with every score in the open, for what the fused kernels can't do."""
    rows, heads, width, _ = q.shape
    groups, slots = kv.k.shape[1:3]
    q = q.reshape(rows, groups, heads // groups * width, -1)
    scores = (q @ kv.k.transpose(-1, -2)).reshape(rows, heads, width, slots) * scale
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if isinstance(seen, Tensor) and seen.dtype == torch.bool:
        scores = scores.masked_fill(~seen, float("-inf"))
    elif isinstance(seen, Tensor):
        scores = scores + seen
    elif seen == "causal":
        later = torch.ones(width, slots, dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    if sinks is not None:
        column = sinks.to(scores.dtype)[:, None, None].expand(rows, heads, width, 1)
        scores = torch.cat((scores, column), dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32)[..., :slots].to(q.dtype)
    weights = weights.reshape(rows, groups, heads // groups * width, slots)
    return (weights @ kv.v).reshape(rows, heads, width, -1)
