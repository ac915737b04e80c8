"""Who sees whom: what a step's queries see of a layer's slots, in spans.

A chunk of a long prompt sees one span, however long, that all of its queries see whole, and a few
that some of them see, none longer than the chunk. Only those have masks, so masks don't grow with
what was read before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from ..cache.layout import KeyValue, held_positions
from ..spec import AlibiSpec, AttentionSpec, Mixer
from ..step import Segment

FEW = 8192
"""Pairs of query and key up to which one masked span costs less than several spans."""

# Not -inf: a span of which a query sees nothing would give NaN, instead of a weight of 0.
UNSEEN = torch.finfo(torch.float32).min / 2


@dataclass(frozen=True, slots=True)
class Span:
    """Slots `begin` to `end` of a segment's rows.

    `mask` [R, 1 or H, 1 or N, end - begin] is added to the scores. If `causal`, query n sees the
    span's first n + 1 slots.
    """

    begin: int
    end: int
    mask: Tensor | None = None
    causal: bool = False


Sight: TypeAlias = tuple[Span, ...]
"""What a segment's queries see."""


def sight(spec: Mixer, segment: Segment, kv: KeyValue, queries: Tensor) -> Sight:
    """What a segment's queries see, whose positions are `queries` [R, N].

    One rule serves padding, rings and rewound rows: a key is seen if its slot holds anything, it
    isn't later than the query, and it is less than `window` positions back.
    """
    held = kv.k.shape[2]
    if kv.frame is not None:
        first = queries[:, :1] - kv.frame.first
        queries = first + torch.arange(kv.frame.width, device=queries.device)
        segment = replace(segment, width=kv.frame.width, lengths=(held,))
    if kv.paging is not None:  # each block is a row of its own
        queries = queries[kv.paging.owners]
    if kv.positions is None and min(segment.lengths) == max(segment.lengths):
        spans = tuple(_spans(spec, segment, kv.ring, queries))
        several = kv.k.is_cpu and segment.width > 1 and segment.width * held > FEW
        if len(spans) == 1 or several:
            return spans
    return (Span(0, held, mask_of(spec, queries, held_positions(kv, queries[:, -1:]))),)


def _spans(spec: Mixer, segment: Segment, ring: int, queries: Tensor) -> Iterator[Span]:
    """The spans of rows that are all as long: position p is in slot p modulo `ring`."""
    length, width, window = segment.lengths[0], segment.width, spec.window
    first = length - width
    # From `oldest` on some queries see a key, from `common` on all do, up to the first query's.
    oldest = common = 0
    if window is not None:
        oldest, common = max(0, first + 1 - window), max(0, min(first, length - window))
    if width == 1:
        first = length  # its own key is one of those that all see
    causal = window is None or width <= window
    for begin, end, whole in (
        (oldest, common, False),
        (common, first, True),
        (first, length, causal and first // ring == (length - 1) // ring),
    ):
        for start, stop in _stretches(begin, end, ring):
            slot = start % ring
            span = Span(slot, slot + stop - start, causal=whole and begin == first)
            if not whole or spec.alibi is not None:
                keys = torch.arange(start, stop, device=queries.device)[None]
                pair = (spec, queries, keys)
                span = replace(span, mask=_penalty(*pair) if whole else mask_of(*pair))
            yield span


def _stretches(begin: int, end: int, ring: int) -> Iterator[tuple[int, int]]:
    """Positions `begin` to `end`, cut where they go on at the ring's first slot."""
    while begin < end:
        stop = min(end, (begin // ring + 1) * ring)
        yield begin, stop
        begin = stop


def mask_of(spec: Mixer, queries: Tensor, keys: Tensor) -> Tensor:
    """What is added to scores of keys at positions [R, S]: [R, 1 or H, N, S] in float32."""
    back = queries[:, :, None] - keys[:, None, :]
    seen = (back >= 0) & (keys[:, None, :] >= 0)
    if spec.window is not None:
        seen &= back < spec.window
    mask = torch.where(seen, 0.0, UNSEEN)[:, None]
    return mask if spec.alibi is None else mask + _penalty(spec, queries, keys)


def _penalty(spec: Mixer, queries: Tensor, keys: Tensor) -> Tensor:
    """ALiBi's part of the scores of keys at positions [R, S]: [R, H, 1 or N, S] in float32.

    What is the same for all keys of a query doesn't change its softmax: instead of steps back
    from each query, those from a row's last are counted, unless sinks are weighed against keys.
    """
    assert isinstance(spec.alibi, AlibiSpec)
    assert isinstance(spec, AttentionSpec)
    places = queries if spec.sinks else queries[:, -1:]
    slopes = torch.tensor(spec.alibi.slopes, device=keys.device)[:, None, None]
    if not spec.alibi.rounded:
        return slopes * spec.alibi.scale * (keys[:, None, None] - places[:, None, :, None])
    slopes = slopes.bfloat16()
    ahead = (slopes * keys[:, None, None]).float() - (slopes * places[:, None, :, None]).float()
    return ahead * spec.alibi.scale
