"""A corpus in blocks to be counted: whole documents, or parts of them cut between words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..corpus import Corpus, Part
from .splitting import Splitter

SIZE = 1 << 20
"""Bytes of a block, about; a quarter of it where the pipeline splits it itself."""

LARGEST = 4
"""A block may have so many times its size where there is no place to cut it."""

BORDER = b"\xfe"
"""Stands between the documents of a block: a byte that UTF-8 never has."""

_STRETCH = 1 << 18
"""Characters of a document taken at a time."""


@dataclass
class FileCount:
    """What was read of one file: bytes and characters of its documents, and how many they are.

    `bad` counts the bytes left out, or the letters put in, because it wasn't UTF-8; the first such
    place is `bad_offset` (from 0) in line `bad_line` (from 1).
    """

    path: Path
    bytes: int = 0
    characters: int = 0
    documents: int = 0
    bad: int = 0
    bad_offset: int = 0
    bad_line: int = 0


def pack(corpus: Corpus, splitter: Splitter, files: list[FileCount]) -> Iterator[bytes]:
    """The corpus in blocks; each file of `files`, one a path, is counted while it is read."""
    # What tokenizers makes of a text takes 50 times as much memory.
    full = SIZE if splitter.parts_at_spaces else SIZE // 4
    documents: list[bytes] = []
    current: list[bytes] = []
    size = 0
    for part in _stretches(_parts(corpus)):
        data = part.text.encode()
        count = files[part.source]
        count.bytes += len(data)
        count.characters += len(part.text)
        count.documents += part.ends
        size += len(data) + 1
        current.append(data)
        if part.ends:
            documents.append(b"".join(current))
            current = []
        if size < full:
            continue
        rest = b""
        if current:
            place = splitter.place_to_cut(part.text)
            if place is None:
                if size < LARGEST * full:
                    continue
                place = splitter.likely_place_to_cut(part.text)
            *before, last = current
            cut = len(part.text[:place].encode())
            current, rest = [*before, last[:cut]], last[cut:]
            documents.append(b"".join(current))
        yield BORDER.join(documents)
        documents, current, size = [], [rest] if rest else [], len(rest)
    if documents:
        yield BORDER.join(documents)


def _parts(corpus: Corpus) -> Iterator[Part]:
    if corpus.sample_bytes is None:
        return corpus.parts()
    return (Part(0, piece, ends=True) for piece in corpus.pieces())


def _stretches(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        length = len(part.text)
        if length <= _STRETCH:
            yield part
            continue
        for start in range(0, length, _STRETCH):
            text = part.text[start : start + _STRETCH]
            yield Part(part.source, text, part.ends and start + _STRETCH >= length)
