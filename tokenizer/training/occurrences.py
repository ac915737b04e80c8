"""Merge one pair wherever it stands, and keep the counts of the pairs around it right.

Two ways that do the same. numpy takes about 0.1 ms whatever there is to do and little more for each
place; Python takes one or two microseconds a place. Most merges have few places, and most places
belong to few merges: so each way has its part, parted at `FEW` places.
"""

from __future__ import annotations

from collections.abc import Generator
from heapq import heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from .survey import Survey
from .symbols import BORDER, INSIDE, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FEW = 80
"""Up to so many places a loop in Python is faster than numpy; measured."""

_CHUNK = 1 << 19
"""Places merged in one go, to bound memory."""

_TABLE = 1 << 13
"""From so many places on, counts are added up in a table of all symbols instead of sorted."""


class Change:
    """The frequent pairs of a phase while its merges change them.

    A key is `left << 32 | right`. `queue` is a heap of (-count, key), where a count may be too high
    by now.
    """

    def __init__(self, text: Text, spans: Array, found: Survey, longest: int) -> None:
        self.text = text
        self.spans = spans
        self.lengths: list[int] = spans.tolist()
        """The same as a list, of which Python takes single ones faster."""
        self.longest = longest
        self.threshold = found.threshold
        self.counts = found.counts
        self.places: dict[int, Any] = found.places
        self.queue: list[tuple[int, int]] = []
        self.kept = 0
        """Places kept of pairs that merges made."""
        self.slots_view = memoryview(text.slots)  # pyright: ignore[reportArgumentType]
        self.weights_view = memoryview(text.weights)  # pyright: ignore[reportArgumentType]

    def add(self, key: int, count: int, places: Any) -> None:
        """Take note of a pair that a merge has made `count` times."""
        if key in self.counts:  # its token was there before
            count += self.counts[key]
            if key in self.places:
                places = np.concatenate([self.places[key], places])
                self.places[key] = places
        else:
            self.places[key] = places
        self.counts[key] = count
        self.kept += len(places)
        heappush(self.queue, (-count, key))


def merge_few(change: Change, places: Any, left: int, right: int, merged: int) -> None:
    """Merge `left` and `right` at `places`, as far as they still stand there, one by one."""
    slots, weights, counts = change.slots_view, change.weights_view, change.counts
    left_span, span = change.lengths[left], change.lengths[merged]
    before: dict[int, list[int]] = {}  # the symbol before: its count, then its places
    after: dict[int, list[int]] = {}
    last_end = -1
    for place in sorted(_listed(places)):
        middle = place + left_span
        if slots[place] != left or slots[middle] != right:
            continue
        end = place + span
        weight = weights[place]
        slots[middle] = INSIDE
        slots[end - 1] = -span
        slots[place] = merged
        x = slots[place - 1]
        if x != BORDER:
            x_place = place - 1
            if x < 0:
                x_place = place + x
                x = slots[x_place]
            if last_end == place:
                after[left][0] -= weight
            else:
                key = x << 32 | left
                if key in counts:
                    counts[key] -= weight
            if x in before:
                entry = before[x]
                entry[0] += weight
                entry.append(x_place)
            else:
                before[x] = [weight, x_place]
        y = slots[end]
        if y != BORDER:
            key = right << 32 | y
            if key in counts:
                counts[key] -= weight
            if y in after:
                entry = after[y]
                entry[0] += weight
                entry.append(place)
            else:
                after[y] = [weight, place]
        last_end = end
    _add_new(change, before, after, merged, span)


def _listed(places: list[int] | Array) -> list[int]:
    return places if isinstance(places, list) else places.tolist()


def _add_new(
    change: Change,
    before: dict[int, list[int]],
    after: dict[int, list[int]],
    merged: int,
    span: int,
) -> None:
    threshold, lengths = change.threshold, change.lengths
    room = change.longest - span
    for x, entry in before.items():
        if entry[0] >= threshold and lengths[x] <= room:
            change.add(x << 32 | merged, entry[0], entry[1:])
    for y, entry in after.items():
        if entry[0] >= threshold and lengths[y] <= room:
            change.add(merged << 32 | y, entry[0], entry[1:])


def merge_many(change: Change, places: Any, left: int, right: int, merged: int) -> None:
    """Merge `left` and `right` at `places`, as far as they still stand there, in chunks."""
    places = _standing(change, np.sort(np.asarray(places)).astype(np.int64), left, right)
    if len(places) < _TABLE:
        _SortedSums(change, left, right, merged).take(places)
        return
    sums = _TableSums(change, left, right, merged)
    for chunk in _chunks(places, change.lengths[merged]):
        sums.take(chunk)
    sums.tell()


def merge_all(change: Change, left: int, right: int, merged: int) -> None:
    """Merge `left` and `right` wherever they stand, block by block."""
    sums = _TableSums(change, left, right, merged)
    for start, stop in change.text.blocks:
        places = np.flatnonzero(change.text.slots[start:stop] == left) + start
        sums.take(_standing(change, places, left, right))
    sums.tell()


def _standing(change: Change, places: Array, left: int, right: int) -> Array:
    """Those of some places, in order, where the pair stands and is to be merged."""
    slots, span = change.text.slots, change.lengths[left]
    places = places[slots[places] == left]
    places = places[slots[places + span] == right]
    return _without_overlaps(places, span) if left == right else places


def _without_overlaps(places: Array, span: int) -> Array:
    """Every other place of each run in which a symbol follows itself: pairs are taken leftmost."""
    if not len(places):
        return places
    begins = np.concatenate([[True], places[1:] - places[:-1] != span])
    firsts = np.flatnonzero(begins)
    number = np.arange(len(places)) - np.repeat(firsts, np.diff(np.append(firsts, len(places))))
    return places[number % 2 == 0]


