"""Which weight is cut which way, so that several processes have a share of every layer each.

Tensor parallelism as in Megatron-LM (Shoeybi et al. 2019, arXiv:1909.08053): what leads into heads
and neurons is cut by its outputs, what leads out of them by its inputs, and the answers are added
up. A process's share is a model of its own `ModelSpec`, with fewer heads and neurons, so that the
decoder needn't know of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import UsageError
from .matrix import Matrix
from .model.attention import Attention
from .model.decoder import Decoder
from .model.experts import Experts
from .model.latent import LatentAttention
from .model.norm import Norm
from .quant.kinds import GROUP
from .spec import AttentionSpec, ExpertsSpec, Feed, LatentSpec, LayerSpec, Mixer, MlpSpec, ModelSpec


class Adder(Protocol):
    """What puts together the shares of all processes."""

    def total(self, part: Tensor) -> Tensor:
        """The sum of all processes' tensors, the same to the bit in each."""
        ...

    def gathered(self, part: Tensor, widths: list[int]) -> Tensor:
        """All processes' columns side by side, in the first."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """The `span` of a weight's `axis` that a process has; the whole axis has `size` numbers.

    In DTensor's words it is `Shard(axis)`, but that spans need not be equal, nor disjoint.
    """

    axis: int
    span: range
    size: int

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the whole weight, of which a process asks for `shape`."""
        return (*shape[: self.axis], self.size, *shape[self.axis + 1 :])

    def of(self, weight: Tensor) -> Tensor:
        """The process's share of the whole: a view."""
        return weight.narrow(self.axis, self.span.start, len(self.span))


@dataclass(frozen=True, slots=True)
class Heads:
    """The query heads of a process and the key-value heads that they read.

    `holders` is how many processes have these key-value heads.
    """

    queries: range
    keys: range
    holders: int = 1


