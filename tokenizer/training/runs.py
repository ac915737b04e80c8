"""Words and counts in sorted runs: packed into batches, kept in memory or in files, merged.

The files have no names: whatever happens to this process, nothing is left behind.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import IO

from ... import LmtoolError

BATCH = 1 << 12
"""Words of a batch."""

IN_MEMORY = 32 << 20
"""Bytes up to which a run stays in memory."""

_HEAD = Struct("<IQ")

Batch = tuple[list[bytes], list[int]]
"""Words in the order of their bytes, and how often each occurs."""


def pack_batch(batch: Batch) -> bytes:
    """A batch as bytes: how many words, bytes of them all; counts, lengths, words."""
    words, counts = batch
    blob = b"".join(words)
    lengths = array("I", map(len, words)).tobytes()
    return b"".join(
        (_HEAD.pack(len(words), len(blob)), array("Q", counts).tobytes(), lengths, blob)
    )


def unpack_batch(data: bytes) -> Batch:
    """What `pack_batch` packed."""
    count, _ = _HEAD.unpack_from(data)
    counts, lengths = array("Q"), array("I")
    at = _HEAD.size
    counts.frombytes(data[at : at + 8 * count])
    at += 8 * count
    lengths.frombytes(data[at : at + 4 * count])
    at += 4 * count
    words: list[bytes] = []
    for length in lengths:
        words.append(data[at : at + length])
        at += length
    return words, counts.tolist()


class Run:
    """Batches in order, written once and read once; in a file as soon as they are many."""

    def __init__(self, batches: Iterable[bytes], in_memory: int | None = None) -> None:
        """From packed batches. Raises `LmtoolError` if a temporary file can't be written."""
        limit = IN_MEMORY if in_memory is None else in_memory
        self._held: list[bytes] = []
        self._file: IO[bytes] | None = None
        size = 0
        try:
            for data in batches:
                size += len(data)
                if self._file is None and size <= limit:
                    self._held.append(data)
                    continue
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="lmtool-words-")  # noqa: SIM115
                    self._file.writelines(map(_framed, self._held))
                    self._held = []
                self._file.write(_framed(data))
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise _cannot_write(error) from error

    def batches(self) -> Iterator[Batch]:
        """The batches, once; they are gone when they have been read."""
        self._held.reverse()
        while self._held:
            yield unpack_batch(self._held.pop())
        if self._file is None:
            return
        with self._file as file:
            file.seek(0)
            while size := file.read(8):
                yield unpack_batch(file.read(int.from_bytes(size, "little")))


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _cannot_write(error: OSError) -> LmtoolError:
    try:
        folder = f" in `{tempfile.gettempdir()}`"
    except OSError:
        folder = ""
    return LmtoolError(
        f"cannot write temporary files{folder}: {error.strerror or error}",
        hint="set TMPDIR to a folder with more room, or allow more memory",
    )


def merge(sources: Iterable[Iterator[Batch]]) -> Iterator[Batch]:
    """Sorted runs as one: each word once, with the sum of its counts.

    Up to the least of all batches' last words everything is at hand: it is added up and sorted,
    then the batches that are used up are replaced.
    """
    heads: list[_Head] = [head for head in map(_Head, sources) if head.fill()]
    while len(heads) > 1:
        bound = min(head.words[-1] for head in heads)
        total: dict[bytes, int] = {}
        for head in heads:
            head.take(bound, total)
        words = sorted(total)
        yield words, [total[word] for word in words]
        heads = [head for head in heads if head.fill()]
    for head in heads:
        yield head.words[head.at :], head.counts[head.at :]
        yield from head.source


class _Head:
    """A run's batch at hand, used up to `at`."""

    def __init__(self, source: Iterator[Batch]) -> None:
        self.source = source
        self.words: list[bytes] = []
        self.counts: list[int] = []
        self.at = 0

    def fill(self) -> bool:
        """Take the next batch if this one is used up; False at the end."""
        while self.at >= len(self.words):
            batch = next(self.source, None)
            if batch is None:
                return False
            self.words, self.counts = batch
            self.at = 0
        return True

    def take(self, bound: bytes, total: dict[bytes, int]) -> None:
        """Add the counts of all words up to `bound` to `total`."""
        end = bisect_right(self.words, bound, self.at)
        known = total.get
        for at in range(self.at, end):
            word = self.words[at]
            total[word] = known(word, 0) + self.counts[at]
        self.at = end
