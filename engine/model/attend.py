"""The weighted sum over what is seen.

Spans of slots, and the blocks that packed numbers are read in, are attended to one by one and
merged by the logarithms of their sums of exponentials (Milakov & Gimelshein 2018,
arXiv:1805.02867): memory doesn't grow with what was read before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..cache.bags import Bags
from ..cache.codes import Packing
from ..cache.layout import KeyValue, Paging
from .sight import UNSEEN, Sight, Span, sight

__all__ = ["Sight", "attend", "sight"]

NARROW = 32
"""Queries of a row below which unpacking keys takes longer than attending to them."""

LONG = 1024
"""Slots from which threads that would idle get a part of them each."""

SCORES = 1 << 22
"""Scores held at once, where they are held at all: 16 MB."""

Part: TypeAlias = tuple[Tensor, Tensor]
"""A weighted sum [R, H, N, Dv], and how much it weighs beside others [R, H, N]: the log of the sum
of its scores' exponentials. Where there are no others, that may be anything."""

HALF = torch.bfloat16

FLASH: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""What `F.scaled_dot_product_attention` runs on a CPU; it tells the weight as well."""


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
    if kv.frame is not None:
        first, stop = kv.frame.first, kv.frame.first + q.shape[1]
        q = F.pad(q, (0, 0, 0, 0, first, kv.frame.width - stop))
        return attend(q, kv._replace(frame=None), seen, scale, cap, sinks)[:, first:stop]
    if kv.paging is not None and kv.paging.bags is not None:
        answer = _attend_in_bags(q, kv, kv.paging, kv.paging.bags, seen, scale, cap)
    elif kv.paging is not None:
        answer = _attend_to_blocks(q, kv, kv.paging, seen, scale, cap)
    elif cap is None and sinks is None and _is_plain(q, kv) and _is_usual(q, kv, *seen):
        return _attend_at_once(q, kv, seen[0], scale)
    else:
        answer = _attend_to_spans(q, kv, seen, scale, cap, sinks is None)
    out, weight = answer
    if sinks is not None:
        out = out * torch.sigmoid(weight - sinks[:, None])[..., None]
    return out.to(q.dtype).transpose(1, 2)


def _attend_to_spans(
    q: Tensor, kv: KeyValue, seen: Sight, scale: float, cap: float | None, alone: bool
) -> Part:
    """Span after span, q [R, N, H, D]. If `alone`, a single one needn't say what it weighs."""
    plain = _is_plain(q, kv)
    dtype = q.dtype if plain else _working_dtype(q, kv.k.dtype)
    queries = q.to(dtype).transpose(1, 2)
    fused = cap is None and q.is_cpu and kv.k.shape[-1] == kv.v.shape[-1]
    most = None if fused else SCORES // (q.numel() // q.shape[-1])
    blocks = seen if plain and fused else tuple(_blocks(seen, kv, plain, most))
    alone = alone and len(blocks) == 1
    answer: Part | None = None
    for block in blocks:
        k, v = _numbers(kv, block, plain, dtype)
        if fused:
            part = _attend_fused(queries, k, v, block, scale)
        else:
            part = _attend_openly(queries, k, v, block, scale, cap, alone)
        answer = part if answer is None else _merged(answer, part)
    assert answer is not None
    return answer


def _attend_to_blocks(
    q: Tensor, kv: KeyValue, paging: Paging, seen: Sight, scale: float, cap: float | None
) -> Part:
    """Rows of one query, q [R, 1, H, D]: each block of a cache by itself, then each row's merged.

    A row's sums are made in the order of its blocks, whoever has others.
    """
    (whole,) = seen
    assert whole.mask is not None
    parts: list[Part] = []
    for begin in range(0, len(paging.blocks), paging.most):
        some = slice(begin, begin + paging.most)
        mask = whole.mask[some]
        views = _views(kv, paging.blocks[some])
        own = q.index_select(0, paging.owners[some])
        span = (Span(0, views.k.shape[2], mask),)
        parts.append(_attend_to_spans(own, views, span, scale, cap, False))
    outs, weights = (torch.cat(each) for each in zip(*parts, strict=True))
    table = paging.table
    weight = weights[table].masked_fill_(paging.absent[..., None, None], -torch.inf)
    most = weight.amax(1)  # [R, H, 1]
    out, total = torch.zeros_like(outs[table[:, 0]], dtype=torch.float32), torch.zeros_like(most)
    for place in range(table.shape[1]):
        share = (weight[:, place] - most).exp_()
        total += share
        out.addcmul_(outs[table[:, place]].float(), share[..., None])
    return out.div_(total[..., None]), most + total.log_()


