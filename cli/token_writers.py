"""Tokens as bytes for stdout or a file: ids, pieces, offsets, JSON, or flat binary ids."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from .. import UsageError
from ..tokenizer.bulk import Encoded
from ..tokenizer.offsets import Span, Unit, spans_of
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


@dataclass(frozen=True)
class Form:
    """How a text's tokens are written.

    `null` ends each token with NUL; `end` closes a text of `many`; `unit` is what offsets count.
    """

    style: Style = Style.ids
    null: bool = False
    many: bool = False
    end: str = "\n"
    unit: Unit = "bytes"
    special: Special = "text"

    def writer(self, tokenizer: Tokenizer) -> TokenWriter:
        """What writes one text."""
        if self.style is Style.json:
            return JsonWriter(tokenizer, self)
        if self.style is Style.offsets:
            return OffsetWriter(tokenizer, self)
        return WordWriter(tokenizer, self)


class TokenWriter(Protocol):
    """Turns the stretches of one text into bytes, as they come."""

    def add(self, encoded: Encoded) -> bytes:
        """The bytes for one more stretch."""
        ...

    def end(self) -> bytes:
        """The bytes that close the text."""
        ...


class WordWriter:
    """Ids or pieces parted by spaces and closed as `form` says; or each ended by NUL."""

    def __init__(self, tokenizer: Tokenizer, form: Form) -> None:
        """Write ids, or pieces if `form` says so."""
        self._spell = tokenizer.piece if form.style is Style.pieces else str
        self._form = form
        self._between = ""

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        words = map(self._spell, encoded.ids)
        if self._form.null:
            return "".join(f"{word}\0" for word in words).encode()
        if not encoded.ids:
            return b""
        text = self._between + " ".join(words)
        self._between = " "
        return text.encode()

    def end(self) -> bytes:
        """See `TokenWriter`."""
        return b"" if self._form.null else self._form.end.encode()


class OffsetWriter:
    """A line a token: from where, up to where, id, piece, parted by tabs; many texts by a blank."""

    def __init__(self, tokenizer: Tokenizer, form: Form) -> None:
        """Count from the text's beginning."""
        self._tokenizer = tokenizer
        self._form = form
        self._end = "\0" if form.null else "\n"
        self._passed = 0

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        spans = spans_of(self._tokenizer, encoded, self._form.special, self._form.unit)
        rows = [
            f"{start + self._passed}\t{end + self._passed}\t{id}\t{self._tokenizer.piece(id)}"
            for id, (start, end) in zip(encoded.ids, spans, strict=True)
        ]
        in_bytes = self._form.unit == "bytes"
        self._passed += len(encoded.text.encode() if in_bytes else encoded.text)
        return "".join(row + self._end for row in rows).encode()

    def end(self) -> bytes:
        """See `TokenWriter`."""
        if not self._form.many:
            return b""
        return (self._end if self._form.null else self._form.end).encode()


class JsonWriter:
    """One JSON object on one line: ids, pieces, offsets, and how many of each."""

    def __init__(self, tokenizer: Tokenizer, form: Form) -> None:
        """Collect a text's tokens until its end."""
        self._tokenizer = tokenizer
        self._form = form
        self._ids: list[int] = []
        self._spans: list[Span] = []
        self._bytes = self._characters = 0

    def add(self, encoded: Encoded) -> bytes:
        """See `TokenWriter`."""
        self._ids += encoded.ids
        passed = self._bytes if self._form.unit == "bytes" else self._characters
        spans = spans_of(self._tokenizer, encoded, self._form.special, self._form.unit)
        self._spans += [(start + passed, end + passed) for start, end in spans]
        self._bytes += len(encoded.text.encode())
        self._characters += len(encoded.text)
        return b""

    def end(self) -> bytes:
        """See `TokenWriter`."""
        record = {
            "ids": self._ids,
            "pieces": [self._tokenizer.piece(id) for id in self._ids],
            "offsets": self._spans,
            "offsets_in": self._form.unit,
            "tokens": len(self._ids),
            "characters": self._characters,
            "bytes": self._bytes,
        }
        return (json.dumps(record, ensure_ascii=False) + self._form.end).encode()


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
