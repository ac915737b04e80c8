"""Blocks that are summed where they lie, without a copy: which rows of a layer each sum takes.

Attention is two weighted sums: a query's numbers weigh the rows of a block's keys [D, block], and
what comes of that weighs the rows of its values [block, D]. torch's `embedding_bag` sums any rows
of a table by weights, at the memory's own speed, and each bag by itself: measured in float32,
attention takes half as long as with blocks copied together. In half precision its answers, scores
among them, have as few digits as the table.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..spec import AttentionSpec, Mixer

SHARING = 8
"""Heads up to which each reading the keys that it shares takes no longer than copying these."""


class Shape(NamedTuple):
    """What a layer's bags depend on: heads, those of them that are cached, and their width."""

    heads: int
    kv_heads: int
    width: int
    block: int


class Bags(NamedTuple):
    """Which rows the sums of V views and R texts take, int32 or int64; see `Paging`.

    `keys` [V * H * D] are rows of [count * G * D, block], a bag for each view and head. `values`
    [V * H * block] are rows of [count * G * block, D], a bag for each text and head: these have
    their views and heads in the `order` [V * H], those of bag n from `first[n]` [R * H] on.
    """

    keys: Tensor
    values: Tensor
    order: Tensor
    first: Tensor


def suits_bags(mixer: Mixer, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a layer's keys and values, stored in `dtype`, are better summed where they lie."""
    plain = dtype == torch.float32 and device.type == "cpu" and isinstance(mixer, AttentionSpec)
    return plain and mixer.heads <= SHARING * mixer.kv_heads


def bags_of(shape: Shape, count: int, blocks: Tensor, table: Tensor, absent: Tensor) -> Bags:
    """The bags of views of `blocks` [V] of `count`, which texts have as `Paging` tells."""
    heads, kv_heads, width, block = shape
    rows = count * kv_heads * max(width, block)
    kind = torch.int32 if rows <= torch.iinfo(torch.int32).max else torch.int64
    head = torch.arange(heads, device=blocks.device)
    held = (blocks[:, None] * kv_heads + head // (heads // kv_heads)).to(kind)  # [V, H]
    there = ~absent[:, None].expand(-1, heads, -1)  # [R, H, P]
    order = (table[:, None] * heads + head[:, None])[there]
    counts = there.sum(-1).flatten()
    return Bags(
        _rows(held.flatten(), width),
        _rows(held.flatten()[order], block),
        order.to(kind),
        (counts.cumsum(0) - counts).to(kind),
    )


def _rows(held: Tensor, each: int) -> Tensor:
    """The `each` rows of a table that belong to each of `held`."""
    within = torch.arange(each, dtype=held.dtype, device=held.device)
    return (held[:, None] * each + within).flatten()
