"""The rows of a batch: JSONL, CSV or plain lines, one at a time; a bad one is bad alone."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from ... import InputError
from ...tokenizer.opening import STDIN, bare_suffix, opened

LONGEST = 1 << 26
"""Bytes of a line at most: what is longer is no row, but a file without line breaks."""

FORMATS = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
    **{".csv": "csv", ".tsv": "tsv", ".txt": "lines"},
}
"""What rows are written as, by the suffix of their file."""

_PARTS = {"csv": ",", "tsv": "\t"}
_BOM = b"\xef\xbb\xbf"
_FOREIGN = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Row:
    """A row: its number, counted from 1, the line it begins at, and what stands there.

    `fields` are JSON values by name; of a row that can't be read there are none, and `fault` says
    why. `data` is what tells this row from others, however it is laid out.
    """

    number: int
    line: int
    data: bytes
    fields: Mapping[str, Any]
    fault: InputError | None = None

    @classmethod
    def of(cls, number: int, line: int, fields: Mapping[str, Any]) -> Row:
        """A row that can be read. Raises `ValueError` for what isn't JSON, and so can't be told."""
        known = json.dumps(fields, sort_keys=True, allow_nan=False, ensure_ascii=False)
        return cls(number, line, known.encode(), fields)


@dataclass(frozen=True)
class Scan:
    """What an input comes to: how many rows, and a digest of all of them."""

    rows: int
    sha256: str


class Meter:
    """Counts rows, and takes their digest, while they are read."""

    def __init__(self) -> None:
        self._rows = 0
        self._digest = sha256()

    def add(self, data: bytes) -> None:
        """One more row."""
        self._rows += 1
        self._digest.update(b"%d:" % len(data) + data)

    @property
    def scan(self) -> Scan:
        """What has been read until now."""
        return Scan(self._rows, self._digest.hexdigest())


@dataclass(frozen=True)
class Input:
    """A file of rows, or stdin, and what its rows are written as."""

    path: Path
    format: str

    @classmethod
    def of(cls, path: Path, format: str) -> Input:
        """By `format`, or by the file's suffix if that is "auto". JSONL where nothing tells."""
        if format == "auto":
            format = FORMATS.get(bare_suffix(path), "jsonl")
        return cls(path, format)

    @property
    def lasting(self) -> bool:
        """Whether it can be read again: a file can, stdin and pipes can't."""
        return self.path != STDIN and self.path.is_file()

    def scan(self) -> Scan:
        """Read it to its end. Raises `InputError` where it can't be read."""
        meter = Meter()
        for _, data in self._records():
            meter.add(data)
        return meter.scan

    def rows(self, meter: Meter) -> Iterator[Row]:
        """The rows in their order; `meter` hears of each.

        Raises `InputError` where the input itself can't be read.
        """
        read = {"jsonl": _from_json, "lines": _from_text}.get(self.format, _from_cells)
        for number, (line, data) in enumerate(self._records(), 1):
            meter.add(data)
            try:
                row = Row.of(number, line, read(data, line))
            except InputError as error:
                row = Row(number, line, data, {}, error)
            except (ValueError, RecursionError) as error:
                row = Row(number, line, data, {}, _no_json(line, error))
            yield row

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Each row as bytes, with its line. Blank lines are rows only of plain text."""
        with opened(self.path) as (_, data):
            if self.format in _PARTS:
                yield from _cells(_lines(data), self.path, _PARTS[self.format])
                return
            for number, line in enumerate(_lines(data), 1):
                line = line.removesuffix(b"\n").removesuffix(b"\r")
                if line.strip() or self.format == "lines":
                    yield number, line


def _lines(data: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends; of one that is too long the beginning, longer than `LONGEST`."""
    begun = False
    while line := data.readline(LONGEST + 2):
        rest = line
        while len(rest) > LONGEST and not rest.endswith(b"\n"):
            rest = data.readline(LONGEST + 2)
        if not begun:
            line, begun = line.removeprefix(_BOM), True
        yield line


def _cells(lines: Iterable[bytes], path: Path, part: str) -> Iterator[tuple[int, bytes]]:
    """Each row of a table as a JSON object by the names in the header; bad bytes as surrogates."""
    csv.field_size_limit(LONGEST)
    texts = (line.decode("utf-8", "surrogateescape") for line in lines)
    reader = csv.reader(texts, delimiter=part)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            cells = [f"\udcff{error}"]
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = cells
            _check_header(header, path)
            continue
        yield line, json.dumps([header, cells], ensure_ascii=False).encode("utf-8", "surrogatepass")


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if _FOREIGN.search(name) or not name:
            raise InputError(
                f"`{path}` has no header: a name in its first line is empty or no text"
            )
        if header.count(name) > 1:
            raise InputError(f"`{path}` has two columns called `{name}`")


def _from_cells(data: bytes, line: int) -> dict[str, Any]:
    header, cells = cast("list[list[str]]", json.loads(data.decode("utf-8", "surrogatepass")))
    if len(cells) == 1 and cells[0].startswith("\udcff"):
        raise InputError(f"line {line} is no row of a table: {cells[0][1:]}")
    for cell in cells:
        if bad := _FOREIGN.search(cell):
            raise InputError(
                f"line {line} is not UTF-8: it has a byte 0x{ord(bad[0]) - 0xDC00:02x}"
            )
    if len(cells) != len(header):
        found = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
        raise InputError(f"line {line} has {found}, and the header {len(header)} names")
    return dict(zip(header, cells, strict=True))


def _from_text(data: bytes, line: int) -> dict[str, Any]:
    return {"prompt": _decoded(data, line)}


def _from_json(data: bytes, line: int) -> dict[str, Any]:
    row: object = json.loads(_decoded(data, line), parse_constant=_refuse)
    if isinstance(row, str):
        return {"prompt": row}
    if not isinstance(row, dict):
        raise InputError(f"line {line} is JSON, but no object")
    return cast("dict[str, Any]", row)


def _decoded(data: bytes, line: int) -> str:
    if len(data) > LONGEST:
        raise InputError(f"line {line} is longer than {LONGEST:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise InputError(f"line {line} is not UTF-8: {bad} of the line") from error


def _no_json(line: int, error: Exception) -> InputError:
    """Why a line isn't JSON, in words."""
    if isinstance(error, UnicodeEncodeError):
        half = error.object[error.start]
        return InputError(f"line {line} has half a character: U+{ord(half):04X}")
    reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg} at column {error.colno}"
    return InputError(f"line {line} is not JSON: {reason}")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
