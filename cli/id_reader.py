"""Token ids as people and programs write them, each checked, and a bad one named with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

from .. import InputError
from ..tokenizer.decoding import Errors
from ..tokenizer.opening import read_some, source_name
from ..tokenizer.tokenizer import Tokenizer
from .json_objects import begins_object, objects
from .sources import ENDS, split_as_it_comes
from .token_options import Records
from .token_writers import binary_code, from_binary

REPLACED = -1
"""Stands for what is no id, where that is to be replaced."""

_WORD = re.compile(rb"[^\s,\0\[\]]+")
_LAST_BREAK = re.compile(rb"[\s,\0\[\]](?=[^\s,\0\[\]]*\Z)")
_TO_SPACES = bytes.maketrans(b",\0[]", b"    ")
_LONGEST_ID = 10
"""Digits of 2**32 - 1, the highest id there can be."""
_JSON_KEYS = ("ids", "token_ids")
"""Where JSON holds ids: that of tokenize, and that of generate."""


class IdReader:
    """Reads the ids in one file, `-` for stdin, for one vocabulary.

    Ids are parted by spaces, line breaks, commas, brackets or NUL; or they are in JSON objects as
    tokenize and generate print them. Every reading raises `InputError` for a word that is no id,
    or an id without a token, naming it, its number among the ids and its line; or, as `errors` has
    it, puts `REPLACED` in its place or leaves it out, and counts it in `bad`.
    """

    def __init__(self, tokenizer: Tokenizer, path: Path, errors: Errors = "strict") -> None:
        """Ids of `tokenizer` in the file at `path`."""
        self._tokenizer = tokenizer
        self._path = path
        self._errors = errors
        self._known: dict[bytes, int] = {}
        self._flat: set[int] = set()
        self._count = 0
        self._line = 1
        self.bad = 0
        self.first_bad: InputError | None = None

    def blocks(self) -> Iterator[list[int]]:
        """Ids as they come in; a .bin file holds them as `tokenize -o` writes it."""
        if self._path.suffix == ".bin":
            yield from self._binary()
            return
        blocks = read_some(self._path)
        for block in blocks:
            if not _WORD.search(block):
                self._line += block.count(b"\n")
                continue
            come = chain([block], blocks)
            yield from self._from_json(come) if begins_object(block) else self._from_words(come)

    def texts(self, records: Records) -> Iterator[list[list[int]]]:
        """The ids of each line or other record: of as many as have come."""
        end = ENDS[records]
        for batch in split_as_it_comes(self._path, end):
            texts: list[list[int]] = []
            for data in batch:
                try:
                    texts.append(self._text(data))
                except InputError:
                    yield texts  # what came before is answered
                    raise
                self._line += end == b"\n"
            yield texts

    def _text(self, data: bytes) -> list[int]:
        if not begins_object(data):
            return self._parse(data)
        return [id for ids in self._from_json([data]) for id in ids]

    def _from_words(self, blocks: Iterable[bytes]) -> Iterator[list[int]]:
        held = b""
        for block in blocks:
            data = held + block
            end = _LAST_BREAK.search(data, max(0, len(data) - 4096))
            held = data[end.start() :] if end else data
            if len(held) < len(data):
                yield self._parse(data[: len(data) - len(held)])
        yield self._parse(held)

    def _parse(self, data: bytes) -> list[int]:
        words = data.translate(_TO_SPACES).split()
        try:
            ids = list(map(self._known.__getitem__, words))
        except KeyError:
            ids = self._look_up(data)
        self._count += len(words)
        self._line += data.count(b"\n")
        return ids

    def _look_up(self, data: bytes) -> list[int]:
        """The ids in `data`, of which some are new or no ids at all."""
        ids: list[int] = []
        for number, match in enumerate(_WORD.finditer(data), self._count + 1):
            word = match.group()
            id = self._known.get(word)
            if id is None and word.isdigit() and len(word) <= _LONGEST_ID:
                id = int(word) if self._tokenizer.knows(int(word)) else None
                if id is not None and word == b"%d" % id:
                    self._known[word] = id
            if id is None:
                line = self._line + data.count(b"\n", 0, match.start())
                shown = _printable(word)
                ids += self._refuse(shown, word.isdigit(), f"id number {number}, line {line} of")
            else:
                ids.append(id)
        return ids

    def _from_json(self, blocks: Iterable[bytes]) -> Iterator[list[int]]:
        found = objects(blocks)
        while True:
            try:
                one = next(found, None)
            except (ValueError, RecursionError) as error:
                reason = f"{error}".partition(": line ")[0]
                raise InputError(
                    f"{source_name(self._path)} begins as JSON, but isn't: {reason}"
                ) from error
            if one is None:
                return
            yield self._ids_in(one)

    def _ids_in(self, one: dict[str, Any]) -> list[int]:
        found: object = next((one[key] for key in _JSON_KEYS if key in one), None)
        if not isinstance(found, list):
            raise InputError(
                f"the JSON in {source_name(self._path)} has no list of `ids`",
                hint="it takes what `tokenize --json` and `generate --json` print",
            )
        ids: list[int] = []
        values = cast("list[object]", found)
        for number, value in enumerate(values, self._count + 1):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if isinstance(value, int) and whole and self._tokenizer.knows(value):
                ids.append(value)
            else:
                shown = _printable(f"{value}".encode())
                ids += self._refuse(shown, whole, f"id number {number} of")
        self._count += len(values)
        return ids

    def _binary(self) -> Iterator[list[int]]:
        code = binary_code(self._tokenizer)
        width = 2 if code == "H" else 4
        held = b""
        for block in read_some(self._path):
            data = held + block
            held = data[len(data) - len(data) % width :]
            ids = from_binary(data[: len(data) - len(held)], code)
            count = len(ids)
            if not set(ids) <= self._flat:
                ids = self._look_up_flat(ids)
            self._count += count
            yield ids
        if held:
            raise _ends_inside(self._path, self._count * width + len(held), width)

    def _look_up_flat(self, ids: list[int]) -> list[int]:
        """`ids`, of which some are new or not in the vocabulary."""
        known: list[int] = []
        for number, id in enumerate(ids, self._count + 1):
            if id in self._flat or self._tokenizer.knows(id):
                self._flat.add(id)
                known.append(id)
            else:
                known += self._refuse(str(id), True, f"id number {number} of")
        return known

    def _refuse(self, shown: str, is_number: bool, place: str) -> list[int]:
        """Raise about something that is no id, or give what stands in its place."""
        where = f"{place} {source_name(self._path)}"
        if is_number:
            size = self._tokenizer.vocab_size
            error = InputError(
                f"no token has the id {shown}: {where}",
                hint=f"`{self._tokenizer.name}` has ids from 0 to {size - 1}",
            )
        else:
            flat = "flat ids are read from files that end in .bin"
            error = InputError(
                f"not a token id: `{shown}`, {where}", hint=flat if "\ufffd" in shown else None
            )
        if self._errors == "strict":
            raise error
        self.bad += 1
        self.first_bad = self.first_bad or error
        return [REPLACED] if self._errors == "replace" else []


def check_flat(tokenizer: Tokenizer, path: Path) -> None:
    """Raise `InputError` for a .bin file that ends inside an id, before any of it is read."""
    width = 2 if binary_code(tokenizer) == "H" else 4
    size = path.stat().st_size if path.is_file() else 0
    if size % width:
        raise _ends_inside(path, size, width)


def _ends_inside(path: Path, size: int, width: int) -> InputError:
    return InputError(f"`{path}` ends inside an id: {size} bytes are not a multiple of {width}")


def _printable(word: bytes) -> str:
    """The beginning of `word`, fit for a message."""
    text = word[:40].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
