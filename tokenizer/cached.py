"""What Hugging Face's cache holds of models: each snapshot, its size, whether it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from .. import LmtoolError, ModelError
from .repository import MAIN, Wanted, cache_folder, cached_names, missing, repository_folder


@dataclass(frozen=True)
class Cached:
    """One snapshot of a repository, or what there is of one that never came whole."""

    name: str
    revision: str
    """The branch or tag that means it, `main` if several do; else the commit."""
    commit: str | None
    folder: Path
    size: int
    """Bytes on the disk, what came of files that aren't whole among them.

    Files that several snapshots share count in each.
    """
    used: float | None
    """When a file of it was last read or written, in seconds since 1970."""
    lacks: tuple[str, ...]
    """Files that a model needs and that aren't there."""
    has_tokenizer: bool


def cached_models(cache: Path | None = None) -> list[Cached]:
    """Every snapshot in the cache by name; an empty list where there is no cache.

    What can't be read is taken for what it looks like: something that lacks its files.
    """
    cache = cache or cache_folder()
    found: list[Cached] = []
    for name in cached_names(cache):
        folder = repository_folder(name, cache)
        snapshots = list(_snapshots(name, folder))
        found += snapshots or _fragments(name, folder)
    return found


def remove(name: str, cache: Path | None = None) -> None:
    """Delete all that the cache holds of a repository.

    It is gone at once or not at all: its folder is moved out of sight before it is emptied.
    Raises `ModelError` if nothing of it is cached, and `LmtoolError` where the disk refuses.
    """
    cache = cache or cache_folder()
    if name not in cached_names(cache):
        raise ModelError(f"`{name}` isn't cached", hint="`lmtool models` lists what is")
    folder = repository_folder(name, cache)
    try:
        if folder.is_symlink():
            folder.unlink()
            return
        aside = Path(mkdtemp(dir=cache, prefix=".removed-"))
        folder.rename(aside / folder.name)
        shutil.rmtree(aside)
        shutil.rmtree(cache / ".locks" / folder.name, ignore_errors=True)
    except OSError as error:
        raise LmtoolError(f"cannot remove `{folder}`: {error.strerror or error}") from error


def _snapshots(name: str, folder: Path) -> Iterator[Cached]:
    names: dict[str, list[str]] = {}
    for path in sorted((folder / "refs").rglob("*")):
        with suppress(OSError, ValueError):
            commit = path.read_text("utf-8").strip()
            names.setdefault(commit, []).append(str(path.relative_to(folder / "refs")))
    for snapshot in _folders(folder / "snapshots"):
        revisions = names.get(snapshot.name, [])
        size, used = _measure(snapshot)
        lacks = tuple(missing(snapshot, Wanted.MODEL))
        if lacks:
            size += sum(_size(part) for part in (folder / "blobs").glob("*.incomplete"))
        yield Cached(
            name,
            MAIN if MAIN in revisions else (revisions or [snapshot.name])[0],
            snapshot.name,
            snapshot,
            size,
            used,
            lacks,
            not missing(snapshot, Wanted.TOKENIZER),
        )


def _fragments(name: str, folder: Path) -> list[Cached]:
    """What a download left that broke off before its first file was whole."""
    size, used = _measure(folder / "blobs")
    return [Cached(name, MAIN, None, folder, size, used, ("config.json",), False)] if size else []


def _folders(above: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(above) if entry.is_dir())
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _measure(folder: Path) -> tuple[int, float | None]:
    """The bytes of the files in a folder, each content once, and when one was last used."""
    contents: dict[tuple[int, int], os.stat_result] = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            stat = path.stat()
            if path.is_file():
                contents[stat.st_dev, stat.st_ino] = stat
    times = [max(stat.st_atime, stat.st_mtime) for stat in contents.values()]
    return sum(stat.st_size for stat in contents.values()), max(times, default=None)
