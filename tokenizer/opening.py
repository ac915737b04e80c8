"""Bytes from files and stdin, unpacked by their names: .gz, .xz and .zst, of one part or many."""

from __future__ import annotations

import gzip
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
# 512 bytes of Zstandard unpack to 16 MiB at most: a bomb goes off in small portions.
_ZSTD_INPUT = 512


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
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        tester = None if getattr(error, "errno", None) else _TESTERS.get(path.suffix)
        raise InputError(
            f"cannot read {source_name(path)}: {reason}",
            hint=tester and f"it is damaged or incomplete: `{tester} {path}` tells more",
        ) from error


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    if path.suffix == ".xz":
        return cast("IO[bytes]", lzma.open(raw))
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(raw))
    if path.suffix == ".zst":
        return _unpacked_zstd(path, raw)
    return raw


def _unpacked_zstd(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Zstandard by the `zstandard` package or by the standard library (Python 3.14)."""
    try:
        return cast("IO[bytes]", io.BufferedReader(_Zstd(raw, import_module("zstandard")), BLOCK))
    except ImportError:
        pass
    try:
        return cast("IO[bytes]", import_module("compression.zstd").open(raw, "rb"))
    except ImportError:
        raise InputError(
            f"`{path}` needs Python 3.14 or the `zstandard` package to be read",
            hint="`pip install 'lmtool[zstd]'`, or unpack it in a pipe: "
            f"`zstd -dc {path.name} | lmtool …`",
        ) from None


class _Zstd(io.RawIOBase):
    """All frames of a Zstandard file, one after another; the end of the file must be that of one.

    The package's own reader stops after the first frame, and takes a cut file for a whole one.
    """

    def __init__(self, raw: IO[bytes], package: Any) -> None:
        self._raw = raw
        self._package = package
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

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
        if not self._packed:
            self._packed = self._raw.read(_ZSTD_INPUT)
        if not self._packed:
            if self._frame is not None:
                raise EOFError("it ends in the middle of a Zstandard frame")
            return False
        if self._frame is None:
            self._frame = self._package.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(self._packed))
        except self._package.ZstdError as error:
            raise EOFError(str(error)) from error
        self._packed = b""
        if self._frame.eof:
            self._packed = self._frame.unused_data
            self._frame = None
        return True
