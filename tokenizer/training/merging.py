"""Learn merges: byte pair encoding over distinct words (Sennrich et al. 2016, arXiv:1508.07909).

Each step merges the pair of neighbours that occurs most often, words counted as often as they
occur; among equals the one with the lower left id, then with the lower right id. Counts are exact,
up to 2**53. The new token has the next free id, or the id of the token that is spelled so already.

The work goes in phases. A phase begins with a survey of all pairs, keeps those that occur at least
so and so often, with their places, and merges until none of them is left. Pairs only get rarer, but
for those of the token just made, and these are all seen while it is made: so the pairs kept are
always all that are frequent enough, and their counts are right. Places go stale, and are looked at
again when their pair's turn comes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from .occurrences import FEW, Change, merge_all, merge_few, merge_many
from .starts import Start, Vocabulary
from .survey import Limits, survey
from .symbols import Text, lay_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ENDLESS = 1 << 40
_TELL_EVERY = 64
_PLACES = 1 << 21
"""Places that a survey may keep, however small the text."""


@dataclass(frozen=True)
class Merges:
    """What was learned: all tokens, and the merges in order with how often each pair occurred.

    `tokens` is how many tokens the text has by them, `words` the number of distinct words.
    """

    ids: dict[str, int]
    pairs: list[tuple[str, str]]
    counts: list[int]
    tokens: int
    words: int
    dropped_words: int
    """Distinct words left out because they didn't fit into memory, the rarest first."""
    dropped: int
    """How many occurrences these words have in all."""
    stopped: bool
    """Whether it was ended before its time."""


def learn_merges(
    words: Iterable[tuple[bytes, int]],
    start: Start,
    *,
    limit: int,
    min_frequency: int = 0,
    max_length: int | None = None,
    on_merge: Callable[[int], None] = lambda done: None,
    stopped: Callable[[], bool] = lambda: False,
    max_memory: int = 4 << 30,
) -> Merges:
    """Learn from distinct `words` and how often each occurs until there are `limit` ids.

    No pair is merged that is rarer than `min_frequency`, or that has more than `max_length` letters
    (a letter is a byte, or a character where words start as characters). `on_merge(done)` is called
    now and then, and `stopped()` before every merge. It takes 8 bytes of memory for each letter of
    the distinct words and about as much again; of more words than fit into `max_memory` bytes the
    rarest are left out. Raises `OutOfMemoryError` if not even the most frequent fit.
    """
    text = lay_out(words, start, max_memory)
    learning = _Learning(text, start.settle(text), limit, max(min_frequency, 1), max_length)
    with _without_collecting():
        ended = learning.run(on_merge, stopped)
    return Merges(
        learning.vocabulary.ids,
        learning.pairs,
        learning.counts,
        text.tokens(),
        text.words,
        text.dropped_words,
        text.dropped,
        ended,
    )


@contextmanager
def _without_collecting() -> Generator[None]:
    """Let no garbage collection look through millions of places; there are no circles."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Learning:
    """The state of the merge loop; `pairs` and `counts` hold what was merged so far."""

    def __init__(
        self,
        text: Text,
        vocabulary: Vocabulary,
        limit: int,
        least: int,
        longest: int | None,
    ) -> None:
        self.vocabulary = vocabulary
        self.pairs: list[tuple[str, str]] = []
        self.counts: list[int] = []
        self._text = text
        self._limit = limit
        self._longest = _ENDLESS if longest is None else longest
        # No text has more merges than letters, whatever number of ids is asked for.
        size = max(min(limit, vocabulary.next_id + len(text.slots)), vocabulary.next_id)
        self._spans = np.ones(size + 1, np.int64)
        for spelled, number in vocabulary.ids.items():
            self._spans[number] = vocabulary.span(spelled)
        places = max(_PLACES, len(text.slots) // 16)
        self._limits = Limits(least, self._longest, places)
        self._merged: set[int] = set()
        self._exhausted = False

    def run(self, on_merge: Callable[[int], None], stopped: Callable[[], bool]) -> bool:
        """Merge until there is nothing to do or `stopped`; whether it was."""
        while not self._exhausted and len(self.vocabulary.ids) < self._limit:
            on_merge(len(self.pairs))
            if stopped() or self._phase(on_merge, stopped):
                return True
        return False

    def _phase(self, on_merge: Callable[[int], None], stopped: Callable[[], bool]) -> bool:
        """Take stock, and merge the frequent pairs; whether it was stopped."""
        found = survey(self._text, self._spans[: self.vocabulary.next_id], self._limits)
        change = Change(self._text, self._spans, found, self._longest)
        change.queue = [(-count, key) for key, count in found.counts.items()]
        heapify(change.queue)
        done = len(self.pairs)
        while len(self.vocabulary.ids) < self._limit:
            if len(self.pairs) - done >= _TELL_EVERY:
                done = len(self.pairs)
                on_merge(done)
            if stopped():
                return True
            if (best := _best(change)) is None:
                self._exhausted = found.threshold <= self._limits.least
                break
            if not self._merge(change, best) or change.kept > 4 * self._limits.places:
                break
        return False

    def _merge(self, change: Change, key: int) -> bool:
        """Merge one pair everywhere; whether the counts of all pairs are still known."""
        left, right = key >> 32, key & 0xFFFFFFFF
        count, places = change.counts.pop(key), change.places.pop(key, None)
        vocabulary = self.vocabulary
        joined = vocabulary.joined(left, right)
        known = joined in vocabulary.ids
        merged = vocabulary.add(joined)
        # A special token, or one that an older tokenizer never makes, may be spelled so already.
        # Where it stands in the text its rarer pairs were not counted, and may now be frequent.
        settled = not known or not self._text.has(merged)
        span = change.lengths[left] + change.lengths[right]
        self._spans[merged] = change.lengths[merged] = span
        if places is None:
            merge_all(change, left, right, merged)
        elif len(places) <= FEW:
            merge_few(change, places, left, right, merged)
        else:
            merge_many(change, places, left, right, merged)
        if key not in self._merged:
            self._merged.add(key)
            self.pairs.append((vocabulary.spellings[left], vocabulary.spellings[right]))
            self.counts.append(count)
        return settled


def _best(change: Change) -> int | None:
    """Take the most frequent pair off the queue; None if none is frequent enough."""
    queue, counts, threshold = change.queue, change.counts, change.threshold
    while queue:
        count, key = heappop(queue)
        now = counts.get(key)
        if now is None:
            continue
        if now == -count:
            return key
        if now >= threshold:
            heappush(queue, (-now, key))
        else:
            del counts[key]
            change.places.pop(key, None)
    return None
