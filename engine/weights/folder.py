"""A new folder that is there whole or not at all. No torch, so that a refusal comes at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from ... import LmtoolError, UsageError


def check_target(folder: Path) -> None:
    """Raise `UsageError` if a folder can't take the result, before the work is done."""
    try:
        if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
            raise UsageError(f"`{folder}` is not a folder", hint="-o takes the folder to write")
        if folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"`{folder}` is not empty", hint="-o takes a new folder")
    except OSError as error:
        raise UsageError(f"cannot write `{folder}`: {error.strerror or error}") from error


@contextmanager
def new_folder(folder: Path) -> Generator[Path]:
    """A folder that becomes `folder` once the block ends without an error, on the disk for good.

    After an error nothing is left behind. Raises `LmtoolError` where the disk refuses.
    """
    target = folder.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            yield beside
            for path in [*beside.iterdir(), beside]:
                _sync(path)
            mask = os.umask(0)
            os.umask(mask)
            beside.chmod(0o777 & ~mask)
            if target.is_dir():
                target.rmdir()  # empty, or this refuses
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise LmtoolError(f"cannot write `{folder}`: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    """Make a file or a folder's entries durable, where the system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)
