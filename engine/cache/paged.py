"""A KV cache in blocks of equal size, which texts take as they grow and share where they agree."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ... import InputError, UsageError
from ..device import spare_memory
from ..request import Request
from ..spec import ModelSpec
from ..step import Segment, Step
from .bags import Shape, bags_of, suits_bags
from .blocks import BLOCK, Blocks, blocks_of, needed
from .codes import BLOCK as NUMBERS
from .codes import Packing, Scratch
from .doings import doing
from .layout import Frame, KeyValue, Paging
from .memory import lazy_zeros
from .static import Store, shapes_of, slot_bytes

FEWEST, MOST = 8, 64
"""Blocks that are read at once: as many as the processor's cache holds, within these bounds."""

UNKNOWN = 4 << 30
"""Bytes for keys and values where nobody knows what is free."""

Shapes: TypeAlias = list[tuple[tuple[int, int, int, int], torch.dtype]]
"""Shapes and dtypes of what a layer stores, see `Store`."""

NOBODY = -1
"""The row of tokens that only fill up a step."""


@dataclass(frozen=True)
class Plan:
    """A cache of `count` blocks that is to be made; see `PagedCache`."""

    count: int
    alike: int | None = None
    block: int = BLOCK

    def check(self, request: Request, context: int) -> None:
        """Raise `InputError` for a request that doesn't fit even if it runs alone."""
        wanted = needed(request, context, self.block)
        if wanted > self.count:
            raise InputError(
                f"the text can come to {wanted * self.block:,} tokens, and --max-memory holds "
                f"keys and values of {self.count * self.block:,}",
                hint="a larger --max-memory, fewer tokens (-n), or --kv-dtype int8",
            )

    def make(self, spec: ModelSpec, dtype: torch.dtype, device: torch.device) -> PagedCache:
        """The cache."""
        return PagedCache(spec, self.count, dtype, device, self.alike, self.block)