class Plan:
    """What process `rank` of `size` has of the model that `spec` describes.

    `own` describes its share. Heads are given out in whole groups that share a key-value head or,
    where there are more processes than those, a group's queries are, and its key-value head is
    in each of them; neurons by whole groups of 32 where there are enough; experts lose neurons
    each, so that every process has some of whichever is chosen; the head's rows by id. What is
    small or shared by all heads every process has: norms, the embedding, routers, and the latents
    of multi-head latent attention. Raises `UsageError` where there isn't a head or a neuron for
    each.
    """

    def __init__(self, spec: ModelSpec, rank: int, size: int) -> None:
        most = min([spec.vocab, *(_most(layer) for layer in spec.layers)])
        if size > most:
            raise UsageError(
                f"the model can't be split over {size} processes: a layer of it has only {most} "
                "heads or neurons",
                hint=f"start from 2 to {most}" if most > 1 else "start it without torchrun",
            )
        self.spec, self.rank, self.size = spec, rank, size
        known: dict[LayerSpec, LayerSpec] = {}
        for layer in spec.layers:
            if layer not in known:
                known[layer] = replace(
                    layer, mixer=self._mixer(layer.mixer), feed=self._feed(layer.feed)
                )
        self.own = replace(spec, layers=tuple(known[layer] for layer in spec.layers))

    def cut(self, name: str) -> Cut | None:
        """How the weight that we call `name` is cut; None for one that every process has."""
        if name.startswith("head."):
            return self.head
        match = re.fullmatch(r"layers\.(\d+)\.(mixer|feed)\.(.*)", name)
        if match is None:
            return None
        layer = self.spec.layers[int(match[1])]
        if match[2] == "mixer":
            return self._mixer_cut(layer.mixer, match[3])
        return self._feed_cut(layer.feed, match[3])

    @property
    def head(self) -> Cut:
        """The head's rows, whether they are the embedding's or not."""
        return Cut(0, portion(self.spec.vocab, self.rank, self.size), self.spec.vocab)

    @property
    def head_widths(self) -> list[int]:
        """How many rows of the head each process has."""
        return [len(portion(self.spec.vocab, rank, self.size)) for rank in range(self.size)]

    def heads(self, spec: AttentionSpec) -> Heads:
        """The heads of this process."""
        share = spec.heads // spec.kv_heads
        if self.size <= spec.kv_heads:
            keys = portion(spec.kv_heads, self.rank, self.size)
            return Heads(range(keys.start * share, keys.stop * share), keys)
        holders = [portion(self.size, group, spec.kv_heads) for group in range(spec.kv_heads)]
        group = next(group for group, ranks in enumerate(holders) if self.rank in ranks)
        ranks = holders[group]
        own = portion(share, self.rank - ranks.start, len(ranks))
        first = group * share
        queries = range(first + own.start, first + own.stop)
        return Heads(queries, range(group, group + 1), len(ranks))

    def neurons(self, spec: MlpSpec) -> range:
        """The neurons of this process, in whole groups that quantized weights share scales in."""
        group = GROUP if spec.width >= GROUP * self.size else 1
        groups = portion(-(-spec.width // group), self.rank, self.size)
        return range(groups.start * group, min(groups.stop * group, spec.width))

    def _mixer(self, spec: Mixer) -> Mixer:
        if isinstance(spec, LatentSpec):
            return replace(spec, heads=len(portion(spec.heads, self.rank, self.size)))
        heads, alibi = self.heads(spec), spec.alibi
        if alibi is not None:
            own = alibi.slopes[heads.queries.start : heads.queries.stop]
            alibi = replace(alibi, slopes=own)
        scale = spec.head_dim**-0.5 if spec.scale is None else spec.scale
        own_heads = {"heads": len(heads.queries), "kv_heads": len(heads.keys)}
        return replace(spec, **own_heads, alibi=alibi, scale=scale)

    def _feed(self, spec: Feed) -> Feed:
        if isinstance(spec, MlpSpec):
            return replace(spec, width=len(self.neurons(spec)))
        shared = spec.shared and replace(spec.shared, width=len(self.neurons(spec.shared)))
        expert = replace(spec.expert, width=len(self.neurons(spec.expert)))
        return replace(spec, expert=expert, shared=shared)

    def _mixer_cut(self, spec: Mixer, name: str) -> Cut | None:
        if isinstance(spec, LatentSpec):
            own = portion(spec.heads, self.rank, self.size)
            widths = {
                "q.weight": (0, spec.nope_dim + spec.rope.width),
                "kv.weight": (0, spec.nope_dim + spec.value_dim),
                "out.weight": (1, spec.value_dim),
            }
            if name not in widths:
                return None
            axis, width = widths[name]
            return _scaled(axis, own, spec.heads, width)
        heads, width = self.heads(spec), spec.head_dim
        part = name.partition(".")[0]
        over = spec.qk_norm.over if spec.qk_norm else "head"
        if name == "sinks":
            return _scaled(0, heads.queries, spec.heads, 1)
        if name == "out.weight":
            return _scaled(1, heads.queries, spec.heads, width)
        if part not in ("q", "k", "v", "q_norm", "k_norm"):
            return None
        if part.endswith("_norm"):
            if over == "head":
                return None
            width = 1 if over == "heads" else width
        if part.startswith("q"):
            return _scaled(0, heads.queries, spec.heads, width)
        return _scaled(0, heads.keys, spec.kv_heads, width)

    def _feed_cut(self, spec: Feed, name: str) -> Cut | None:
        if isinstance(spec, ExpertsSpec):
            part, _, rest = name.partition(".")
            if part == "shared" and spec.shared is not None:
                return self._feed_cut(spec.shared, rest)
            if part == "experts":
                return self._feed_cut(spec.expert, rest.partition(".")[2])
            return None
        part = name.partition(".")[0]
        if part in ("gate", "up"):
            return Cut(0, self.neurons(spec), spec.width)
        if name == "down.weight":
            return Cut(1, self.neurons(spec), spec.width)
        return None


def portion(count: int, rank: int, size: int) -> range:
    """Which of `count` things go to process `rank` of `size`: as many as to others, or one more.

    >>> [portion(7, rank, 3) for rank in range(3)]
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    return range(count * rank // size, count * (rank + 1) // size)


def _scaled(axis: int, heads: range, count: int, width: int) -> Cut:
    return Cut(axis, range(heads.start * width, heads.stop * width), count * width)


def _most(layer: LayerSpec) -> int:
    """How many processes can have a head and a neuron each of everything in a layer."""
    feed = layer.feed
    mlps = [feed] if isinstance(feed, MlpSpec) else [feed.expert, feed.shared]
    return min([layer.mixer.heads, *(mlp.width for mlp in mlps if mlp is not None)])


class Summed:
    """A matrix of some of the inputs: all processes' products are added, then the bias, once."""

    def __init__(self, part: Matrix, adder: Adder) -> None:
        self._part = part
        self._adder = adder

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        whole = self._adder.total(self._part(x))
        return whole if bias is None else whole.add_(bias)

    def dense(self) -> Tensor:
        """The weights of this process."""
        return self._part.dense()

    @property
    def nbytes(self) -> int:
        """Bytes of those."""
        return self._part.nbytes


class Gathered:
    """A matrix of some of the outputs, which the first process puts side by side with the rest."""

    def __init__(self, part: Matrix, widths: list[int], adder: Adder) -> None:
        self._part = part
        self._widths = widths
        self._adder = adder

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`. `bias` is that of this process's outputs."""
        return self._adder.gathered(self._part(x, bias), self._widths)

    def dense(self) -> Tensor:
        """The weights of this process."""
        return self._part.dense()

    @property
    def nbytes(self) -> int:
        """Bytes of those."""
        return self._part.nbytes


class SummedExperts(Experts):
    """Experts with some of their neurons each: all processes' answers are added up once."""

    def __init__(self, part: Experts, adder: Adder, first: bool) -> None:
        vars(self).update(vars(part))
        self._adder = adder
        mlps = self.experts if self.shared is None else (*self.experts, self.shared)
        for mlp in mlps:
            if not first:
                mlp.down.bias = None  # or each process would add it

    def __call__(self, x: Tensor) -> Tensor:
        """[T, M] -> [T, M]."""
        return self._adder.total(super().__call__(x))


class SummedNorm(Norm):
    """A norm over all heads, of which this process has some: sums run over all processes.

    Of `width` numbers in all, `holders` processes each have the ones that are here.
    """

    def __init__(self, part: Norm, width: int, holders: int, adder: Adder) -> None:
        vars(self).update(vars(part))
        self._width, self._holders, self._adder = width, holders, adder

    def __call__(self, x: Tensor) -> Tensor:
        """[..., share] -> [..., share], in x's dtype."""
        wide = x.float()
        if self.spec.kind == "layer":
            wide = wide - self._mean(wide)
        wide = wide * torch.rsqrt(self._mean(wide.square()) + self.spec.eps)
        if self.weight is None:
            return wide.to(x.dtype)
        if self.spec.kind == "layer" or self.weight.dtype == torch.float32:
            wide = wide * self.weight
            return (wide if self.bias is None else wide + self.bias).to(x.dtype)
        return wide.to(x.dtype) * self.weight

    def _mean(self, x: Tensor) -> Tensor:
        return self._adder.total(x.sum(-1, keepdim=True) / self._holders) / self._width


def joined(decoder: Decoder, plan: Plan, adder: Adder) -> None:
    """Have a decoder of `plan.own` add up what the processes give, and so answer as the whole."""
    for block, layer in zip(decoder.blocks, plan.spec.layers, strict=True):
        _join_mixer(block.mixer, layer.mixer, plan, adder)
        if isinstance(block.feed, Experts):
            block.feed = SummedExperts(block.feed, adder, plan.rank == 0)
        else:
            block.feed.down.matrix = Summed(block.feed.down.matrix, adder)
    decoder.head = Gathered(decoder.head, plan.head_widths, adder)


def _join_mixer(mixer: Attention | LatentAttention, spec: Any, plan: Plan, adder: Adder) -> None:
    mixer.out.matrix = Summed(mixer.out.matrix, adder)
    if not isinstance(mixer, Attention):
        return
    assert isinstance(spec, AttentionSpec)
    if spec.qk_norm is None or spec.qk_norm.over != "whole":
        return
    assert mixer.q_norm is not None
    assert mixer.k_norm is not None
    width, heads = spec.head_dim, plan.heads(spec)
    mixer.q_norm = SummedNorm(mixer.q_norm, spec.heads * width, 1, adder)
    mixer.k_norm = SummedNorm(mixer.k_norm, spec.kv_heads * width, heads.holders, adder)
