"""The answers of a batch as they come: a file that only grows, and survives whatever stops us.

Its first line says which job it is of. Each other line is a row's answer, in the order in which
they came; of two for one row the later one holds. What a power cut has torn is left out when the
file is opened again, and those rows are run again.
"""

from __future__ import annotations

import json
import mmap
import os
from array import array
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, cast

from ... import UsageError
from ...tokenizer.files import lock, sync_folder, writing

FORMAT = 1
"""The first line's "lmtool batch"; a later lmtool may write another."""

SYNC_S = 1.0
"""Seconds of answers that a power cut may cost at most; a killed process costs none."""

KEY_BYTES = 8
_NOWHERE = -1
_HEAD = b'{"lmtool batch": '


class RowLog:
    """The log of one job, which this process has alone."""

    def __init__(self, handle: int, path: Path, sync_s: float) -> None:
        """Use `open_log`. It has a `header`, None if the job hasn't begun."""
        self.path = path
        self.header: dict[str, Any] | None = None
        self._handle = handle
        self._sync_s = sync_s
        self._synced = monotonic()
        self._forget()

    def begin(self, header: dict[str, Any]) -> None:
        """Forget all there is, and begin with `header`."""
        with writing(self.path):
            os.ftruncate(self._handle, 0)
        self._forget()
        self.header = header
        self._write(_line({"lmtool batch": FORMAT, **header}))
        self.sync()
        sync_folder(self.path.parent)

    def take_over(self, lines: Iterable[bytes]) -> None:
        """Put the lines of an earlier log behind what is there."""
        for line in lines:
            offset = self._end
            self._write(line)
            self._take(line, offset)
        self.sync()

    def add(self, row: int, key: str, answer: dict[str, Any]) -> None:
        """Put the answer to row number `row` behind what is there.

        `key` tells that row, and the settings, from any other.
        """
        line = _line({"row": row, "key": key, **answer})
        offset = self._end
        self._write(line)
        self._note(offset, row, key, "error" in answer)
        if monotonic() - self._synced >= self._sync_s:
            self.sync()

    def sync(self) -> None:
        """Have all that was added on the disk."""
        with writing(self.path):
            os.fsync(self._handle)
        self._synced = monotonic()

    @property
    def rows(self) -> int:
        """How many rows have an answer, or an error for one."""
        return self._rows

    @property
    def failed(self) -> int:
        """How many have an error."""
        return sum(self._errors)

    @property
    def last(self) -> int:
        """The highest number of a row that has an answer."""
        return len(self._offsets)

    def key_of(self, row: int) -> str | None:
        """The key of row number `row`, None if it has no answer."""
        if row > len(self._offsets) or self._offsets[row - 1] == _NOWHERE:
            return None
        return f"{self._keys[row - 1]:016x}"

    def drop_errors(self) -> None:
        """Have the rows that failed run again."""
        for place, failed in enumerate(self._errors):
            if failed:
                self._offsets[place], self._errors[place] = _NOWHERE, 0
                self._rows -= 1

    def lines(self, ordered: bool) -> Iterator[bytes]:
        """Each row's answer, in the rows' order or in that in which they came."""
        places = (offset for offset in self._offsets if offset != _NOWHERE)
        if not self._rows:
            return
        with mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ) as held:
            for offset in places if ordered else sorted(places):
                yield held[offset : held.find(b"\n", offset) + 1]

    def _forget(self) -> None:
        self._end = self._rows = 0
        # A million rows should cost some megabytes: by row number, where its answer lies.
        self._offsets, self._keys, self._errors = array("q"), array("Q"), bytearray()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with writing(self.path):
            while view:
                written = os.write(self._handle, view)
                view = view[written:]
                self._end += written

    def _note(self, offset: int, row: int, key: str, failed: bool) -> None:
        missing = row - len(self._offsets)
        if missing > 0:
            self._offsets.extend([_NOWHERE] * missing)
            self._keys.extend([0] * missing)
            self._errors.extend(bytes(missing))
        self._rows += self._offsets[row - 1] == _NOWHERE
        self._offsets[row - 1], self._keys[row - 1] = offset, int(key, 16)
        self._errors[row - 1] = failed

    def mend(self) -> None:
        """Read what is there, and cut off the line that isn't whole."""
        with open(self._handle, "rb", closefd=False) as stream:
            stream.seek(0)
            for line in stream:
                if not line.endswith(b"\n"):
                    if not self._end and not _may_be_header(line):
                        raise self._foreign()
                    break
                self._take(line, self._end)
                self._end += len(line)
        os.ftruncate(self._handle, self._end)

    def _take(self, line: bytes, offset: int) -> None:
        found = _parsed(line)
        if offset == 0:
            if found is None or found.pop("lmtool batch", None) != FORMAT:
                raise self._foreign()
            self.header = found
        elif found is not None:
            row, key = found.get("row"), found.get("key")
            if isinstance(row, int) and row > 0 and isinstance(key, str):
                self._note(offset, row, key, "error" in found)

    def _foreign(self) -> UsageError:
        return UsageError(
            f"`{self.path}` is there, and is no batch that can be gone on with",
            hint="-o takes another name",
        )


@contextmanager
def open_log(path: Path, output: Path, sync_s: float = SYNC_S) -> Generator[RowLog]:
    """The log at `path` of the answers for `output`, mended and this process's alone.

    Raises `UsageError` where another process has it, or it is something else's, `LmtoolError`
    where the disk refuses.
    """
    with writing(path):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags, 0o666)
    try:
        lock(handle, path, output)
        log = RowLog(handle, path, sync_s)
        with writing(path):
            log.mend()
        try:
            yield log
        finally:
            if log.header is None:  # nothing came of it
                path.unlink()
    finally:
        os.close(handle)


def _may_be_header(line: bytes) -> bool:
    """Whether a power cut can have left this of a first line: its beginning, zeros behind."""
    begun = line.rstrip(b"\0")[: len(_HEAD)]
    return _HEAD.startswith(begun)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None for what a power cut has left of one."""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
