"""How often each word occurs in blocks of text, as one process counts it.

Where a pattern parts the text at spaces anyway, the text is cut there first, by the fastest means
there is, and only the distinct chunks that this gives are split by the pattern. English has one
distinct chunk in 30, and is counted twice as fast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from sys import getsizeof
from typing import TYPE_CHECKING

from .blocks import BORDER
from .runs import BATCH, Batch, Run, merge, pack_batch
from .splitting import Splitter

if TYPE_CHECKING:
    from .frequent import FrequentWords

_KEPT = b"\xff"
"""Stands for a space at which the text isn't cut: a byte that UTF-8 never has."""

# Every byte that may be or end a space of Unicode becomes a line break, and what may begin one 1.
_PROBE = bytes.maketrans(
    bytes((*range(0x80, 0x8B), 0x9F, 0xA0, 0xA8, 0xA9, 0xAF, *b"\t\v\f\r", *BORDER))
    + b"\xc2\xe1\xe2\xe3",
    b"\n" * 21 + b"\1" * 4,
)
_SPACE = rb"\t\n\v\f\r \xfe"
_WIDE = (
    rb"\xc2[\x85\xa0]",
    rb"\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80",
)
_BETWEEN_SPACES = re.compile(
    rb" (?:(?<=[%b] )|(?<=(?:%b) )|(?<=(?:%b) ))(?=[%b]|%b|%b)" % (_SPACE, *_WIDE, _SPACE, *_WIDE)
)

_ODD = frozenset(b"\t\n\v\f\r\xc2\xe1\xe2\xe3\xfe\xff")
"""Bytes that begin a chunk whose first letter may be a space, or which has no space before it."""

_WORTH_CUTTING = 16
"""A block is cut at spaces first if a space stands in so many bytes, or in fewer."""

_MOST_RUNS = 24

_CHECK_EVERY = 1 << 16
"""Characters to split before looking how large the table of words has become."""

_FREQUENT = 1 << 14
"""Words that are counted as the most frequent ones."""

_LONGEST = 64
"""Characters that such a word may have."""

_SAMPLE = 1 << 16
"""Bytes that are counted both ways before the faster one is trusted."""

_JOINED = 1 << 12
"""Chunks split together."""


class Tally:
    """Counts of the words of the blocks added, spilled to sorted runs where they get too many."""

    def __init__(self, splitter: Splitter, room: int | None = None, patience: int = 8) -> None:
        """With `room` bytes for the tables of words; None for no bound.

        After `patience` blocks it pays to prepare for the most frequent words.
        """
        self._splitter = splitter
        self._chunks: Counter[bytes] = Counter()
        self._between: Counter[bytes] = Counter()
        self._words: Counter[str] = Counter()
        self._runs: list[Run] = []
        # Chunks and words are in memory together while the ones are split into the others; sorting
        # the words takes as much again.
        part = None if room is None else room // 4
        self._chunks_full, self._between_full = _Fullness(part), _Fullness(part)
        self._words_full = _Fullness(part)
        self._frequent: FrequentWords | None = None
        self._blocks = self._bytes = 0
        self._try_at = patience
        self._added = 0

    def add(self, block: bytes) -> None:
        """Count the words of a block."""
        if self._splitter.normalizes:
            normalize = self._splitter.normalize
            documents = (normalize(document.decode()) for document in block.split(BORDER))
            block = BORDER.join(document.encode() for document in documents)
        self._blocks += 1
        if self._blocks == self._try_at:
            self._try_frequent(block)
        self._bytes += len(block)
        if self._frequent is None:
            self._add_slowly(block)
            return
        between, words, refused = self._frequent.count(block.split(BORDER))
        self._words.update(words)
        self._between.update(between)
        if self._between_full(self._between, len(block)):
            self._split_chunks()
        if refused:
            self._add_slowly(BORDER.join(refused))
        if sum(map(len, between)) * 2 > len(block):
            # Other text than before: with luck there are words that are frequent in it.
            self._split_chunks()
            self._frequent, self._try_at = None, self._blocks * 2

    def _try_frequent(self, block: bytes) -> None:
        """From now on, count the most frequent words in a faster way, if they make up the most."""
        if not self._splitter.parts_at_spaces:
            return
        self._split_chunks()
        # Once more when much more is known of the text.
        self._try_at *= 5
        most = self._words.most_common(_FREQUENT)
        best = [(word, count) for word, count in most if len(word) <= _LONGEST]
        if sum(len(word) * count for word, count in best) * 4 < self._bytes * 3:
            return
        try:
            from .frequent import FrequentWords

            frequent = FrequentWords(self._splitter, [w for w, _ in best if len(w.encode()) > 1])
            if frequent.agrees(block[:_SAMPLE].decode(errors="ignore")):
                self._frequent = frequent
            else:
                self._try_at = 0
        except Exception:  # there is no gigatoken, or it has changed
            self._try_at = 0

    def _add_slowly(self, block: bytes) -> None:
        if self._splitter.parts_at_spaces and block.count(b" ") * _WORTH_CUTTING > len(block):
            self._chunks.update(_chunks(block))
            if self._chunks_full(self._chunks, len(block)):
                self._split_chunks()
            return
        for document in block.split(BORDER):
            self._words.update(self._splitter.split(document.decode()))
        if self._words_full(self._words, len(block)):
            self._spill()

    def batches(self) -> Iterator[Batch]:
        """All words with their counts, in order, once."""
        self._split_chunks()
        if not self._runs:
            return self._sorted_batches()
        self._spill()
        return merge(run.batches() for run in self._runs)

    def _split_chunks(self) -> None:
        """Count the words of all chunks as often as the chunks occur."""
        if self._frequent is not None:
            self._words.update(self._frequent.drain())
        chunks, self._chunks = self._chunks, Counter()
        alike: dict[int, list[bytes]] = {}
        for chunk, count in chunks.items():
            alike.setdefault(count, []).append(chunk)
        chunks.clear()
        # Those that are equally frequent are split together: a call takes longer than a chunk.
        while alike:
            count, some = alike.popitem()
            for text in _joined(some):
                self._add_words(text, count)
        between, self._between = self._between, Counter()
        while between:
            data, count = between.popitem()
            self._add_words(data.decode(), count)

    def _add_words(self, text: str, count: int) -> None:
        """Count the words of `text` so many times."""
        words = self._words
        if text.islower() and text.isascii() and (text.isalpha() or _is_word(text)):
            words[text] += count
        else:
            for word in self._splitter.split(text):
                words[word] += count
        self._added += len(text)
        if self._added > _CHECK_EVERY:
            if self._words_full(words, self._added):
                self._spill()
            self._added = 0

    def _spill(self) -> None:
        self._runs.append(Run(map(pack_batch, self._sorted_batches()), in_memory=0))
        self._words, self._bytes = Counter(), 0
        if len(self._runs) >= _MOST_RUNS:
            merged = merge(run.batches() for run in self._runs)
            self._runs = [Run(map(pack_batch, merged), in_memory=0)]

    def _sorted_batches(self) -> Iterator[Batch]:
        raw, words = self._splitter.raw, self._words
        # Letters sort as their UTF-8 does, but not as the bytes that they may stand for.
        order = sorted(words, key=raw) if self._splitter.spells_bytes else sorted(words)
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            yield list(map(raw, some)), list(map(words.__getitem__, some))


