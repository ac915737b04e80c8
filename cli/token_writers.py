"""Tokens as bytes for stdout or a file: ids, pieces, offsets, JSON, or flat binary ids."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from .. import UsageError
from ..tokenizer.bulk import Encoded, byte_spans
from ..tokenizer.tokenizer import Special, Tokenizer


class Style(str, Enum):
    """How tokens are written."""

    ids = "ids"
    pieces = "pieces"
    offsets = "offsets"
    json = "json"

    @classmethod
    def chosen(cls, **flags: bool) -> Style:
        """The one flag that is set, `ids` without any. Raises `UsageError` for several."""
        names = [name for name, given in flags.items() if given]
        if len(names) > 1:
            raise UsageError(f"--{names[0]} and --{names[1]} exclude each other")
        return cls(names[0]) if names else cls.ids


class TokenWriter(Protocol):
    """Turns the stretches of one text into bytes, as they come."""

    def add(self, encoded: Encoded) -> bytes:
        """The bytes for one more stretch."""
        ...

    def end(self) -> bytes:
        """The bytes that close the text."""
        ...


class WordWriter:
    """Ids or pieces parted by spaces and closed by a line break; or each ended by NUL."""

    def __init__(self, tokenizer: Tokenizer, style: Style, null: bool) -> None:
        """Write ids, or pieces if `style` says so; `null` for NUL instead of spaces."""
        self._spell = tokenizer.piece if style is Style.pieces else str
        self._null = null
        self._between = ""

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        words = map(self._spell, encoded.ids)
        if self._null:
            return "".join(f"{word}\0" for word in words).encode()
        if not encoded.ids:
            return b""
        text = self._between + " ".join(words)
        self._between = " "
        return text.encode()

    def end(self) -> bytes:
        """See `TokenWriter`."""
        return b"" if self._null else b"\n"


class OffsetWriter:
    """A line a token: first byte, byte after the last, id, piece, parted by tabs."""

    def __init__(self, tokenizer: Tokenizer, special: Special, null: bool) -> None:
        """Count from the text's first byte; `null` for NUL instead of line breaks."""
        self._tokenizer = tokenizer
        self._special: Special = special
        self._end = "\0" if null else "\n"
        self._passed = 0

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        spans = byte_spans(self._tokenizer, encoded, self._special)
        rows = [
            f"{start + self._passed}\t{end + self._passed}\t{id}\t{self._tokenizer.piece(id)}"
            for id, (start, end) in zip(encoded.ids, spans, strict=True)
        ]
        self._passed += len(encoded.text.encode())
        return "".join(row + self._end for row in rows).encode()

    def end(self) -> bytes:
        """See `TokenWriter`."""
        return b""


class JsonWriter:
    """One JSON object on one line: ids, pieces, offsets in bytes, and how many of each."""

    def __init__(self, tokenizer: Tokenizer, special: Special) -> None:
        """Collect a text's tokens until its end."""
        self._tokenizer = tokenizer
        self._special: Special = special
        self._ids: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._passed = 0

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        self._ids += encoded.ids
        spans = byte_spans(self._tokenizer, encoded, self._special)
        self._spans += [(start + self._passed, end + self._passed) for start, end in spans]
        self._passed += len(encoded.text.encode())
        return b""

    def end(self) -> bytes:
        """See `TokenWriter`."""
        record = {
            "ids": self._ids,
            "pieces": [self._tokenizer.piece(id) for id in self._ids],
            "offsets": self._spans,
            "tokens": len(self._ids),
            "bytes": self._passed,
        }
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()


class BinaryWriter:
    """Ids as little-endian integers without anything between: NumPy's `<u2` or `<u4`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Two bytes an id where the vocabulary allows, else four."""
        self._code = binary_code(tokenizer)

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        return to_binary(encoded.ids, self._code)

    def end(self) -> bytes:
        """See `TokenWriter`."""
        return b""


def binary_code(tokenizer: Tokenizer) -> str:
    """The array code of flat ids: "H" (two bytes) up to 65,536 ids, "I" (four) above."""
    return "H" if tokenizer.vocab_size <= 1 << 16 else "I"


def to_binary(ids: Iterable[int], code: str) -> bytes:
    """Ids as little-endian integers."""
    values = array(code, ids)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def from_binary(data: bytes, code: str) -> list[int]:
    """The ids in little-endian integers; `data` must hold whole ones."""
    values: array[int] = array(code)
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
