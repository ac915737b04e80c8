"""A KV cache of one tensor a layer, grown as the text grows; window layers are rings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..spec import ModelSpec
from ..step import Segment, Step
from .layout import KeyValue

FIRST = 256
"""Slots a layer starts with."""


@dataclass(slots=True)
class _Layer:
    k: Tensor
    v: Tensor
    limit: int

    @property
    def slots(self) -> int:
        return self.k.shape[2]


class StaticCache:
    """Rows of keys and values, [rows, G, slots, D] a layer, as wide as its mixer asks.

    Position p lives in slot p modulo the layer's slots. A layer that sees everything grows up to
    `context` slots and never wraps. A window layer stops at `window + slack` slots: as many tokens
    as `slack` may be written in one step, or rewound, before anything still in sight is lost.
    """

    def __init__(
        self,
        spec: ModelSpec,
        rows: int,
        context: int,
        slack: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._slack = slack
        self._views: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        self._layers: list[_Layer] = []
        for layer in spec.layers:
            mixer = layer.mixer
            limit = context if mixer.window is None else min(context, mixer.window + slack)
            slots, widths = min(FIRST, limit), (mixer.key_width, mixer.value_width)
            # Zeros, since a slot that nobody may see still takes part in a product with zero.
            k, v = (
                torch.zeros((rows, mixer.kv_heads, slots, width), dtype=dtype, device=device)
                for width in widths
            )
            self._layers.append(_Layer(k, v, limit))

    def reserve(self, row: int, length: int) -> None:
        """Grow every layer to hold `length` tokens, or what its window needs of them."""
        for layer in self._layers:
            if length > layer.slots and layer.slots < layer.limit:
                # Doubling keeps copying linear in the end; a ring grows before it ever wraps.
                slots = min(layer.limit, max(length, 2 * layer.slots))
                self._views.clear()
                layer.k, layer.v = _grown(layer.k, slots), _grown(layer.v, slots)

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        """Store the step's keys and values, [T, G, D] each."""
        store = self._layers[layer]
        for segment in step.segments:
            assert segment.width <= self._slack, "a wider step would overwrite keys still in sight"
            first = segment.lengths[0] - segment.width
            slot = first % store.slots
            span = slice(segment.start, segment.stop)
            if segment.rows == 1 and slot + segment.width <= store.slots:
                for kept, new in ((store.k, k), (store.v, v)):
                    place = kept[segment.row].narrow(1, slot, segment.width)
                    place.copy_(new[span].transpose(0, 1))
                continue
            slots = step.positions[span] % store.slots
            rows = torch.arange(segment.row, segment.row + segment.rows, device=slots.device)
            rows = rows.repeat_interleave(segment.width)
            store.k[rows, :, slots] = k[span]
            store.v[rows, :, slots] = v[span]

    def read(self, layer: int, segment: Segment) -> KeyValue:
        """All that the segment's rows may see: views, nothing is copied."""
        store = self._layers[layer]
        longest = max(segment.lengths)
        held = min(longest, store.slots)
        plain = longest <= store.slots and min(segment.lengths) == longest
        positions = None if plain else _positions(segment.lengths, held, store)
        k, v = (
            kept.narrow(0, segment.row, segment.rows).narrow(2, 0, held)
            for kept in (store.k, store.v)
        )
        return KeyValue(k, v, positions)

    def row(self, row: int, held: int) -> list[tuple[Tensor, Tensor]]:
        """A row's keys and values in each layer, [1, G, S, D]: the first `held` slots or all."""
        views = self._views.get((row, held))
        if views is None:
            views = self._views[row, held] = [
                (layer.k.narrow(0, row, 1)[:, :, :held], layer.v.narrow(0, row, 1)[:, :, :held])
                for layer in self._layers
            ]
        return views

    def fork(self, source: int, target: int, length: int) -> None:
        """Copy a row; both go their own way from `length` tokens on."""
        for layer in self._layers:
            held = min(length, layer.slots)
            layer.k[target, :, :held] = layer.k[source, :, :held]
            layer.v[target, :, :held] = layer.v[source, :, :held]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.nbytes for layer in self._layers for t in (layer.k, layer.v))


def _grown(old: Tensor, slots: int) -> Tensor:
    rows, heads, before, width = old.shape
    new = torch.zeros((rows, heads, slots, width), dtype=old.dtype, device=old.device)
    new[:, :, :before] = old
    return new


def _positions(lengths: tuple[int, ...], held: int, store: _Layer) -> Tensor:
    """The latest position below each row's length that falls on each slot, [R, held]."""
    slots = torch.arange(held, device=store.k.device)
    last = torch.tensor(lengths, device=store.k.device)[:, None] - 1
    return last - (last - slots) % store.slots
