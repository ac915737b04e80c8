"""A disk that fails: a process killed in the middle of a write, power cut, no space left.

`FailingDisk` counts what is done to the files of one folder through `os`, and at a chosen operation
ends it all: from then on nothing is done any more, as if the process were dead. `settle` then makes
of the folder what such an end may leave: after a power cut, what was not flushed is lost, or torn.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

Fault = Literal["killed", "power cut", "no space"]


class DeadError(BaseException):
    """The process is no more."""


@dataclass
class FailingDisk:
    """Fails at operation number `at`, counted from 0; with `at` -1 it only counts, in `count`."""

    folder: Path
    at: int
    fault: Fault = "killed"
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    count: int = 0
    _dead: bool = False
    _full: bool = False
    _flushed: dict[Path, bytes] = field(default_factory=dict)
    """What of each file is on the disk for certain."""
    _undo: list[tuple[Path, bytes | None]] = field(default_factory=list)
    """What names had before, for changes of names that were not flushed."""

    def __post_init__(self) -> None:
        self._flushed = {path: path.read_bytes() for path in self.folder.iterdir()}

    @contextmanager
    def mounted(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The folder is on this disk while the block runs; `DeadError` ends there."""
        real = {name: getattr(os, name) for name in _HANDLED}
        with monkeypatch.context() as scope:
            for name in _HANDLED:
                scope.setattr(os, name, self._handler(name, real[name]))
            with suppress(DeadError):
                yield
        if self.fault == "power cut" and self._dead:
            self._settle()

    def _handler(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def handled(*arguments: Any, **named: Any) -> Any:
            if self._path_of(arguments[0]) is None:
                return real(*arguments, **named)
            if self._dead:
                raise DeadError
            here, self.count = self.count == self.at, self.count + 1
            if here or self._full:
                return self._fail(name, real, *arguments)
            if name in ("replace", "unlink"):
                self._note_names(name, *arguments)
            done = real(*arguments, **named)
            if name == "fsync":
                self._note_flush(arguments[0])
            return done

        return handled

    def _fail(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        """The operation isn't done, or a part of it, or it is the last."""
        if name == "write":
            data = bytes(arguments[1])
            real(arguments[0], data[: self.chance.randint(0, len(data))])
        elif self.fault == "no space" and name in ("unlink", "ftruncate"):
            return real(*arguments)
        elif self.fault != "no space" and self.chance.random() < 0.5:
            if name in ("replace", "unlink"):
                self._note_names(name, *arguments)
            real(*arguments)
        if self.fault == "no space":
            self._full = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._dead = True
        raise DeadError

    def _path_of(self, target: Any) -> Path | None:
        """The file of the folder that is meant, by name or by number; None for any other."""
        path = Path(os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target)
        path = path if path.is_absolute() else Path.cwd() / path
        return path if path == self.folder or path.parent == self.folder else None

    def _note_names(self, name: str, *arguments: Any) -> None:
        path = self._path_of(arguments[-1])
        assert path is not None
        before = self._flushed.get(path)
        self._undo.append((path, before if path.exists() else None))
        if name == "replace":
            moved = self._path_of(arguments[0])
            assert moved is not None
            self._flushed[path] = self._flushed.pop(moved, b"")
        else:
            self._flushed.pop(path, None)

    def _note_flush(self, handle: int) -> None:
        path = self._path_of(handle)
        assert path is not None
        if path == self.folder:
            self._undo.clear()
        elif path.exists():
            self._flushed[path] = path.read_bytes()

    def _settle(self) -> None:
        """What a power cut leaves: of what wasn't flushed a part, or zeros, or nothing."""
        for path in self.folder.iterdir():
            now, kept = path.read_bytes(), self._flushed.get(path, b"")
            if now != kept and now.startswith(kept):
                tail = now[len(kept) :]
                tail = tail[: self.chance.randint(0, len(tail))]
                if self.chance.random() < 0.5:  # the size reached the disk, the data didn't
                    hole = self.chance.randint(0, len(tail))
                    tail = tail[:hole] + bytes(len(tail) - hole)
                path.write_bytes(kept + tail)
            elif now != kept:
                path.write_bytes(kept if self.chance.random() < 0.5 else now)
        lost = self.chance.randint(0, len(self._undo))
        for path, before in reversed(self._undo[len(self._undo) - lost :]):
            if before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before)


_HANDLED = ("write", "fsync", "ftruncate", "replace", "unlink")
