"""Count how often each word of a corpus occurs: all that learning merges needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..corpus import Corpus
from .blocks import FileCount, pack
from .splitting import Splitter
from .tally import Tally


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
    all of them take, as the operating system counts it; 0 is no bound. Neither changes the result,
    nor does the order of files. Raises `InputError` for text that can't be read.
    """
    files = [FileCount(path) for path in corpus.paths]
    tally = Tally(splitter)
    for block in pack(corpus, splitter, files):
        tally.add(block)
    for place, faults in corpus.faults.items():
        file = files[place]
        file.bad, file.bad_offset, file.bad_line = faults.count, faults.offset, faults.line
    return Counted(iter(tally.sorted_words()), tuple(files))
