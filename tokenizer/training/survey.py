"""Count all pairs of neighbours, and find where the frequent ones stand.

Positions of every pair would take several times the text's own memory. So only pairs that occur
`threshold` times or more are told, of which there are some thousands; how often they occur is
exact. A first pass adds up the counts of pairs in buckets by a hash, which bounds each pair's count
from above, and chooses the threshold; a second one looks at what is in buckets that reach it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .symbols import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_BUCKETS = 1 << 20
"""At most so many buckets; of 16 bytes each."""
_WANTED = 10_000
"""About how many pairs to tell."""

_CROWDED = -1

_RANGE = 16
"""The threshold isn't below the highest count divided by this: what is rarer changes too much."""


@dataclass
class Survey:
    """The pairs that occur at least `threshold` times, by the key `left << 32 | right`.

    `places` are in order; pairs without are so many that the text is to be searched for them.
    """

    threshold: int
    counts: dict[int, int] = field(default_factory=dict[int, int])
    places: dict[int, Array] = field(default_factory=dict[int, "Array"])


@dataclass(frozen=True)
class Limits:
    """What bounds a survey: the least count of a pair, its most bytes, and places to keep."""

    least: int
    longest: int
    places: int

    @property
    def crowded(self) -> int:
        """A pair with more places than this is searched for instead."""
        return self.places // 8