def _chunks(places: Array, span: int) -> Generator[Array]:
    """Cut places where no merge touches the next one."""
    free = np.flatnonzero(places[1:] - places[:-1] != span) + 1
    start = 0
    while start < len(places):
        cut = np.searchsorted(free, start + _CHUNK)
        stop = int(free[cut]) if cut < len(free) else len(places)
        yield places[start:stop]
        start = stop


class _Sums:
    """Which symbols stood around the places merged, and how much each counts."""

    def __init__(self, change: Change, left: int, right: int, merged: int) -> None:
        self.change = change
        self.left, self.right, self.merged = left, right, merged
        self.span = change.lengths[merged]
        self.touching = len(change.spans) - 1
        """Stands for the symbol before where that was merged too; no id is as high."""

    def apply(self, places: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Merge, and tell of the symbols before and after: which, where the pair is, its weight."""
        slots = self.change.text.slots
        ends = places + self.span
        weights = self.change.text.weights[places]
        x_places = places + np.minimum(slots[places - 1], -1)
        x, y = slots[x_places], slots[ends]
        slots[ends - self.span + self.change.lengths[self.left]] = INSIDE
        slots[ends - 1] = -self.span
        slots[places] = self.merged
        touch = np.flatnonzero(places[1:] == ends[:-1])
        if len(touch):
            x[touch + 1] = self.touching
            x_places[touch + 1] = places[touch]
            y[touch] = BORDER  # told of as the one before
        good = x != BORDER
        good_y = y != BORDER
        return (
            x[good],
            x_places[good],
            weights[good],
            y[good_y],
            places[good_y],
            weights[good_y],
        )

    def tell_before(self, x: int, count: int, places: Any) -> None:
        """Take note that `x` stood before `count` times, and where."""
        if x == self.touching:
            self._tell(self.right, self.left, self.merged, self.merged, count, places)
        else:
            self._tell(x, self.left, x, self.merged, count, places)

    def tell_after(self, y: int, count: int, places: Any) -> None:
        """Take note that `y` stood after `count` times, and where."""
        self._tell(self.right, y, self.merged, y, count, places)

    def _tell(self, a: int, b: int, c: int, d: int, count: int, places: Any) -> None:
        change = self.change
        key = a << 32 | b
        if key in change.counts:
            change.counts[key] -= count
        if count >= change.threshold and change.lengths[c] + change.lengths[d] <= change.longest:
            change.add(c << 32 | d, count, places)


class _SortedSums(_Sums):
    """For some thousand places: bring equal neighbours together by sorting."""

    def take(self, places: Array) -> None:
        """Merge at `places` and take note of all that changes."""
        x, x_places, x_weights, y, y_places, y_weights = self.apply(places)
        half = 1 << 30
        symbols = np.concatenate([x, y + np.int32(half)])
        if not len(symbols):
            return
        order = np.argsort(symbols)
        symbols = symbols[order]
        around = np.concatenate([x_places, y_places])[order]
        weights = np.concatenate([x_weights, y_weights])[order]
        firsts = np.concatenate([[0], np.flatnonzero(symbols[1:] != symbols[:-1]) + 1])
        sums = np.add.reduceat(weights, firsts, dtype=np.int64).tolist()
        bounds = firsts.tolist()
        bounds.append(len(symbols))
        for number, symbol in enumerate(symbols[firsts].tolist()):
            some = around[bounds[number] : bounds[number + 1]]
            if symbol < half:
                self.tell_before(symbol, sums[number], some)
            else:
                self.tell_after(symbol - half, sums[number], some)


class _TableSums(_Sums):
    """For any number of places: add up in tables, and keep places of what is frequent."""

    def __init__(self, change: Change, left: int, right: int, merged: int) -> None:
        super().__init__(change, left, right, merged)
        size = len(change.spans)
        self._sums = np.zeros((2, size), np.float64)
        self._parts: tuple[list[tuple[Array, Array]], ...] = ([], [])

    def take(self, places: Array) -> None:
        """Merge at `places`; the counts change when all is told."""
        x, x_places, x_weights, y, y_places, y_weights = self.apply(places)
        size = self._sums.shape[1]
        self._sums[0] += np.bincount(x, x_weights, size)
        self._sums[1] += np.bincount(y, y_weights, size)
        self._parts[0].append((x, x_places.astype(np.int32)))
        self._parts[1].append((y, y_places.astype(np.int32)))

    def tell(self) -> None:
        """Take note of all that changed."""
        for side, tell in ((0, self.tell_before), (1, self.tell_after)):
            where = self._frequent_places(side)
            found = np.flatnonzero(self._sums[side])
            counts = self._sums[side][found].astype(np.int64)
            for symbol, count in zip(found.tolist(), counts.tolist(), strict=True):
                tell(symbol, count, where.get(symbol))

    def _frequent_places(self, side: int) -> dict[int, Array]:
        hot = self._sums[side] >= self.change.threshold
        parts = [(symbols[hot[symbols]], at[hot[symbols]]) for symbols, at in self._parts[side]]
        symbols = np.concatenate([symbols for symbols, _ in parts])
        places = np.concatenate([at for _, at in parts])
        small = symbols.astype(np.uint16) if len(hot) <= 1 << 16 else symbols
        order = np.argsort(small, kind="stable")
        symbols, places = symbols[order], places[order]
        firsts = np.flatnonzero(np.diff(symbols, prepend=-1))
        bounds = np.append(firsts, len(symbols)).tolist()
        names: list[int] = symbols[firsts].tolist()
        return {name: places[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}
