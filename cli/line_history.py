"""The lines typed in talks, kept in a file that only its owner may read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

LARGEST = 1 << 20
"""Bytes of the file; beyond, the older half goes."""
LONGEST = 1 << 13
"""Characters of an entry that is kept: a pasted book is not typed again."""


def history_path(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/lmtool/chat_history`."""
    base = environ.get("XDG_STATE_HOME")
    # The standard has relative paths ignored.
    home = Path(base) if base and Path(base).is_absolute() else Path("~/.local/state").expanduser()
    return home / "lmtool" / "chat_history"


def open_history(path: Path) -> None:
    """Make the file, private, and take its older half away where it is large.

    Raises OSError where that can't be.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    os.chmod(path, 0o600)
    if path.stat().st_size > LARGEST:
        from ..tokenizer.files import replacing

        half = path.read_bytes()[-LARGEST // 2 :]
        begin = half.find(b"\n# ")  # where prompt_toolkit begins an entry
        with replacing(path) as stream:
            stream.write(half[begin:])


class _WrittenOut(History):
    """Keeps what `written_out` makes of an entry, unless that is very long."""

    written_out: Callable[[str], str]

    def append_string(self, string: str) -> None:
        """Keep an entry."""
        string = self.written_out(string)
        if len(string) <= LONGEST:
            super().append_string(string)


class LinesInMemory(_WrittenOut, InMemoryHistory):
    """The lines of this talk."""

    def __init__(self, written_out: Callable[[str], str]) -> None:
        super().__init__()
        self.written_out = written_out


class LinesInFile(_WrittenOut, FileHistory):
    """The lines of all talks, as far as the disk and their letters allow."""

    def __init__(self, path: Path, written_out: Callable[[str], str]) -> None:
        super().__init__(str(path))
        self.written_out = written_out

    def store_string(self, string: str) -> None:
        """Write an entry to the file."""
        with suppress(OSError, ValueError):
            super().store_string(string)
