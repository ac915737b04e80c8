"""A KV cache of one tensor a layer for keys and one for values; window layers are rings."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch
from torch import Tensor

from ..spec import Mixer, ModelSpec
from ..step import Segment, Step
from .codes import Packing, Scratch, block_numbers, encode, groups
from .doings import doing
from .layout import KeyValue
from .memory import lazy_zeros

_Places = tuple[Tensor, Tensor]
"""Row and slot of each token, [R * N] each."""


@dataclass(slots=True)
class Store:
    """Keys, values and, where they are int8, the scales of both: [rows, G, slots, ·] each."""

    tensors: tuple[Tensor, ...]

    @property
    def slots(self) -> int:
        """Slots of a row."""
        return self.tensors[0].shape[2]

    def encoded(self, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """What goes into `tensors` for k and v, [T, G, D] each."""
        if len(self.tensors) == 2:
            return k, v
        if k.shape == v.shape:
            numbers, scales = encode(torch.stack((k, v)))
            return *numbers, *scales
        (k, k_scales), (v, v_scales) = encode(k), encode(v)
        return k, v, k_scales, v_scales


class StaticCache:
    """Rows of keys and values, [rows, G, slots, D] a layer, as wide as its mixer asks.

    Position p lives in slot p modulo the layer's slots. A layer that sees everything has `context`
    slots. A window layer has `window + slack`: as many tokens as `slack` may be written in one
    step, or rewound, before anything still in sight is lost. `dtype` is that of what is stored,
    whatever the model computes in; int8 is stored with scales.

    All slots are there from the start, so that a step copies nothing and no address changes. On a
    CPU they take memory only once written to.
    """

    block = 0

    @doing
    def __init__(
        self,
        spec: ModelSpec,
        rows: int,
        context: int,
        slack: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.context = context
        self._slack = slack
        self._views: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        self._places: tuple[Step | None, dict[tuple[int, int], _Places]] = (None, {})
        self._layers: list[Store] = []
        block = 0
        for layer in spec.layers:
            mixer = layer.mixer
            shapes = shapes_of(mixer, rows, slots_of(mixer, context, slack), dtype)
            # Zeros, since a slot that nobody may see still takes part in a product with zero.
            tensors = (lazy_zeros(shape, kind, device) for shape, kind in shapes)
            self._layers.append(Store(tuple(tensors)))
            block = max(block, block_numbers(rows, mixer.kv_heads, mixer.key_width))
        self._windows = tuple(layer.mixer.window for layer in spec.layers)
        self._reached = [0] * rows
        self._packing = Packing(Scratch(block, device))

    def reserve(self, row: int, length: int, first: int = 0) -> bool:
        """All room is there from the start."""
        assert length <= self.context, "the text is longer than the context"
        self._reached[row] = max(self._reached[row], length)
        return True

    def enter(self, row: int, names: Many[bytes], length: int, spare: int) -> int | None:
        """See `Rooms`: nothing is shared."""
        return 0

    def publish(self, row: int, names: Many[bytes]) -> None:
        """See `Rooms`."""

    def find(self, names: Many[bytes]) -> int:
        """See `Rooms`."""
        return 0

    def move(self, source: int, target: int, length: int) -> None:
        """See `Rooms`: rows that run are to be neighbours, so that they can run as one."""
        self.fork(source, target, length)

    def release(self, row: int) -> None:
        """See `Rooms`: the row's memory is the next one's."""

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        """Store the step's keys and values, [T, G, D] each."""
        store = self._layers[layer]
        slots, new = store.slots, store.encoded(k, v)
        for segment in step.segments:
            width = segment.width
            assert width <= self._slack, "a wider step would overwrite keys still in sight"
            slot = (segment.lengths[0] - width) % slots
            if segment.rows > 1 or slot + width > slots:
                rows, places = self._scattered(step, segment, slots)
                for kept, x in zip(store.tensors, new, strict=True):
                    kept[rows, :, places] = x[segment.start : segment.stop].to(kept.dtype)
            elif width == 1:
                for kept, x in zip(store.tensors, new, strict=True):
                    kept.select(0, segment.row).select(1, slot).copy_(x.select(0, segment.start))
            else:
                for kept, x in zip(store.tensors, new, strict=True):
                    place = kept.select(0, segment.row).narrow(1, slot, width)
                    place.copy_(x.narrow(0, segment.start, width).transpose(0, 1))

    def _scattered(self, step: Step, segment: Segment, slots: int) -> _Places:
        """Row and slot of each of a segment's tokens, computed by the first layer of its kind."""
        if self._places[0] is not step:
            self._places = (step, {})
        known = self._places[1]
        key = (segment.start, slots)
        if key not in known:
            rows = torch.arange(segment.row, segment.row + segment.rows, device=step.ids.device)
            places = step.positions[segment.start : segment.stop] % slots
            known[key] = (rows.repeat_interleave(segment.width), places)
        return known[key]

    def read(self, layer: int, segment: Segment) -> KeyValue:
        """All that the segment's rows may see: views, nothing is copied."""
        tensors = self._layers[layer].tensors
        rows, slots = len(segment.lengths), tensors[0].shape[2]
        held = min(max(segment.lengths), slots)
        if rows < tensors[0].shape[0]:
            tensors = [kept.narrow(0, segment.row, rows) for kept in tensors]
        k, v = tensors[0].narrow(2, 0, held), tensors[1].narrow(2, 0, held)
        packing = self._packing
        if len(tensors) > 2:
            packing = Packing(packing.scratch, tensors[2], tensors[3])
        return KeyValue(k, v, None, slots, packing)

    def row(self, row: int, held: int) -> list[tuple[Tensor, Tensor]]:
        """A row's keys and values in each layer, [1, G, S, D]: the first `held` slots or all."""
        views = self._views.get((row, held))
        if views is None:
            views = self._views[row, held] = [
                (k.narrow(0, row, 1)[:, :, :held], v.narrow(0, row, 1)[:, :, :held])
                for k, v, *_ in (layer.tensors for layer in self._layers)
            ]
        return views

    @doing
    def fork(self, source: int, target: int, length: int) -> None:
        """Copy a row; both go their own way from `length` tokens on."""
        for layer in self._layers:
            held = min(length, layer.slots)
            for kept in layer.tensors:
                kept[target, :, :held] = kept[source, :, :held]
        self._reached[target] = self._reached[source]

    def goes_on_at(self, row: int, length: int) -> bool:
        """Whether a row holds all that its tokens from position `length` on may see.

        Later tokens may have taken the slots of earlier ones: a row that was rewound further than
        `slack` can only begin anew.
        """
        first = self._reached[row]
        return length == 0 or all(
            window is None or max(0, length + 1 - window) >= first - layer.slots
            for window, layer in zip(self._windows, self._layers, strict=True)
        )

    def begin_anew(self, row: int) -> None:
        """Forget what a row held."""
        self._reached[row] = 0

    def held(self, row: int, length: int) -> list[tuple[Tensor, ...]]:
        """What the layers hold of a row's first `length` tokens, [G, slots, ·] each: views.

        Keys, values and, where they are int8, the scales of both.
        """
        return [
            tuple(kept[row, :, : min(length, layer.slots)] for kept in layer.tensors)
            for layer in self._layers
        ]

    @doing
    def hold(self, row: int, held: Many[Many[Tensor]], reached: int, length: int) -> None:
        """Make what a row of another cache held of its first `length` tokens a row's own.

        `reached` is how many tokens that row has had, and its cache had the same slack. Rings may
        be smaller here, where they are of a length that no text will come to.
        """
        whole = True
        for layer, tensors in zip(self._layers, held, strict=True):
            for kept, x in zip(layer.tensors, tensors, strict=True):
                around = x.shape[1] < reached
                slots = min(x.shape[1] if around else length, layer.slots)
                kept[row, :, :slots] = x[:, :slots]
                whole = whole and not around
        self._reached[row] = length if whole else reached

    def reached(self, row: int) -> int:
        """Tokens that a row has had, at its longest."""
        return self._reached[row]

    @property
    def nbytes(self) -> int:
        """Bytes once all slots are written to."""
        return sum(kept.nbytes for layer in self._layers for kept in layer.tensors)


