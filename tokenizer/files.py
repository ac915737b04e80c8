"""Whole files or none: write beside, flush to disk, rename."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import IO

from .. import LmtoolError


@contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
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
        handle, beside = mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(beside, _mode(target))
            os.replace(beside, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise LmtoolError(f"cannot write `{path}`: {error.strerror or error}") from error


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
