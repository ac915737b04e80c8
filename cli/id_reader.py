"""Token ids as people and programs write them, each checked, and a bad one named with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .. import InputError
from ..tokenizer.corpus import read_lines, read_some, source_name
from ..tokenizer.tokenizer import Tokenizer
from .token_writers import binary_code, from_binary

_WORD = re.compile(rb"[^\s,\0]+")
_LAST_BREAK = re.compile(rb"[\s,\0](?=[^\s,\0]*\Z)")
_LONGEST_ID = 10
"""Digits of 2**32 - 1, the highest id there can be."""


class IdReader:
    """Reads the ids in one file, `-` for stdin, for one vocabulary.

    Every reading raises `InputError` for a word that is no id, or an id without a token, naming
    it, its number among the ids and its line.
    """

    def __init__(self, tokenizer: Tokenizer, path: Path) -> None:
        """Ids of `tokenizer` in the file at `path`."""
        self._tokenizer = tokenizer
        self._path = path
        self._words = 0
        self._line = 1

    def blocks(self) -> Iterator[list[int]]:
        """Ids as they come in; a .bin file holds them as `tokenize -o` writes it."""
        if self._path.suffix == ".bin":
            yield from self._binary()
            return
        held = b""
        for block in read_some(self._path):
            data = held + block
            end = _LAST_BREAK.search(data, max(0, len(data) - 4096))
            held = data[end.start() :] if end else data
            if len(held) < len(data):
                yield self._parse(data[: len(data) - len(held)])
        yield self._parse(held)

    def lines(self) -> Iterator[list[int]]:
        """The ids of each line, as soon as it is there."""
        for line in read_lines(self._path):
            yield self._parse(line)

    def _parse(self, data: bytes) -> list[int]:
        words = _WORD.findall(data)
        if not all(map(self._is_id, words)):
            raise self._complaint(data)
        self._words += len(words)
        self._line += data.count(b"\n")
        return [int(word) for word in words]

    def _is_id(self, word: bytes) -> bool:
        return word.isdigit() and len(word) <= _LONGEST_ID and self._tokenizer.knows(int(word))

    def _complaint(self, data: bytes) -> InputError:
        """About the first word in `data` that is no id."""
        for number, match in enumerate(_WORD.finditer(data), self._words + 1):
            if self._is_id(match.group()):
                continue
            word = match.group()[:40].decode("utf-8", "replace")
            line = self._line + data.count(b"\n", 0, match.start())
            place = f"id number {number}, line {line} of {source_name(self._path)}"
            if match.group().isdigit():
                return self._unknown(word, place)
            return InputError(f"not a token id: `{word}`, {place}")
        raise AssertionError("a complaint about nothing")

    def _unknown(self, id: int | str, place: str) -> InputError:
        size = self._tokenizer.vocab_size
        return InputError(
            f"no token has the id {id}: {place}",
            hint=f"`{self._tokenizer.name}` has ids from 0 to {size - 1}",
        )

    def _binary(self) -> Iterator[list[int]]:
        code = binary_code(self._tokenizer)
        width = 2 if code == "H" else 4
        held = b""
        for block in read_some(self._path):
            data = held + block
            held = data[len(data) - len(data) % width :]
            ids = from_binary(data[: len(data) - len(held)], code)
            for number, id in enumerate(ids, self._words + 1):
                if not self._tokenizer.knows(id):
                    raise self._unknown(id, f"id number {number} of `{self._path}`")
            self._words += len(ids)
            yield ids
        if held:
            raise InputError(
                f"`{self._path}` ends inside an id: {self._words * width + len(held)} bytes "
                f"are not a multiple of {width}"
            )
