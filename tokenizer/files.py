"""Whole files or none: write beside, flush to disk, rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from .. import LmtoolError


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` once the block ends without an error.

    Until then `path` stays as it was; after an error nothing is left behind. Something that isn't
    a plain file (`/dev/stdout`, a FIFO) is written straight through, since it can't be replaced.
    Raises `LmtoolError` where the disk refuses.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
            return
        target = path.resolve()  # a link stays a link: what it points to is replaced
        beside = NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False)
        try:
            with beside:
                yield beside
                beside.flush()
                os.fsync(beside.fileno())
            os.chmod(beside.name, _mode(target))
            os.replace(beside.name, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside.name)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise LmtoolError(f"cannot write `{path}`: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path` as UTF-8, whole or not at all."""
    with replacing(path) as stream:
        stream.write(text.encode())


def _mode(target: Path) -> int:
    """The permissions the file has, or would get from the umask."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