def slots_of(mixer: Mixer, context: int, slack: int) -> int:
    """How many slots a layer has for texts of up to `context` tokens."""
    return context if mixer.window is None else min(context, mixer.window + slack)


def held_shapes(
    spec: ModelSpec, length: int, slack: int, dtype: torch.dtype
) -> list[list[tuple[tuple[int, ...], torch.dtype]]]:
    """Shapes and dtypes of what `StaticCache.held` gives for `length` tokens."""
    mixers = (layer.mixer for layer in spec.layers)
    return [
        [
            (shape[1:], kind)
            for shape, kind in shapes_of(one, 1, slots_of(one, length, slack), dtype)
        ]
        for one in mixers
    ]


def slot_bytes(mixer: Mixer, dtype: torch.dtype) -> int:
    """Bytes that one slot of a layer takes."""
    shapes = shapes_of(mixer, 1, 1, dtype)
    return sum(shape[1] * shape[3] * kind.itemsize for shape, kind in shapes)


def shapes_of(
    mixer: Mixer, rows: int, slots: int, dtype: torch.dtype
) -> list[tuple[tuple[int, int, int, int], torch.dtype]]:
    """Shapes and dtypes of what a layer stores, see `Store`."""
    widths = (mixer.key_width, mixer.value_width)
    kept = [((rows, mixer.kv_heads, slots, width), dtype) for width in widths]
    if dtype == torch.int8:
        counts = [groups(width) if width else 0 for width in widths]
        kept += [((rows, mixer.kv_heads, slots, count), torch.float32) for count in counts]
    return kept
