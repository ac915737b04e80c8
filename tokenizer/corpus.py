"""Documents from files, folders and streams, in parts small enough that size doesn't matter.

A file is read as UTF-8, unpacked if its name ends in .gz, .xz or .zst; .jsonl rows and .parquet
columns give one document a row.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .decoding import Errors, Faults, not_utf8, read_text
from .finding import SUFFIXES, find_files
from .opening import PACKED, STDIN, bare_suffix, read_lines, read_some, source_name
from .rows import jsonl_texts, parquet_texts

__all__ = [
    "PACKED",
    "STDIN",
    "SUFFIXES",
    "Corpus",
    "Errors",
    "Faults",
    "Part",
    "find_files",
    "not_utf8",
    "read_lines",
    "read_some",
    "read_text",
    "source_name",
    "spread_sample",
]

PIECE = 1 << 16
"""Characters a piece may have: the trainer holds 256 of them at once."""

SAMPLE_PIECE = 1 << 12
"""Characters a sampled piece may have: a sample of 1 MB comes from 256 places or more."""

# A word's end before a space: every pattern that we name starts a new pre-token there.
_SAFE_CUT = re.compile(r"(?<=\w)(?=[ \n])")


class Part(NamedTuple):
    """A stretch of a document: `source` is the place of its file in `Corpus.paths`.

    `ends` says that the document ends with this stretch. A text may be empty.
    """

    source: int
    text: str
    ends: bool


@dataclass(frozen=True)
class Corpus:
    """Files to be read as documents, parted by `separators` (and by file ends).

    Order never changes what is learned from it: each file is cut into pieces on its own.
    """

    paths: tuple[Path, ...]
    separators: tuple[str, ...] = ()
    on_read: Callable[[int], None] = field(default=lambda count: None)
    """Called with the number of bytes just read from disk, packed as they are."""
    on_part: Callable[[Part], None] = field(default=lambda part: None)
    """Called with each part of a document, before a sample is taken."""
    sample_bytes: int | None = None
    """Learn from about this many bytes, spread over the whole text and held in memory."""
    errors: Errors = "strict"
    """What becomes of bytes that aren't UTF-8."""
    text_field: str = "text"
    """The field of .jsonl rows, and the column of .parquet files, that holds the text."""
    exact: bool = False
    """Whether line breaks at a document's ends belong to it, and empty documents count."""
    faults: dict[int, Faults] = field(default_factory=dict[int, Faults], compare=False)
    """By place in `paths`, what wasn't UTF-8; filled while the files are read."""

    @property
    def size(self) -> int | None:
        """Bytes on disk, or None where stdin or a pipe takes part."""
        if all(path != STDIN and path.is_file() for path in self.paths):
            return sum(path.stat().st_size for path in self.paths)
        return None

    def parts(self) -> Iterator[Part]:
        """Every document in the order of the files, in stretches of bounded size.

        A row of a table is one stretch whatever its size. Line breaks at a document's ends, which
        part it from its separator, are left out, and empty documents are passed over, unless
        `exact`.
        """
        for source in range(len(self.paths)):
            yield from self.parts_of(source)

    def parts_of(self, source: int) -> Iterator[Part]:
        """The documents of one file, by its place in `paths`, as `parts` gives them."""
        cut = _exact_parts if self.exact else _trimmed_parts
        for part in cut(source, self._blocks(source, self.paths[source])):
            self.on_part(part)
            yield part

    def pieces(self) -> Iterator[str]:
        """Every document in pieces of at most `PIECE` characters, separators left out."""
        if self.sample_bytes is None:
            return _pieces(self.parts(), PIECE)
        return spread_sample(_pieces(self.parts(), SAMPLE_PIECE), self.sample_bytes)

    def _blocks(self, source: int, path: Path) -> Iterator[str | None]:
        """A file's text in blocks, with None at each document border."""
        faults = self.faults.setdefault(source, Faults())
        faults.count = 0
        kind = bare_suffix(path)
        if kind == ".jsonl":
            rows = jsonl_texts(path, self.text_field, self.on_read, self.errors, faults)
        elif kind == ".parquet":
            rows = parquet_texts(path, self.text_field, self.on_read)
        else:
            yield from self._documents(read_text(path, self.on_read, self.errors, faults))
            return
        for row in rows:
            yield from self._documents([row])
            yield None

    def _documents(self, blocks: Iterable[str]) -> Iterator[str | None]:
        """Text blocks with None at each border between documents."""
        if not self.separators:
            yield from blocks
            return
        longest_first = sorted(self.separators, key=lambda text: (-len(text), text))
        border = re.compile("|".join(re.escape(text) for text in longest_first))
        longest = len(longest_first[0])
        held = ""
        for block in blocks:
            *documents, held = border.split(held + block)
            for document in documents:
                yield document
                yield None
            # A separator may straddle two blocks, so its length stays behind.
            keep = min(len(held), longest)
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
        yield held


def _exact_parts(source: int, blocks: Iterable[str | None]) -> Iterator[Part]:
    held: str | None = None
    for block in blocks:
        if block is None:
            yield Part(source, held or "", ends=True)
            held = None
        elif block or held is None:
            if held:
                yield Part(source, held, ends=False)
            held = block
    # What follows the last separator is a document only if there is something.
    if held:
        yield Part(source, held, ends=True)


def _trimmed_parts(source: int, blocks: Iterable[str | None]) -> Iterator[Part]:
    held, breaks = "", ""
    begun = False
    for block in blocks:
        if block is None:
            if held:
                yield Part(source, held, ends=True)
            held, breaks, begun = "", "", False
            continue
        text = block if begun else block.lstrip("\n")
        if not text:
            continue
        begun = True
        body = text.rstrip("\n")
        # Line breaks may yet turn out to end the document, so they wait.
        if body:
            if held:
                yield Part(source, held, ends=False)
            held, breaks = breaks + body, ""
        breaks += text[len(body) :]
    if held:
        yield Part(source, held, ends=True)


def _pieces(parts: Iterable[Part], longest: int) -> Iterator[str]:
    """Documents in pieces of at most `longest` characters, cut between pre-tokens if they allow."""
    held = ""
    for part in parts:
        held += part.text
        start = 0
        while len(held) - start > longest:
            window = held[start : start + longest + 1]
            cut = _place_to_cut(window, longest)
            yield window[:cut]
            start += cut
        held = held[start:]
        if part.ends:
            if held:
                yield held
            held = ""


def _place_to_cut(text: str, longest: int) -> int:
    """The last index up to `longest` before a space or line break that follows a word.

    Without one, the index after the last line break, or `longest` itself.
    """
    width = 1 << 8
    while width < longest:
        places = [m.start() for m in _SAFE_CUT.finditer(text, longest - width, longest)]
        if places:
            return places[-1]
        width *= 8
    newline = text.rfind("\n", 0, longest)
    return newline + 1 if newline >= 0 else longest


def spread_sample(pieces: Iterable[str], size: int) -> Iterator[str]:
    """About `size` bytes of `pieces`: those whose hashes are lowest, whatever their order.

    One pass, and no more than the sample and one piece in memory: once the pieces kept reach
    `size` without the highest hash, that one can never come back in.
    """
    kept: list[tuple[int, bytes]] = []  # a heap, the highest hash first
    total = 0
    for piece in pieces:
        data = piece.encode()
        digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        heapq.heappush(kept, (-digest, data))
        total += len(data)
        while total - len(kept[0][1]) >= size:
            total -= len(heapq.heappop(kept)[1])
    for _, data in sorted(kept):
        yield data.decode()
