"""Whole files or none: write beside, flush to disk, rename. And files that one run has alone."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import IO

from .. import LmtoolError, UsageError


@contextmanager
def replacing(path: Path, beside: Path | None = None) -> Generator[IO[bytes]]:
    """A binary file that takes the place of `path` once the block ends without an error.

    Until then `path` stays as it was; after an error nothing is left behind. Something that isn't
    a plain file (`/dev/stdout`, a FIFO) is written straight through, since it can't be replaced.
    Until then it is called `beside`, for those who have that name alone: a run that is killed
    leaves it for the next one to write over. Otherwise it has a name that nobody else takes.
    Raises `LmtoolError` where the disk refuses.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
            return
        target = path.resolve()  # a link stays a link: what it points to is replaced
        opened: int | Path
        if beside is None:
            opened, name = mkstemp(dir=target.parent, prefix=f".{target.name}.")
            beside = Path(name)
        else:
            opened = beside
        try:
            with open(opened, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(beside, _mode(target))
            os.replace(beside, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise
        sync_folder(target.parent)
    except OSError as error:
        reason = error.strerror or error
        if isinstance(error, FileNotFoundError) and not path.resolve().parent.is_dir():
            reason = f"no such folder: `{path.parent}`"
        raise LmtoolError(f"cannot write `{path}`: {reason}") from error


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the disk refuses about `path`, or what it names itself, into `LmtoolError`."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise LmtoolError(f"cannot write `{where}`: {error.strerror or error}") from error


def lock(handle: int, path: Path, output: Path) -> None:
    """Have the open file at `path` alone until `handle` is closed, or the process ends somehow.

    Raises `UsageError` if another process has it, or has just finished `output` with it.
    """
    try:
        import fcntl
    except ImportError:  # Windows lets nobody rename what another one has open
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"another run is writing `{output}`", hint="wait for its end, or name another file"
        ) from error
    # Whoever had it may have renamed or removed it between our opening and our locking.
    if not path.exists() or not os.path.samestat(path.stat(), os.fstat(handle)):
        raise UsageError(f"another run has just written `{output}`", hint="look at it first")


def _mode(target: Path) -> int:
    """The permissions the file has, or would get from the umask."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Make names in a folder, new or changed, durable, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
