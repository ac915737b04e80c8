"""Bytes from files and stdin, unpacked by their names: .gz, .xz and .zst, of one part or many."""

from __future__ import annotations

import io
import lzma
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from .. import InputError

if TYPE_CHECKING:
    from io import BufferedReader

BLOCK = 1 << 18
"""Bytes read at a time."""

STDIN = Path("-")
PACKED = (".gz", ".xz", ".zst")
"""Suffixes of compressed files, which may follow any of the others."""

_TESTERS = {".gz": "gzip -t", ".xz": "xz -t", ".zst": "zstd -t"}
# What so many bytes unpack to, at most 16 MiB: a bomb goes off in small portions.
_PACKED_BLOCK = {".gz": 1 << 14, ".xz": 1 << 11, ".zst": 1 << 9}


def source_name(source: Path) -> str:
    """How messages name a source: a quoted path, or stdin."""
    return "stdin" if source == STDIN else f"`{source}`"


def bare_suffix(path: Path) -> str:
    """The suffix under the packing: `.jsonl` for `a.jsonl.xz`."""
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix


def read_lines(path: Path) -> Iterator[bytes]:
    """A file's lines with their line breaks, each as soon as it is there."""
    with opened(path) as (_, data):
        yield from data


def read_some(path: Path) -> Iterator[bytes]:
    """A file's bytes, as many at a time as are there."""
    with opened(path) as (_, data):
        while block := cast("BufferedReader", data).read1(BLOCK):
            yield block


def read_bytes(path: Path, on_read: Callable[[int], None]) -> Iterator[bytes]:
    """A file's bytes in blocks; `on_read` hears how many were taken from disk, packed or not."""
    with opened(path) as (raw, data):
        before = 0
        while block := data.read(BLOCK):
            yield block
            # Packed files count as they lie on disk, since that total is known.
            now = raw.tell() if data is not raw else before + len(block)
            on_read(now - before)
            before = now


@contextmanager
def opened(path: Path) -> Generator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it lies there, and unpacked. Raises `InputError` for what can't be read."""
    if path == STDIN and sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise InputError("there is nothing to read: stdin is closed")
    try:
        with ExitStack() as stack:
            raw = sys.stdin.buffer if path == STDIN else stack.enter_context(path.open("rb"))
            yield raw, _unpacked(path, raw)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        tester = None if getattr(error, "errno", None) else _TESTERS.get(path.suffix)
        raise InputError(
            f"cannot read {source_name(path)}: {reason}",
            hint=tester and f"it is damaged or incomplete: `{tester} {path}` tells more",
        ) from error


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    if path.suffix == ".xz":
        return _unpacked_members(raw, ".xz", lzma.LZMADecompressor)
    if path.suffix == ".gz":
        # 31 is a gzip header and trailer, and the largest window.
        return _unpacked_members(raw, ".gz", lambda: zlib.decompressobj(31), zlib.error)
    if path.suffix == ".zst":
        return _unpacked_zstd(path, raw)
    return raw


def _unpacked_zstd(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Zstandard by the `zstandard` package or by the standard library (Python 3.14)."""
    try:
        zstandard = import_module("zstandard")
    except ImportError:
        pass
    else:
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        return _unpacked_members(raw, ".zst", unpacker.decompressobj, zstandard.ZstdError)
    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        raise InputError(
            f"`{path}` needs Python 3.14 or the `zstandard` package to be read",
            hint="`pip install 'lmtool[zstd]'`, or unpack it in a pipe: "
            f"`zstd -dc {path.name} | lmtool …`",
        ) from None
    return _unpacked_members(raw, ".zst", zstd.ZstdDecompressor, zstd.ZstdError)


def _unpacked_members(
    raw: IO[bytes], suffix: str, start: Callable[[], Any], error: type[Exception] = lzma.LZMAError
) -> IO[bytes]:
    members = _Members(raw, _PACKED_BLOCK[suffix], start, error)
    return cast("IO[bytes]", io.BufferedReader(members, BLOCK))


class _Members(io.RawIOBase):
    """All members of a packed file, one after another; the file must end where one of them does.

    The libraries' own readers take a file that is cut, or has rubbish behind a member, for a whole
    one, or stop after the first member.
    """

    def __init__(
        self, raw: IO[bytes], block: int, start: Callable[[], Any], error: type[Exception]
    ) -> None:
        self._raw = raw
        self._block = block
        self._start = start
        self._error = error
        self._member: Any = None
        self._packed: bytes = b""
        self._ready = memoryview(b"")
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready:
            if not self._unpack():
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _unpack(self) -> bool:
        """Unpack the next few bytes; False at the end of the file."""
        if self._begun and self._member is None:
            # Zeros may fill up .gz and .xz, and no member begins with one.
            self._packed = self._packed.lstrip(b"\0")
        if not self._packed:
            self._packed = self._raw.read(self._block)
            if not self._packed:
                if self._member is not None or not self._begun:
                    raise EOFError("it ends too early")
                return False
            return True
        if self._member is None:
            self._member, self._begun = self._start(), True
        try:
            self._ready = memoryview(self._member.decompress(self._packed))
        except self._error as error:
            raise EOFError(str(error)) from error
        self._packed = b""
        if self._member.eof:
            self._packed = self._member.unused_data
            self._member = None
        return True
