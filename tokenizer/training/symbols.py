"""Every distinct word as symbols in one flat array, made for merging them in place.

A symbol takes as many slots as its spelling has letters: one a byte where letters stand for bytes.
Its first slot holds its id (0 or more), its last one minus its length, if that is above one, and
what lies between is some other number below -1. A slot of `BORDER` stands before, between and
behind words, and for text that no symbol stands for. So both neighbours of a symbol are found at
once, a merge writes three slots, and a place in the array stays the same place for good. Next to
each slot lies how often its word occurs: 8 bytes a slot in all.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, islice, pairwise
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

import numpy as np

from ... import OutOfMemoryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int32]
    Array = NDArray[Any]

BORDER = -1
"""The slot that parts words; merging never crosses it."""

INSIDE = -2
"""A slot inside a symbol."""

BLOCK = 1 << 20
"""Slots looked at in one go where the whole array is gone through."""

_BATCH = 1 << 14
"""Words laid out in one go, unless these are long: then so many bytes."""

_BATCH_BYTES = 1 << 20

_AROUND = 200 << 20
"""Memory that merging takes however small the text. Of the rest, two thirds are for the slots."""


class Laying(Protocol):
    """How words become first symbols."""

    def first_symbols(self, words: list[bytes]) -> tuple[Array, Array, Array]:
        """Of all the words' symbols: ids, BORDER for none; slots; and symbols a word."""
        ...


@dataclass
class Text:
    """All distinct words: `slots` as told above, `weights` how often each slot's word occurs.

    `dropped_words` and `dropped` say how many distinct words, and how many occurrences of them,
    were left out because they didn't fit into memory.
    """

    slots: Ints
    weights: Array
    words: int = 0
    dropped_words: int = 0
    dropped: int = 0

    @cached_property
    def blocks(self) -> list[tuple[int, int]]:
        """The bounds of stretches of about `BLOCK` slots, each with a border at its end."""
        bounds = [0]
        while bounds[-1] < len(self.slots):
            start = min(bounds[-1] + BLOCK, len(self.slots)) - 1
            bounds.append(start + self._to_border(start) + 1)
        return list(pairwise(bounds))

    def _to_border(self, start: int) -> int:
        """How far the next border is; the last slot of all is one."""
        width = 1 << 10
        while not len(found := np.flatnonzero(self.slots[start : start + width] == BORDER)):
            width *= 8
        return int(found[0])

    def starts(self, start: int, stop: int) -> Array:
        """Where symbols start between two slots, in order."""
        return np.flatnonzero(self.slots[start:stop] >= 0) + start

    def pairs(self, start: int, stop: int) -> tuple[Array, Array, Array]:
        """The places, left and right symbols of all neighbours between two slots, in order."""
        places = np.flatnonzero(self.slots[start:stop] >= BORDER) + start
        symbols = self.slots[places]
        good = np.flatnonzero((symbols[:-1] >= 0) & (symbols[1:] >= 0))
        return places[good], symbols[good], symbols[good + 1]

    def tokens(self) -> int:
        """How many symbols the whole text has by now, each word as often as it occurs."""
        total = 0
        for start, stop in self.blocks:
            total += int(self.weights[self.starts(start, stop)].sum(dtype=np.int64))
        return total

    def has(self, symbol: int) -> bool:
        """Whether a symbol stands anywhere."""
        return any(bool((self.slots[a:b] == symbol).any()) for a, b in self.blocks)

    def renamed(self, ids: Ints) -> None:
        """Write `ids[symbol]` for each symbol; one that becomes BORDER is no symbol any more."""
        for start, stop in self.blocks:
            places = self.starts(start, stop)
            self.slots[places] = ids[self.slots[places]]