class PagedCache:
    """Keys and values [count, G, block, D] a layer, and for each row a list of its blocks.

    A block is the same tokens in every layer; windows see fewer of them. `dtype` is that of what
    is stored, as in a `StaticCache`. With `alike`, so many blocks are always read at once, filled
    up with ones that don't count, so that every product has the same shape.
    """

    @doing
    def __init__(
        self,
        spec: ModelSpec,
        count: int,
        dtype: torch.dtype,
        device: torch.device,
        alike: int | None = None,
        block: int = BLOCK,
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.block = block
        self.blocks = Blocks(count)
        self._nobodys = count  # a block more, that nobody reads
        self._alike = alike
        self._stores: list[Store] = []
        self._bagged: list[Shape | None] = []
        self._tables: dict[int, list[int]] = {}
        widest = 1
        for layer in spec.layers:
            mixer = layer.mixer
            shapes = shapes_of(mixer, count + 1, block, dtype)
            bagged = suits_bags(mixer, dtype, device)
            self._stores.append(_turned(shapes, device) if bagged else _straight(shapes, device))
            self._bagged.append(
                Shape(mixer.heads, mixer.kv_heads, mixer.key_width, block) if bagged else None
            )
            widest = max(widest, mixer.kv_heads * mixer.key_width * block)
        self._windows = tuple(layer.mixer.window for layer in spec.layers)
        self._most = alike or min(max(NUMBERS // widest, FEWEST), MOST)
        self._scratch = Scratch(max(NUMBERS, self._most * widest), device)
        self._step: Step | None = None
        self._places = torch.empty(0), torch.empty(0)
        self._prompts: dict[int, Tensor] = {}
        self._laid: tuple[tuple[int, int], tuple[Tensor, ...]] = (-1, -1), ()
        self._views: dict[tuple[Segment, int | None, Shape | None], tuple[Tensor, Paging]] = {}

    @doing
    def reserve(self, row: int, length: int, first: int = 0) -> bool:
        """See `KVCache`. A text that is written from its beginning lets go of what it had."""
        if first == 0:
            self.release(row)
        table = self._tables.setdefault(row, [])
        own = first // self.block
        copied = first % self.block > 0 and self.blocks.shared(table[own])
        lacking = max(0, blocks_of(length, self.block) - len(table))
        if self.blocks.vacant < lacking + copied:
            return False
        if copied:
            table[own] = self._copy(table[own])
        table.extend(self._take() for _ in range(lacking))
        return True

    @doing
    def enter(self, row: int, names: Many[bytes], length: int, spare: int) -> int | None:
        """See `Rooms`."""
        assert row not in self._tables, "the row is taken"
        found = list(self._found(names))
        lacking = blocks_of(length, self.block) - len(found)
        if self.blocks.vacant_without(found) < lacking + spare:
            return None
        for block in found:
            self.blocks.share(block)
        self._tables[row] = found
        return len(found) * self.block

    def find(self, names: Many[bytes]) -> int:
        """See `Rooms`."""
        return sum(1 for _ in self._found(names))

    @doing
    def publish(self, row: int, names: Many[bytes]) -> None:
        """See `Rooms`."""
        for block, name in zip(self._tables[row], names, strict=False):
            self.blocks.name(block, name)

    @doing
    def fork(self, source: int, target: int, length: int) -> None:
        """Share a row's first blocks; who writes to the last one first gets a copy of it."""
        self.release(target)
        self._tables[target] = self._tables[source][: blocks_of(length, self.block)]
        for block in self._tables[target]:
            self.blocks.share(block)

    @doing
    def move(self, source: int, target: int, length: int) -> None:
        """See `Rooms`."""
        self._tables[target] = self._tables.pop(source)

    @doing
    def release(self, row: int) -> None:
        """See `Rooms`. The end of a text goes first: others may begin like it."""
        for block in reversed(self._tables.pop(row, [])):
            self.blocks.leave(block)

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        """Store the step's keys and values, [T, G, D] each."""
        if step is not self._step:
            self._step, self._places = step, self._placed(step)
            self._views.clear()
            self._prompts = self._prompts_of(step)
        self._laid = (-1, -1), ()  # what was laid out of this layer is old now
        blocks, slots = self._places
        store = self._stores[layer]
        for kept, x in zip(store.tensors, store.encoded(k, v), strict=True):
            kept[blocks, :, slots] = x.to(kept.dtype)

    def read(self, layer: int, segment: Segment) -> KeyValue:
        """All that the segment's rows may see: for a prompt a copy, else views."""
        tensors = self._stores[layer].tensors
        if segment.framed:
            return self._framed(layer, segment)
        key = (segment, self._windows[layer], self._bagged[layer])
        if key not in self._views:
            self._views[key] = self._seen(*key)
        positions, paging = self._views[key]
        packing = Packing(self._scratch, *tensors[2:])
        return KeyValue(tensors[0], tensors[1], positions, 0, packing, paging)

    @property
    def nbytes(self) -> int:
        """Bytes once all blocks are written to."""
        return sum(kept.nbytes for store in self._stores for kept in store.tensors)

    def _found(self, names: Many[bytes]) -> Iterator[int]:
        for name in names:
            block = self.blocks.find(name)
            if block is None:
                return
            yield block

    def _take(self) -> int:
        block = self.blocks.take()
        assert block is not None, "more blocks are taken than there are"
        return block

    def _copy(self, block: int) -> int:
        own = self._take()
        for store in self._stores:
            for kept in store.tensors:
                kept[own] = kept[block]
        self.blocks.leave(block)
        return own

    def _table(self, row: int) -> list[int]:
        return [self._nobodys] if row == NOBODY else self._tables[row]

    def _placed(self, step: Step) -> tuple[Tensor, Tensor]:
        """Block and slot of each token of a step, [T] each."""
        blocks: list[int] = []
        for segment in step.segments:
            for row, length in zip(segment.members, segment.lengths, strict=True):
                table = self._table(row)
                blocks += [table[p // self.block] for p in range(length - segment.width, length)]
        return torch.tensor(blocks, device=self.device), step.positions % self.block

    def _prompts_of(self, step: Step) -> dict[int, Tensor]:
        """The blocks of each row that has framed segments, as far as these reach."""
        ends = {one.row: one.lengths[0] for one in step.segments if one.framed}  # the last counts
        return {
            row: torch.tensor(self._tables[row][: blocks_of(end, self.block)], device=self.device)
            for row, end in ends.items()
        }

    def _framed(self, layer: int, segment: Segment) -> KeyValue:
        """One row's keys and values laid end to end, [1, G, S, D], up to a whole block."""
        end = segment.lengths[0]
        held = blocks_of(end, self.block) * self.block
        k, v, *scales = (laid[:, :, :held] for laid in self._laid_out(layer, segment.row))
        packing = Packing(self._scratch, *scales)
        frame = Frame((end - segment.width) % self.block, self.block)
        return KeyValue(k, v, None, held, packing, frame=frame)

    def _laid_out(self, layer: int, row: int) -> tuple[Tensor, ...]:
        """All blocks of a row that this step's framed segments see, kept for the next of them."""
        if self._laid[0] != (layer, row):
            blocks = self._prompts[row]
            tensors = self._stores[layer].tensors
            own = (kept.index_select(0, blocks).transpose(0, 1).flatten(1, 2) for kept in tensors)
            self._laid = (layer, row), tuple(one[None] for one in own)
        return self._laid[1]

    def _seen(
        self, segment: Segment, window: int | None, bagged: Shape | None
    ) -> tuple[Tensor, Paging]:
        """Which blocks single tokens see, and the positions that each holds [V, block]."""
        blocks: list[int] = []
        owners: list[int] = []
        firsts: list[int] = []
        places: list[range] = []
        for owner, (row, length) in enumerate(zip(segment.members, segment.lengths, strict=True)):
            begin = 0 if window is None else max(0, length - window) // self.block
            own = self._table(row)[begin : blocks_of(length, self.block)]
            places.append(range(len(blocks), len(blocks) + len(own)))
            blocks += own
            owners += [owner] * len(own)
            firsts += range(begin * self.block, (begin + len(own)) * self.block, self.block)
        more = -len(blocks) % self._alike if self._alike else 0
        blocks += [self._nobodys] * more
        owners, firsts = owners + [0] * more, firsts + [0] * more
        longest = max(map(len, places))
        table = [[*own, *[0] * (longest - len(own))] for own in places]
        absent = [[place >= len(own) for place in range(longest)] for own in places]

        blocks_, owners_, table_, absent_, firsts_ = (
            torch.tensor(values, device=self.device)
            for values in (blocks, owners, table, absent, firsts)
        )
        within = torch.arange(self.block, device=self.device)
        paging = Paging(blocks_, owners_, table_, absent_, self._most)
        if bagged is not None:
            count = self.blocks.count + 1
            paging = paging._replace(bags=bags_of(bagged, count, blocks_, table_, absent_))
        return firsts_[:, None] + within, paging


def _straight(shapes: Shapes, device: torch.device) -> Store:
    return Store(tuple(lazy_zeros(*one, device) for one in shapes))


def _turned(shapes: Shapes, device: torch.device) -> Store:
    """The same tensors, but that keys lie in memory as [D, block]."""
    ((*some, block, width), dtype), values = shapes
    keys = lazy_zeros((*some, width, block), dtype, device).transpose(2, 3)
    return Store((keys, lazy_zeros(*values, device)))


def find_plan(
    spec: ModelSpec,
    dtype: torch.dtype,
    device: torch.device,
    nbytes: int | None,
    rows: int,
    context: int,
) -> Plan:
    """As many blocks as `nbytes` hold (None: most of what is free), and `rows` texts can fill.

    Raises `UsageError` if that is none.
    """
    each = block_bytes(spec, dtype)
    if nbytes is None:
        spare = spare_memory(device)
        nbytes = UNKNOWN if spare is None else spare
    count = nbytes // each - 1  # one is for what nobody reads
    if count < 1:
        raise UsageError(
            f"--max-memory of {nbytes:,} bytes is too little: keys and values of {BLOCK} tokens "
            f"take {each:,}, and there have to be two such blocks"
        )
    return Plan(min(count, rows * 2 * blocks_of(context, BLOCK)))


def block_bytes(spec: ModelSpec, dtype: torch.dtype, block: int = BLOCK) -> int:
    """Bytes of a block in all layers."""
    return block * sum(slot_bytes(layer.mixer, dtype) for layer in spec.layers)