class _Fullness:
    """Whether a table takes more than `room` bytes; measured only when it may have changed much."""

    def __init__(self, room: int | None) -> None:
        self._room = room
        self._entries = self._text = 0

    def __call__(self, table: Counter[bytes] | Counter[str], added: int) -> bool:
        """Of `table`, after `added` more bytes of text were counted."""
        self._text += added
        if self._room is None:
            return False
        if len(table) < self._entries * 9 // 8 + 256 and self._text < self._room // 8:
            return False
        # A table that grows is there twice for a moment; a count takes 32 bytes.
        size = 2 * getsizeof(table) + sum(map(getsizeof, table)) + 48 * len(table)
        full = size >= self._room
        self._entries, self._text = (0 if full else len(table)), 0
        return full


def _chunks(block: bytes) -> list[bytes]:
    """A block cut at each space where words begin: without that space.

    That is each but those between two spaces, or between a space and the document's end (see
    `KNOWN`). A document's first chunk begins with `BORDER`.
    """
    data = b"".join((BORDER, block, BORDER))
    probe = data.translate(_PROBE)
    if b"  " in data or b"\n \n" in probe or (b"\n \1" in probe and not block.isascii()):
        data = _BETWEEN_SPACES.sub(_KEPT, data)
    chunks = data.replace(BORDER, b" " + BORDER).split(b" ")
    # What stands before the first border.
    del chunks[0]
    return chunks


def _is_word(text: str) -> bool:
    """Whether lower-case ASCII is a space and a word, which all of `KNOWN` take as one word."""
    return text[0] == " " and text[1:].isalpha()


def _chunk_text(chunk: bytes) -> str:
    if chunk.startswith(BORDER):
        return chunk[1:].replace(_KEPT, b" ").decode()
    return " " + chunk.replace(_KEPT, b" ").decode()


def _joined(chunks: list[bytes]) -> Iterator[str]:
    """The texts of chunks, joined where the next one begins with a space and then a letter."""
    odd = [chunk for chunk in chunks if not chunk or chunk[0] in _ODD]
    plain = [chunk for chunk in chunks if chunk and chunk[0] not in _ODD] if odd else chunks
    # Apart, for what is all ASCII is split faster.
    wide = [chunk for chunk in plain if not chunk.isascii()]
    if wide:
        plain = [chunk for chunk in plain if chunk.isascii()]
    for some in (plain, wide):
        for start in range(0, len(some), _JOINED):
            data = b" ".join((b"", *some[start : start + _JOINED]))
            yield data.replace(_KEPT, b" ").decode()
    yield from map(_chunk_text, odd)