def lay_out(words: Iterable[tuple[bytes, int]], laying: Laying, max_memory: int) -> Text:
    """Put words and their counts, distinct and in a fixed order, into a `Text`.

    Where they need more than `max_memory` bytes, the rarest are left out, among equals by a hash of
    the word. Raises `OutOfMemoryError` if not even the most frequent one fits.
    """
    room = max(max_memory - _AROUND, max_memory // 4) * 2 // 3 // 8
    filling = _Filling(room)
    for batch in _batches(words):
        filling.add([word for word, _ in batch], [count for _, count in batch], laying)
    return filling.text()


def _batches(words: Iterable[tuple[bytes, int]]) -> Generator[list[tuple[bytes, int]]]:
    rest = iter(words)
    batch: list[tuple[bytes, int]] = []
    size = 0
    while some := list(islice(rest, max(1, _BATCH // 64))):
        batch += some
        size += sum(len(word) for word, _ in some)
        if len(batch) >= _BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Filling:
    """A `Text` that grows, and drops its rarest words when it is full."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._slots = np.full(1 << 16, BORDER, np.int32)
        self._weights: Array = np.zeros(1 << 16, np.int32)
        self._end = 1  # the first slot is a border
        self._known: list[Array] = []  # of each word: its rank, how many slots it has
        self._dropped_words = 0
        self._dropped = 0
        self._least = 0  # words of a lower rank are dropped

    def add(self, words: list[bytes], counts: list[int], laying: Laying) -> None:
        ranks = _ranks(words, counts)
        if self._least:
            kept = ranks >= self._least
            self._drop(ranks[~kept])
            ranks = ranks[kept]
            words, counts = list(compress(words, kept)), list(compress(counts, kept))
        if not words:
            return
        ids, spans, sizes = laying.first_symbols(words)
        slots, weights, widths = _laid(ids, spans, sizes, np.array(counts, np.int64))
        if self._end + len(slots) > self._room:
            self._drop_rarest(np.stack([ranks, widths], axis=1))
            self.add(words, counts, laying)
            return
        self._append(slots, weights)
        self._known.append(np.stack([ranks, widths], axis=1))

    def text(self) -> Text:
        self._slots.resize(self._end, refcheck=False)
        self._weights.resize(self._end, refcheck=False)
        return Text(
            self._slots,
            self._weights,
            sum(map(len, self._known)),
            self._dropped_words,
            self._dropped,
        )

    def _append(self, slots: Ints, weights: Array) -> None:
        end = self._end + len(slots)
        if len(weights) and weights.max() > np.iinfo(self._weights.dtype).max:
            self._weights = self._weights.astype(np.int64)
        if end > len(self._slots):
            # Resizing in place moves no pages where the system can remap them.
            size = max(end, min(len(self._slots) * 2, self._room))
            self._slots.resize(size, refcheck=False)
            self._weights.resize(size, refcheck=False)
        self._slots[self._end : end] = slots
        self._weights[self._end : end] = weights
        self._end = end

    def _drop(self, ranks: Array) -> None:
        self._dropped_words += len(ranks)
        self._dropped += int((ranks >> 32).sum())

    def _drop_rarest(self, coming: Array) -> None:
        """Leave out the words of the lowest ranks until an eighth of the room is free again."""
        known = np.concatenate([*self._known, np.zeros((0, 2), np.int64)])
        both = np.concatenate([known, coming])
        both = both[np.argsort(-both[:, 0])]
        fits = int(np.searchsorted(both[:, 1].cumsum(), self._room * 7 // 8, side="right"))
        if not fits:
            raise OutOfMemoryError(
                "the words don't fit into the memory allowed, not even the most frequent one",
                hint="allow more with --max-memory",
            )
        self._least = int(both[fits - 1, 0])
        kept = known[:, 0] >= self._least
        self._drop(known[~kept, 0])
        self._known = [known[kept]]
        slots = np.repeat(kept, known[:, 1])
        end = 1 + int(slots.sum())
        self._weights[1:end] = self._weights[1 : self._end][slots]
        self._slots[1:end] = self._slots[1 : self._end][slots]
        self._end = end


def _ranks(words: list[bytes], counts: list[int]) -> Array:
    """Numbers that order words by how often they occur, and equals by a hash."""
    often = np.minimum(np.array(counts, np.int64), (1 << 31) - 1)
    return often << 32 | np.array([crc32(word) for word in words], np.int64)


def _laid(ids: Array, spans: Array, sizes: Array, counts: Array) -> tuple[Ints, Array, Array]:
    """The slots and weights of some words, a border behind each, and how many slots a word has."""
    word_of = np.repeat(np.arange(len(sizes)), sizes)
    # Each border shifts what follows by one slot.
    ends = np.cumsum(spans) + word_of
    slots = np.full(int(spans.sum()) + len(sizes), INSIDE, np.int32)
    slots[ends - 1] = -spans
    slots[ends - spans] = ids
    widths = np.bincount(word_of, spans, len(sizes)).astype(np.int64) + 1
    slots[np.cumsum(widths) - 1] = BORDER
    return slots, np.repeat(counts, widths), widths