def _attend_in_bags(
    q: Tensor,
    kv: KeyValue,
    paging: Paging,
    bags: Bags,
    seen: Sight,
    scale: float,
    cap: float | None,
) -> Part:
    """The same, where blocks are summed as they lie; each sum is a bag by itself."""
    (whole,) = seen
    assert whole.mask is not None
    rows, _, heads, width = q.shape
    block = kv.k.shape[2]
    keys, values = kv.k.transpose(2, 3).view(-1, block), kv.v.view(-1, kv.v.shape[3])
    queries = q.float().mul(scale if cap is None else scale / cap).view(rows, -1)
    own = queries.index_select(0, paging.owners).flatten()
    each = torch.arange(0, len(own), width, dtype=bags.keys.dtype, device=q.device)
    scores = _sums(keys, bags.keys, each, own).view(-1, heads, block)
    if cap is not None:
        scores = scores.tanh_().mul_(cap)
    scores += whole.mask.squeeze(2)
    most = scores.amax(-1)[paging.table].masked_fill_(paging.absent[..., None], -torch.inf).amax(1)
    shares = scores.sub_(most.index_select(0, paging.owners)[..., None]).exp_().view(-1, block)
    total = _sums(shares.sum(-1, keepdim=True), bags.order, bags.first)
    shares = shares.index_select(0, bags.order).flatten()
    out = _sums(values, bags.values, bags.first * block, shares).div_(total)
    return out.view(rows, heads, 1, -1), most[..., None] + total.log().view(rows, heads, 1)


def _sums(table: Tensor, places: Tensor, first: Tensor, weights: Tensor | None = None) -> Tensor:
    """Of the rows at `places` of a table, those from `first[n]` on added up, for each n."""
    bag: Any = torch.embedding_bag
    return bag(table, places, first, per_sample_weights=weights)[0]


def _views(kv: KeyValue, blocks: Tensor) -> KeyValue:
    """Some blocks of a layer side by side, good until the next such call."""
    assert kv.packing is not None
    scratch = kv.packing.scratch

    def gathered(which: str, stored: Tensor | None) -> Tensor | None:
        if stored is None:
            return None
        out = scratch.room(which, torch.Size((len(blocks), *stored.shape[1:])), stored.dtype)
        return torch.index_select(stored, 0, blocks, out=out)

    k = gathered("key blocks", kv.k)
    v = k if kv.v is kv.k else gathered("value blocks", kv.v)
    assert k is not None
    assert v is not None
    scales = kv.packing.k_scales, kv.packing.v_scales
    own = map(gathered, ("key scales", "value scales"), scales)
    return KeyValue(k, v, packing=Packing(scratch, *own))


def _is_plain(q: Tensor, kv: KeyValue) -> bool:
    """Whether keys and values are read as they are."""
    if kv.k.dtype != q.dtype:
        return False
    # Processors multiply float16 slowly, but turn it into float32 quickly.
    return q.dtype != torch.float16 or not q.is_cpu or kv.packing is None


def _is_usual(q: Tensor, kv: KeyValue, span: Span, *others: Span) -> bool:
    """Whether torch's own function does for a single span, and leaves no threads idle."""
    if others:
        return False
    if span.causal:
        return span.mask is None  # it takes one or the other
    if q.shape[1] > 1 or q.shape[0] > 1 or span.end - span.begin < LONG or span.mask is not None:
        return True
    return not q.is_cpu or torch.get_num_threads() < 2 * kv.k.shape[1]


def _working_dtype(q: Tensor, stored: torch.dtype) -> torch.dtype:
    """What packed numbers are unpacked to, and queries turned into."""
    if q.is_cpu and (q.dtype == torch.float16 or q.shape[1] < NARROW):
        return torch.float32  # it is unpacked to fastest
    return torch.promote_types(q.dtype, stored) if stored.is_floating_point else q.dtype


