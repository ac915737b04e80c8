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

from .blocks import BORDER
from .runs import BATCH, Batch, Run, merge, pack_batch
from .splitting import Splitter

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

_JOINED = 1 << 12
"""Chunks split together."""


class Tally:
    """Counts of the words of the blocks added, spilled to sorted runs where they get too many."""

    def __init__(self, splitter: Splitter, room: int | None = None) -> None:
        """With `room` bytes for the tables of words; None for no bound."""
        self._splitter = splitter
        self._chunks: Counter[bytes] = Counter()
        self._words: Counter[str] = Counter()
        self._runs: list[Run] = []
        # Chunks and words are in memory together while the ones are split into the others; sorting
        # the words takes as much again.
        self._chunks_full = _Fullness(None if room is None else room // 3)
        self._words_full = _Fullness(None if room is None else room // 3)

    def add(self, block: bytes) -> None:
        """Count the words of a block."""
        if self._splitter.normalizes:
            normalize = self._splitter.normalize
            documents = (normalize(document.decode()) for document in block.split(BORDER))
            block = BORDER.join(document.encode() for document in documents)
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
        split = self._splitter.split
        chunks, self._chunks = self._chunks, Counter()
        alike: dict[int, list[bytes]] = {}
        for chunk, count in chunks.items():
            alike.setdefault(count, []).append(chunk)
        chunks.clear()
        # Those that are equally frequent are split together: a call takes longer than a chunk.
        while alike:
            count, some = alike.popitem()
            for text in _joined(some):
                words, known = self._words, self._words.get
                for word, times in Counter(split(text)).items():
                    words[word] = known(word, 0) + times * count
                if self._words_full(words, len(text)):
                    self._spill()

    def _spill(self) -> None:
        self._runs.append(Run(map(pack_batch, self._sorted_batches()), in_memory=0))
        self._words = Counter()
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
