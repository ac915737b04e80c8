"""Where attention gathered from: its weights in the open, followed back through the layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cache.layout import KeyValue
from ..model.attention import Attention
from ..model.block import Block
from ..model.latent import LatentAttention
from ..model.passing import Pass
from ..model.sight import UNSEEN, mask_of
from ..step import Segment

SCORES = 1 << 21
"""Scores held at once: 8 MB, whatever the length of the prompt."""


@dataclass(frozen=True)
class Chunk:
    """Positions `begin` to `end` of the prompt, that were read in one step."""

    begin: int
    end: int
    shared: Pass


def shares_of(
    mixer: Attention | LatentAttention, q: Tensor, kv: KeyValue, queries: Tensor
) -> Tensor:
    """How each head's attention is shared out: q [N, H, D] at positions [N] -> [H, N, S] float32.

    What a sink takes (gpt-oss) goes to no position, so that such shares don't add up to 1.
    """
    spec, k = mixer.spec, kv.k[0]
    keys = kv.positions
    if keys is None:
        keys = torch.arange(k.shape[1], device=k.device)[None]
    mask = mask_of(spec, queries[None], keys)[0]  # [1 or H, N, S]
    count, heads, width = q.shape
    grouped = q.transpose(0, 1).reshape(len(k), heads // len(k) * count, width)
    scores = (grouped @ k.transpose(1, 2)).view(heads, count, -1).float()
    cap, sinks = getattr(spec, "cap", None), getattr(mixer, "sinks", None)
    scores = scores * mixer.scale
    if cap is not None:
        scores = (scores / cap).tanh_().mul_(cap)
    scores += mask
    if sinks is None:
        shares = torch.softmax(scores, dim=-1)
    else:
        sink = sinks.float()[:, None, None].expand(-1, count, 1)
        shares = torch.softmax(torch.cat((scores, sink), -1), dim=-1)[..., :-1]
    # A position that sees nothing, not even itself, has been knocked out: nobody sees it either.
    return shares if kv.positions is None else shares * (mask > UNSEEN / 2)


@dataclass(frozen=True)
class Gathered:
    """A layer's attention at n positions, and where each of these leads back to below it.

    `shares` are [H, S] each, of the positions up to its own; `rollout` is [n, T].
    """

    shares: list[Tensor]
    rollout: Tensor


def gather(
    block: Block, x: Tensor, chunks: Sequence[Chunk], places: Sequence[int], rollout: Tensor
) -> Gathered:
    """One layer's attention, whose input was x [T, M], at some places of the prompt.

    `rollout` [n, T] says where these lead back to above the layer. Half of each step back goes by
    the residual, half by attention, its heads averaged.
    """
    below = rollout * 0.5
    found: dict[int, Tensor] = {}
    for begin, shares in _stretches(block, x, chunks, max(places) + 1):
        count, slots = shares.shape[1:]
        step = shares.mean(0).double()
        below[:, :slots] += 0.5 * rollout[:, begin : begin + count] @ step
        for place in places:
            if begin <= place < begin + count:
                found[place] = shares[:, place - begin, : place + 1].clone()
    return Gathered([found[place] for place in places], below)


def _stretches(
    block: Block, x: Tensor, chunks: Sequence[Chunk], end: int
) -> Iterator[tuple[int, Tensor]]:
    """The shares of all heads [H, N, S] of as many queries at a time as `SCORES` allows."""
    mixer = block.mixer
    for chunk in chunks:
        if chunk.begin >= end:
            return
        rows = x[chunk.begin : chunk.end]
        fed = rows if block.mixer_norm is None else block.mixer_norm(rows)
        q, _, _ = mixer.project(fed, chunk.shared)
        kv = keys_of(mixer, chunk.shared, chunk.end)
        width = max(1, SCORES // (q.shape[1] * chunk.end))
        for begin in range(0, len(q), width):
            part = q[begin : begin + width]
            queries = chunk.shared.step.positions[begin : begin + width]
            yield chunk.begin + begin, shares_of(mixer, part, kv, queries)


def keys_of(mixer: Attention | LatentAttention, shared: Pass, length: int) -> KeyValue:
    """The keys and values of a layer's first `length` positions."""
    return shared.cache.read(mixer.layer, Segment(0, 0, length, (length,)))


def brought(
    mixer: Attention | LatentAttention, shares: Tensor, kv: KeyValue
) -> Iterator[tuple[int, Tensor]]:
    """What attention brought from each position, as its part of the answer: [N, M] of some each.

    `shares` [H, S] are those of one query. The answer is the sum, and the bias.
    """
    heads, slots = shares.shape
    values = mixer.values(kv)  # [S, H, D]
    width = max(1, SCORES // (heads * values.shape[-1]))
    for begin in range(0, slots, width):
        end = min(begin + width, slots)
        parts = values[begin:end] * shares[:, begin:end].T[..., None].to(values.dtype)
        yield begin, mixer.out.matrix(parts.flatten(1))


def mixed(mixer: Attention | LatentAttention, shares: Tensor, kv: KeyValue) -> Tensor:
    """What each head of one query gathers, [H * D]; `shares` are [H, S]."""
    values = mixer.values(kv)[: shares.shape[1]]
    return torch.einsum("hs,shd->hd", shares.to(values.dtype), values).flatten()