def survey(text: Text, spans: Array, limits: Limits) -> Survey:
    """Find the frequent pairs of `text`; `spans[id]` is a symbol's length."""
    totals, occurrences = _fill_buckets(text, spans, limits.longest)
    threshold = _choose(totals, occurrences, limits)
    while True:
        found = _Finder(text, spans, limits, totals, occurrences, threshold).found()
        if found.counts or threshold <= limits.least:
            return found
        threshold = max(limits.least, threshold // 2)  # buckets promised more than they held


def _pairs(text: Text, spans: Array, longest: int, start: int, stop: int) -> tuple[Array, ...]:
    """The places, left and right symbols of all pairs that may be merged, between two slots."""
    places, left, right = text.pairs(start, stop)
    if longest < int(spans.max()) * 2:
        good = spans[left] + spans[right] <= longest
        places, left, right = places[good], left[good], right[good]
    return places, left, right


def _bucket(left: Array, right: Array, symbols: int, buckets: int) -> Array:
    if symbols * symbols <= buckets:
        return left * symbols + right  # each pair has its own
    mixed = left.astype(np.uint32) * np.uint32(0x9E3779B1) + right.astype(np.uint32)
    return (mixed * np.uint32(0x85EBCA6B)) >> np.uint32(32 - (buckets.bit_length() - 1))


def _fill_buckets(text: Text, spans: Array, longest: int) -> tuple[Array, Array]:
    """How much all pairs in a bucket count, and how many places they have."""
    buckets = min(_BUCKETS, 1 << (len(text.slots) // 4 + 16).bit_length())
    totals = np.zeros(buckets, np.float64)  # exact up to 2 ** 53
    occurrences = np.zeros(buckets, np.int64)
    for start, stop in text.blocks:
        places, left, right = _pairs(text, spans, longest, start, stop)
        bucket = _bucket(left, right, len(spans), buckets)
        totals += np.bincount(bucket, text.weights[places], buckets)
        occurrences += np.bincount(bucket, minlength=buckets)
    return totals, occurrences


def _choose(totals: Array, occurrences: Array, limits: Limits) -> int:
    """A threshold that leaves some thousands of pairs, and no more places than allowed."""
    full = np.flatnonzero(totals >= limits.least)
    if not len(full):
        return limits.least
    order = full[np.argsort(-totals[full])][:_WANTED]
    places = occurrences[order]
    places[places > limits.crowded] = 0
    fits = max(1, int(np.searchsorted(np.cumsum(places), limits.places, side="right")))
    highest, lowest = int(totals[order[0]]), int(totals[order[min(fits, len(order)) - 1]])
    if lowest < highest and int((totals >= lowest).sum()) > 2 * _WANTED:
        lowest += 1  # very many are just as rare
    return max(limits.least, lowest, highest // _RANGE)


class _Finder:
    """The second pass.

    What is sorted is the number of a pair's bucket with its place behind it: unlike pairs alone,
    no two of these are equal, and sorting many equals is slow.
    """

    def __init__(
        self,
        text: Text,
        spans: Array,
        limits: Limits,
        totals: Array,
        occurrences: Array,
        threshold: int,
    ) -> None:
        self._text, self._spans, self._longest = text, spans, limits.longest
        hot = totals >= threshold
        self._numbers = np.cumsum(hot, dtype=np.int32) * hot  # of buckets, from 1; 0 for the rest
        self._numbers[hot & (occurrences > limits.crowded)] = _CROWDED
        self._found = Survey(threshold)

    def found(self) -> Survey:
        parts: list[Array] = []
        crowd: dict[int, int] = {}
        for start, stop in self._text.blocks:
            places, left, right = _pairs(self._text, self._spans, self._longest, start, stop)
            numbers = self._numbers[_bucket(left, right, len(self._spans), len(self._numbers))]
            many = np.flatnonzero(numbers == _CROWDED)
            if len(many):
                keys = left[many].astype(np.int64) << 32 | right[many]
                self._count_crowd(crowd, keys, self._text.weights[places[many]])
            hot = np.flatnonzero(numbers > 0)
            parts.append(numbers[hot].astype(np.int64) << 32 | places[hot])
        found = self._found
        found.counts |= {key: count for key, count in crowd.items() if count >= found.threshold}
        marked = np.concatenate(parts)
        parts.clear()
        marked.sort()
        self._take(marked)
        return found

    def _count_crowd(self, crowd: dict[int, int], keys: Array, weights: Array) -> None:
        """Add up the counts of a few pairs with very many places."""
        while len(keys):
            key = int(keys[0])
            same = keys == key
            crowd[key] = crowd.get(key, 0) + int(weights[same].sum(dtype=np.int64))
            keys, weights = keys[~same], weights[~same]

    def _take(self, marked: Array) -> None:
        """Take note of pairs from the sorted numbers of buckets and places."""
        if not len(marked):
            return
        places = (marked & 0xFFFFFFFF).astype(np.int32)
        groups = np.flatnonzero(np.diff(marked >> 32, prepend=0))
        keys = self._keys(places)
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        if len(firsts) > len(groups):  # pairs share buckets
            _part_pairs(keys, places, groups, firsts)
            firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        sums = np.add.reduceat(self._text.weights[places], firsts, dtype=np.int64)
        ends = np.append(firsts[1:], len(keys))
        good = sums >= self._found.threshold
        bounds = zip(firsts[good].tolist(), ends[good].tolist(), strict=True)
        names = keys[firsts[good]].tolist()
        self._found.counts |= zip(names, sums[good].tolist(), strict=True)
        self._found.places |= {
            key: places[start:end] for key, (start, end) in zip(names, bounds, strict=True)
        }

    def _keys(self, places: Array) -> Array:
        left = self._text.slots[places]
        right = self._text.slots[places + self._spans[left]]
        return left.astype(np.int64) << 32 | right


def _part_pairs(keys: Array, places: Array, groups: Array, firsts: Array) -> None:
    """Sort the pairs, and their places, inside those groups that hold more than one pair."""
    ends = np.append(groups[1:], len(keys))
    changes = np.searchsorted(firsts, ends) - np.searchsorted(firsts, groups)
    for group in np.flatnonzero(changes > 1).tolist():
        inside = slice(int(groups[group]), int(ends[group]))
        order = np.argsort(keys[inside], kind="stable")
        keys[inside] = keys[inside][order]
        places[inside] = places[inside][order]
