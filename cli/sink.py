"""Where a command's data goes: stdout, or the file that `-o` names."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .. import LmtoolError, UsageError
from .signals import Ended, arrived
from .terminal import Terminal

STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of stdout. Opened as a file, a redirected one would be emptied or replaced."""


class Sink(Protocol):
    """Takes text as it comes."""

    def write(self, text: str) -> None:
        """Put `text` behind what is there already."""
        ...


class _Stdout:
    def __init__(self, terminal: Terminal) -> None:
        self.write = terminal.out


class _Stream:
    """Something that can't be replaced (`/dev/stdout`, a FIFO): written as the text comes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def write(self, text: str) -> None:
        self._file.write(text.encode())


class _Held:
    """Text for a file that appears when it is complete."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)

    @property
    def data(self) -> bytes:
        return "".join(self.parts).encode("utf-8", "surrogatepass")


@contextmanager
def open_sink(path: Path | None, terminal: Terminal) -> Generator[Sink]:
    """The sink for `path`, or stdout for None and whatever else means it.

    A file takes its place when the block ends well. If a person ends it (Ctrl-C, SIGTERM), what
    was written so far is put beside it as `PATH.partial`; after an error nothing is left. Raises
    `LmtoolError` early where nothing could be written, or once the disk refuses.
    """
    if path is None or str(path) in STDOUT:
        yield _Stdout(terminal)
        return
    check_target(path)
    if path.exists() and (not path.is_file() or path.is_relative_to("/dev")):
        try:
            yield _Stream(path)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise LmtoolError(f"cannot write `{path}`: {error.strerror or error}") from error
        return
    held = _Held()
    try:
        yield held
    except (KeyboardInterrupt, Ended):
        arrived()
        if held.data:
            partial = path.with_name(path.name + ".partial")
            _put(partial, held.data)
            terminal.note(f"interrupted: what was written so far is in `{partial}`")
        raise
    _put(path, held.data)


def one_on_stdout(result: Path | None, *others: Path | None) -> None:
    """Raise `UsageError` where two of a command's results would go to stdout, as None means.

    None of the `others` are results that nobody asked for.
    """
    targets = [result or STDOUT[0], *others]
    if sum(str(target) in STDOUT for target in targets) > 1:
        raise UsageError("two results can't both go to stdout", hint="-o names a file for one")


def _put(path: Path, data: bytes) -> None:
    from ..tokenizer.files import replacing

    with replacing(path) as stream:
        stream.write(data)


def check_target(path: Path) -> None:
    """Say now what would go wrong after minutes of work."""
    if path.is_dir():
        raise LmtoolError(f"cannot write `{path}`: it is a folder")
    if not path.resolve().parent.is_dir():
        raise LmtoolError(f"cannot write `{path}`: no such folder: `{path.parent}`")
