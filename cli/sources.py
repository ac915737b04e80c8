"""Where a filter's input comes from: an argument, files, `-`, or stdin when nothing is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import InputError, UsageError
from ..tokenizer.corpus import STDIN, not_utf8, read_lines, read_text
from .prompt import argument_text
from .terminal import Terminal


class Source:
    """A text's bytes and all of them: no line break is dropped, no escape is read."""

    def __init__(self, files: Sequence[Path] | None, prompt: str | None = None) -> None:
        """From `files` one after another, or from `prompt`. Raises `UsageError` for both."""
        if prompt is not None and files:
            raise UsageError("-p and -f both name a text", hint="give one of them")
        self.files = tuple(files or (STDIN,))
        self._prompt = None if prompt is None else argument_text(prompt, "the text of -p")
        if self.files.count(STDIN) > 1:
            raise UsageError("stdin can be read only once: `-` is named twice")

    def blocks(self, terminal: Terminal) -> Iterator[str]:
        """The text in blocks. Raises `InputError` naming the place of a byte that isn't UTF-8."""
        if self._prompt is not None:
            yield self._prompt
            return
        self._say_if_typing(terminal, "text")
        for path in self.files:
            yield from read_text(path)

    def each(self, terminal: Terminal) -> Iterator[tuple[str | None, Iterator[str]]]:
        """Each text on its own, with the file's name, None for stdin and for -p."""
        if self._prompt is not None:
            yield None, iter([self._prompt])
            return
        self._say_if_typing(terminal, "text")
        for path in self.files:
            yield None if path == STDIN else str(path), read_text(path)

    def lines(self, terminal: Terminal) -> Iterator[str]:
        """The text line by line without its line breaks, each line as soon as it is there."""
        if self._prompt is not None:
            text = self._prompt.removesuffix("\n")
            yield from text.split("\n") if self._prompt else ()
            return
        self._say_if_typing(terminal, "text")
        for path in self.files:
            offset = 0
            for number, data in enumerate(read_lines(path), 1):
                try:
                    line = data.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise not_utf8(path, offset + error.start, number, error) from error
                offset += len(data)
                yield line.removesuffix("\n")

    def _say_if_typing(self, terminal: Terminal, what: str) -> None:
        if STDIN in self.files:
            say_if_typing(terminal, what)


def say_if_typing(terminal: Terminal, what: str) -> None:
    """Tell a person at the keyboard that the command waits for `what`, and how to end it.

    Raises `InputError` where there is no stdin at all.
    """
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # closed by our parent
        raise InputError("there is nothing to read: stdin is closed")
    if sys.stdin.isatty():
        terminal.note(f"reading {what} from stdin, Ctrl-D ends")
