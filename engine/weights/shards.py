"""safetensors files: a checked header and bytes mapped from disk, with nothing executed.

Format: 8 bytes little-endian header size, a JSON header, then the data. Every claim of the header
is checked against the file before any byte of it is used, since a file cut short or damaged would
otherwise be read as numbers. No torch here, so that checks cost nothing.
"""

from __future__ import annotations

import json
import math
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ... import ModelError

# fmt: off
WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}
# fmt: on
"""Bytes an element of every dtype the format knows. Which of them are weights is seen later."""

METADATA = "__metadata__"
LARGEST_HEADER = 100_000_000
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor's place in a shard: `begin` and `end` count bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Shard:
    """One safetensors file whose header has been checked; its bytes are mapped when asked for.

    `metadata` is what its writer says of it, unchecked.
    """

    path: Path
    entries: dict[str, Entry]
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    _maps: list[mmap.mmap] = field(default_factory=list[mmap.mmap], repr=False)

    def bytes_of_file(self) -> mmap.mmap:
        """The whole file as mapped memory: pages come from disk when touched."""
        if not self._maps:
            with self.path.open("rb") as file:
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._maps[0]

    def forget(self, entry: Entry) -> None:
        """Let go of a tensor's pages, once it has been copied elsewhere."""
        first = -(-entry.begin // mmap.PAGESIZE) * mmap.PAGESIZE
        last = entry.end // mmap.PAGESIZE * mmap.PAGESIZE
        if self._maps and last > first and hasattr(mmap, "MADV_DONTNEED"):
            self._maps[0].madvise(mmap.MADV_DONTNEED, first, last - first)


def open_shard(path: Path) -> Shard:
    """Read and check a shard's header.

    Raises `ModelError` for a file that is missing, a Git LFS pointer, cut short, or whose header
    is not true of it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(max(8, len(LFS_POINTER)))
            if start.startswith(LFS_POINTER):
                raise ModelError(
                    f"`{path}` is a Git LFS pointer, not the weights themselves",
                    hint="run `git lfs pull` in its folder",
                )
            if size < 8:
                raise _cut_short(path, "at least 8", size)
            length = int.from_bytes(start[:8], "little")
            if length > LARGEST_HEADER:
                raise _untrue(path, f"it claims a header of {length} bytes")
            if 8 + length > size:
                raise _cut_short(path, f"at least {8 + length}", size)
            file.seek(8)
            header = file.read(length)
    except OSError as error:
        raise ModelError(f"cannot read `{path}`: {error.strerror or error}") from error
    rows = _parsed(path, header)
    return Shard(path, _entries(path, rows, 8 + length, size), _metadata(rows))


def _parsed(path: Path, header: bytes) -> dict[str, Any]:
    try:
        parsed: Any = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise _untrue(path, f"its header is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise _untrue(path, "its header is not a JSON object")
    return cast("dict[str, Any]", parsed)


def _metadata(rows: dict[str, Any]) -> dict[str, str]:
    found = rows.get(METADATA)
    pairs = cast("dict[str, Any]", found).items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def _entries(path: Path, rows: dict[str, Any], data: int, size: int) -> dict[str, Entry]:
    entries = {n: _entry(path, n, row, data) for n, row in rows.items() if n != METADATA}
    expected = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != expected:
            what = "overlaps another tensor" if entry.begin < expected else "leaves a gap before it"
            raise _untrue(path, f"`{name}` {what}")
        expected = entry.end
    if expected > size:
        raise _cut_short(path, str(expected), size)
    if expected < size:
        raise _untrue(path, f"its header describes {expected} bytes, the file has {size}")
    return entries


def _entry(path: Path, name: str, row: Any, data: int) -> Entry:
    try:
        dtype, shape = row["dtype"], tuple(row["shape"])
        begin, end = row["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _untrue(path, f"the entry of `{name}` is malformed") from error
    if not isinstance(dtype, str):
        raise _untrue(path, f"the entry of `{name}` is malformed")
    numbers = (*shape, begin, end)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        raise _untrue(path, f"the entry of `{name}` has a size that is no whole number")
    if dtype not in WIDTHS:
        raise ModelError(
            f"`{path}`: `{name}` is stored as {dtype}, which lmtool doesn't read",
            hint=f"it reads {', '.join(WIDTHS)}",
        )
    if math.prod(shape) * WIDTHS[dtype] != end - begin:
        raise _untrue(
            path, f"`{name}` of shape {list(shape)} in {dtype} can't take {end - begin} bytes"
        )
    return Entry(dtype, shape, data + begin, data + end)


def _cut_short(path: Path, expected: str, size: int) -> ModelError:
    return ModelError(
        f"`{path}` is cut short: {expected} bytes expected, {size} there",
        hint="download it again",
    )


def _untrue(path: Path, what: str) -> ModelError:
    return ModelError(f"`{path}` is damaged: {what}", hint="download it again")
