"""What a person enters in a talk: one line, or several, read from a pipe or a plain terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Protocol

from .. import InputError

FENCE = '"""'
"""What several lines are put between."""


@dataclass(frozen=True)
class Entry:
    """A text as it was entered; a `literal` one is a message, whatever it begins with."""

    text: str
    literal: bool = False


class InterruptError(Exception):
    """Somebody pressed Ctrl-C at the prompt, on an `empty` line or on one with text."""

    def __init__(self, empty: bool = True) -> None:
        super().__init__()
        self.empty = empty


class Reader(Protocol):
    """Where entries come from."""

    def read(self) -> Entry:
        """The next entry.

        Raises EOFError at the end, `InterruptError`, and `InputError` for text that isn't valid.
        """
        ...


def is_open(text: str) -> bool:
    """Whether `text` begins with a fence and the other is still to come."""
    return text.startswith(FENCE) and FENCE not in text[len(FENCE) :]


def entry_of(text: str) -> Entry:
    r"""`text` as an entry, a fence around it taken off.

    >>> entry_of('\"""one\ntwo\"""')
    Entry(text='one\ntwo', literal=True)
    """
    inside = text.strip()[len(FENCE) : -len(FENCE)]
    fenced = text.startswith(FENCE) and text.rstrip().endswith(FENCE)
    if fenced and len(text.strip()) >= 2 * len(FENCE) and FENCE not in inside:
        return Entry(inside.removeprefix("\n").removesuffix("\n"), literal=True)
    return Entry(text)


@dataclass
class LineReader:
    """Reads a stream line by line. A line goes on after a `\\` at its end, or within a fence.

    `ask` is called before each line, with whether it goes on from the one before.
    """

    stream: IO[bytes]
    ask: Callable[[bool], None] = field(default=lambda goes_on: None)
    _offset: int = 0

    def read(self) -> Entry:
        """See `Reader`."""
        self.ask(False)
        line = self._line()
        if line is None:
            raise EOFError
        if is_open(line):
            return entry_of("\n".join(self._fenced(line)))
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            self.ask(True)
            lines.append(self._line() or "")
        return entry_of("\n".join(lines))

    def _fenced(self, first: str) -> list[str]:
        lines = [first]
        while True:
            self.ask(True)
            line = self._line()
            if line is None:
                raise InputError(f"the input ends within {FENCE}")
            lines.append(line)
            if FENCE in line:
                return lines

    def _line(self) -> str | None:
        data = self.stream.readline()
        begin, self._offset = self._offset, self._offset + len(data)
        if not data:
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"stdin is not UTF-8: byte 0x{data[error.start]:02x} "
                f"at offset {begin + error.start}",
                hint="convert it first, for instance with `iconv -f latin1 -t utf-8`",
            ) from error
        return text.removesuffix("\n").removesuffix("\r")
