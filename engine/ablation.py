"""A decoder without some of its parts: what it would say if it hadn't these, or hadn't seen that.

What is knocked out answers with nothing (zero ablation; Olsson et al. 2022, arXiv:2209.11895). All
weights are shared with the whole decoder, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

import torch
from torch import Tensor

from .knockout import Expert, Part
from .matrix import Matrix
from .model.attention import Attention
from .model.block import Block
from .model.decoder import Decoder
from .model.experts import Experts
from .model.latent import LatentAttention
from .model.linear import Linear
from .model.mlp import Mlp
from .spec import LatentSpec


class Muted:
    """A matrix some of whose inputs are taken for zero: `keep` [inputs] is true of the others."""

    def __init__(self, matrix: Matrix, keep: Tensor) -> None:
        self._matrix = matrix
        self._keep = keep

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Matrix`."""
        return self._matrix(x * self._keep, bias)

    def dense(self) -> Tensor:
        """See `Matrix`."""
        return self._matrix.dense() * self._keep

    @property
    def nbytes(self) -> int:
        """See `Matrix`."""
        return self._matrix.nbytes


def without(decoder: Decoder, parts: Iterable[Part], unseen: Sequence[range] = ()) -> Decoder:
    """`decoder` without some of its parts, where no token sees the positions `unseen`.

    Of a layer, an attention or an MLP nothing is left, nor of their biases; a norm behind it stays.
    The attention of a muted head is still to be had, but adds nothing. Everything keeps its
    position; what would come next behind an unseen one means nothing.
    """
    by_layer: dict[int, list[Part]] = {}
    for part in parts:
        by_layer.setdefault(part.layer, []).append(part)
    lacking = copy(decoder)
    lacking.unseen = (*decoder.unseen, *unseen)
    lacking.blocks = tuple(
        _lacking(block, by_layer[number], decoder.device) if number in by_layer else block
        for number, block in enumerate(decoder.blocks)
    )
    return lacking


def _lacking(whole: Block, parts: Sequence[Part], device: torch.device) -> Block:
    block, kinds = copy(whole), {part.kind for part in parts}
    if kinds & {"layer", "attention"}:
        block.mixer = _gathering(block.mixer, None, device)
    elif "head" in kinds:
        heads = [part.number for part in parts if part.kind == "head"]
        block.mixer = _gathering(block.mixer, heads, device)
    if kinds & {"layer", "mlp", "expert", "neuron"}:
        block.feed = _recalling(block.feed, parts, device)
    return block


def _gathering(
    whole: Attention | LatentAttention, heads: Sequence[int | None] | None, device: torch.device
) -> Attention | LatentAttention:
    """Attention without some of its heads, or without any answer."""
    spec, mixer = whole.spec, copy(whole)
    width = spec.value_dim if isinstance(spec, LatentSpec) else spec.head_dim
    mixer.out = _muted(mixer.out, (spec.heads, width), heads, device)
    return mixer


def _recalling(whole: Mlp | Experts, parts: Sequence[Part], device: torch.device) -> Mlp | Experts:
    """An MLP, or a mixture of them, without what is gone of it."""
    everything = any(part.kind in ("layer", "mlp") for part in parts)

    def lacking(mlp: Mlp, expert: Expert | None) -> Mlp:
        own = [part for part in parts if part.expert == expert]
        gone = everything or any(part.kind == "expert" for part in own)
        neurons = None if gone else [part.number for part in own if part.kind == "neuron"]
        if neurons == []:
            return mlp
        mlp = copy(mlp)
        mlp.down = _muted(mlp.down, (mlp.spec.width, 1), neurons, device)
        return mlp

    if isinstance(whole, Mlp):
        return lacking(whole, None)
    feed = copy(whole)
    feed.experts = tuple(lacking(mlp, number) for number, mlp in enumerate(feed.experts))
    if feed.shared is not None:
        feed.shared = lacking(feed.shared, "shared")
    return feed


def _muted(
    whole: Linear, shape: tuple[int, int], gone: Sequence[int | None] | None, device: torch.device
) -> Linear:
    """Without some of the equal groups of its inputs, or without all of them and its bias."""
    linear, keep = copy(whole), torch.ones(shape, dtype=torch.bool, device=device)
    if gone is None:
        keep[:] = False
        linear.bias = None
    else:
        keep[list(gone)] = False
    linear.matrix = Muted(linear.matrix, keep.flatten())
    return linear