def _blocks(seen: Sight, kv: KeyValue, plain: bool, most: int | None) -> Iterator[Span]:
    """Spans cut to what can be unpacked at once, and to `most` slots; causal ones stay whole."""
    limits = [] if most is None else [most]
    if not plain:
        assert kv.packing is not None
        rows, groups, _, width = kv.k.shape
        limits.append(kv.packing.scratch.numbers // (rows * groups * width))
    for span in seen:
        length = span.end - span.begin
        step = length if span.causal else max(1, min([length, *limits]))
        if step == length:
            yield span
            continue
        for begin in range(span.begin, span.end, step):
            end = min(begin + step, span.end)
            mask = span.mask
            if mask is not None:
                mask = mask[..., begin - span.begin : end - span.begin]
            yield Span(begin, end, mask)


def _numbers(kv: KeyValue, block: Span, plain: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A block's keys and values, [R, G, S, D] each."""
    if plain:
        length = block.end - block.begin
        return kv.k.narrow(2, block.begin, length), kv.v.narrow(2, block.begin, length)
    assert kv.packing is not None
    return kv.packing.unpacked(kv.k, kv.v, block.begin, block.end, dtype)


def _attend_at_once(q: Tensor, kv: KeyValue, span: Span, scale: float) -> Tensor:
    """One span that torch does in one go, q [R, N, H, D] -> [R, N, H, D]."""
    rows, width, heads, _ = q.shape
    k, v, mask, groups = kv.k, kv.v, span.mask, kv.k.shape[1]
    if span.end - span.begin < k.shape[2]:
        k, v = _numbers(kv, span, True, q.dtype)
    if mask is not None and not q.is_cpu:
        mask = mask.clamp(min=torch.finfo(q.dtype).min).to(q.dtype)  # never -inf
    if width == 1:
        # The H / G heads that share a key-value head become queries of that head, so that each
        # key is read from memory once: decoding is bound by that.
        q = q.reshape(rows, groups, heads // groups, -1)
        if mask is not None and mask.shape[1] > 1:
            mask = mask.reshape(-1, groups, heads // groups, mask.shape[-1])
        out = F.scaled_dot_product_attention(_paired(q), k, v, attn_mask=mask, scale=scale)
        return out[:, :, : q.shape[2]].reshape(rows, 1, heads, -1)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k,
        v,
        attn_mask=mask,
        is_causal=span.causal,
        scale=scale,
        enable_gqa=groups != heads,
    )
    return out.transpose(1, 2)


def _paired(q: Tensor) -> Tensor:
    """Queries [R, G, N, D]; a single one in bfloat16 twice on a CPU.

    Its product of a matrix with one vector takes twice as long as that with two.
    """
    return q.expand(-1, -1, 2, -1) if q.shape[2] == 1 and q.dtype == HALF and q.is_cpu else q


def _attend_fused(q: Tensor, k: Tensor, v: Tensor, block: Span, scale: float) -> Part:
    """A block on the CPU, q [R, H, N, D]."""
    rows, heads, width, _ = q.shape
    groups, mask = k.shape[1], block.mask
    if width > 1 and (block.causal or mask is not None):
        return FLASH(q, k, v, 0.0, block.causal, attn_mask=mask, scale=scale)
    # Heads that share keys side by side, as at once: a prompt gains a tenth or more too.
    q = q.reshape(rows, groups, heads // groups * width, -1)
    if mask is not None and mask.shape[1] > 1:
        mask = mask.reshape(-1, groups, heads // groups, mask.shape[-1])
    parts = torch.get_num_threads() // (rows * groups)
    if mask is None and rows == 1 and parts > 1 and k.shape[2] >= LONG:
        out, weight = _attend_in_parts(q, k, v, parts, scale)
    else:
        out, weight = FLASH(_paired(q), k, v, 0.0, False, attn_mask=mask, scale=scale)
        out, weight = out[:, :, : q.shape[2]], weight[:, :, : q.shape[2]]
    return out.reshape(rows, heads, width, -1), weight.reshape(rows, heads, width)


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, parts: int, scale: float) -> Part:
    """One row's few queries [1, G, N, D] of slots that are cut into parts, as if more heads.

    A thread takes a head's queries at a time: with fewer heads than threads, some would idle.
    """
    each = k.shape[2] // parts
    keys, values = (x[0, :, : parts * each].view(-1, parts, each, x.shape[-1]) for x in (k, v))
    many = q[0, :, None].expand(-1, parts, -1, -1)
    # [G, parts, N, D] and [G, parts, N]
    outs, weights = FLASH(many, keys, values, 0.0, False, scale=scale)
    weight = weights.logsumexp(1)
    shares = (weights - weight[:, None]).exp()[..., None]
    part = (outs * shares).sum(1)[None], weight[None]
    if parts * each == k.shape[2]:
        return part
    rest = FLASH(q, k[:, :, parts * each :], v[:, :, parts * each :], 0.0, False, scale=scale)
    return _merged(part, rest)


def _attend_openly(
    q: Tensor, k: Tensor, v: Tensor, block: Span, scale: float, cap: float | None, alone: bool
) -> Part:
    """A block with every score in the open, for what the fused kernels can't do."""
    rows, heads, width, _ = q.shape
    groups, slots = k.shape[1:3]
    q = q.reshape(rows, groups, heads // groups * width, -1)
    scores = (q @ k.transpose(-1, -2)).view(rows, heads, width, slots).float()
    scores = scores.mul_(scale) if cap is None else scores.mul_(scale / cap).tanh_().mul_(cap)
    if block.mask is not None:
        scores += block.mask
    if block.causal:
        later = torch.ones(width, slots, dtype=torch.bool, device=q.device).triu(1)
        scores.masked_fill_(later, UNSEEN)
    shares = torch.softmax(scores, dim=-1)
    # Where the score is highest, the share is exp(score - weight).
    weight = scores if alone else scores.amax(-1) - shares.amax(-1).log()
    shares = shares.to(v.dtype).reshape(rows, groups, heads // groups * width, slots)
    return (shares @ v).reshape(rows, heads, width, -1), weight


def _merged(one: Part, two: Part) -> Part:
    """What two parts are together: each counts by its weight."""
    share = torch.sigmoid(two[1] - one[1])[..., None]
    return torch.lerp(one[0].float(), two[0].float(), share), torch.logaddexp(one[1], two[1])
