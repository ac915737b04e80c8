"""Count how often each word of a corpus occurs: all that learning merges needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from ..corpus import Corpus
from .blocks import FileCount, pack
from .runs import Batch, Run, merge, pack_batch
from .shares import Share, cores, share_memory
from .splitting import Splitter
from .tally import Tally
from .workers import Workers

_FEW = 4
"""Blocks that the process counts itself before it starts others."""

_LARGE = 8 << 20
"""Bytes on disk from which on there surely are more blocks than these."""


@dataclass
class Counted:
    """The distinct words of a corpus and what was read to find them.

    `words` gives (word in UTF-8, count), sorted by word, once. `files` are in the order of the
    corpus's paths; where only a sample is counted, all of it stands with the first.
    """

    words: Iterator[tuple[bytes, int]]
    files: tuple[FileCount, ...]

    @property
    def bytes(self) -> int:
        """Bytes of text, as UTF-8, without separators."""
        return sum(file.bytes for file in self.files)

    @property
    def characters(self) -> int:
        """Characters of text, without separators."""
        return sum(file.characters for file in self.files)

    @property
    def documents(self) -> int:
        """Documents that aren't empty."""
        return sum(file.documents for file in self.files)

    @property
    def bad(self) -> int:
        """Bytes left out, or letters put in, because they weren't UTF-8."""
        return sum(file.bad for file in self.files)


def count_words(
    corpus: Corpus, splitter: Splitter, *, threads: int = 0, max_memory: int = 0
) -> Counted:
    """Count the words that `splitter` finds in `corpus`.

    `threads` is how many processes count, 0 for one a core. `max_memory` bounds, in bytes, what
    all of them take, as the operating system counts it; 0 is no bound. What doesn't fit goes to
    temporary files. Neither changes the result, nor does the order of files. Raises `InputError`
    for text that can't be read, and `OutOfMemoryError` if a process is killed for its memory.
    """
    files = [FileCount(path) for path in corpus.paths]
    share = share_memory(max_memory, threads or cores())
    batches = _count(pack(corpus, splitter, files), splitter, share, (corpus.size or 0) >= _LARGE)
    for place, faults in corpus.faults.items():
        file = files[place]
        file.bad, file.bad_offset, file.bad_line = faults.count, faults.offset, faults.line
    words = chain.from_iterable(zip(*batch, strict=True) for batch in batches)
    return Counted(words, tuple(files))


def _count(
    blocks: Iterator[bytes], splitter: Splitter, share: Share, large: bool
) -> Iterator[Batch]:
    """The words of all blocks in sorted batches."""
    alone = share.processes == 1
    tally = Tally(splitter, share.room)
    # To start processes takes longer than to count what is small.
    first = blocks if alone else islice(blocks, 0 if large else _FEW)
    for block in first:
        tally.add(block)
    block = next(blocks, None)
    if block is None:
        return tally.batches()
    workers = Workers(splitter, share.processes, share.room)
    try:
        for more in chain([block], blocks):
            workers.add(more)
        sources = [tally.batches(), *workers.sources()]
        return Run(map(pack_batch, merge(sources))).batches()
    finally:
        workers.end()
