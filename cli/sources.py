"""Where a filter's text comes from: an argument, files, `-`, or stdin when nothing is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import InputError, UsageError
from ..tokenizer.decoding import Errors, Faults, decode, read_text
from ..tokenizer.opening import STDIN, read_some, source_name
from .prompt import argument_text
from .terminal import Terminal
from .token_options import Records

TEXT_HINT = "`-p TEXT` takes the text itself"
ENDS: dict[Records, bytes] = {"lines": b"\n", "zero": b"\0"}
"""What ends a text of many."""


class Source:
    """A text's bytes and all of them: no line break is dropped, no escape is read.

    What isn't UTF-8 raises `InputError` naming the place; or, as `errors` has it, is replaced or
    left out, and counted in a warning at the end of its file.
    """

    def __init__(
        self,
        terminal: Terminal,
        files: Sequence[Path] | None,
        prompt: str | None = None,
        errors: Errors = "strict",
    ) -> None:
        """From `files` one after another, or from `prompt`. Raises `UsageError` for both."""
        if prompt is not None and files:
            raise UsageError("-p and a file both name a text", hint="give one of them")
        self._terminal = terminal
        self._errors: Errors = errors
        self._prompt = None if prompt is None else argument_text(prompt, "the text of -p")
        self.files = named_once(files or ())

    def blocks(self) -> Iterator[str]:
        """The whole text in blocks. Raises `InputError`, at once, for a file that isn't there."""
        if self._prompt is not None:
            yield self._prompt
            return
        check_files(self.files)
        for path in self.files:
            yield from self.text_of(path)

    def text_of(self, path: Path) -> Iterator[str]:
        """The text of one file in blocks."""
        check_files([path], TEXT_HINT if len(self.files) == 1 else None)
        self._say_if_typing(path)
        faults = Faults()
        yield from read_text(path, errors=self._errors, faults=faults)
        self._warn(path, faults)

    def named(self) -> Iterator[tuple[Path | None, Iterator[str]]]:
        """Each text on its own, with the file's path, None for -p."""
        if self._prompt is not None:
            yield None, iter([self._prompt])
            return
        for path in self.files:
            yield path, self.text_of(path)

    def texts(self, records: Records) -> Iterator[list[str]]:
        """Many texts, without what ends each: as many at a time as have come."""
        end = ENDS[records]
        if self._prompt is not None:
            parts = self._prompt.split(end.decode())
            yield parts[:-1] if not parts[-1] else parts
            return
        check_files(self.files)
        for path in self.files:
            self._say_if_typing(path)
            yield from self._texts_of(path, end)

    def lines(self) -> Iterator[str]:
        """The text line by line without its line breaks, each as soon as it is there."""
        return (line for batch in self.texts("lines") for line in batch)

    def _texts_of(self, path: Path, end: bytes) -> Iterator[list[str]]:
        faults = Faults()
        offset, line = 0, 1
        for batch in split_as_it_comes(path, end):
            texts: list[str] = []
            for data in batch:
                try:
                    texts.append(data.decode("utf-8"))
                except UnicodeDecodeError:
                    if self._errors == "strict" and texts:  # what came before is answered
                        yield texts
                        texts = []
                    known = decode([data], path, self._errors, faults, (offset, line))
                    texts.append("".join(known))
                offset += len(data) + 1
                line += data.count(b"\n") + (end == b"\n")
            yield texts
        self._warn(path, faults)

    def _warn(self, path: Path, faults: Faults) -> None:
        if faults.count:
            self._terminal.warn(faults_in_words(path, faults, self._errors))

    def _say_if_typing(self, path: Path) -> None:
        if path == STDIN:
            say_if_typing(self._terminal, "text")


def split_as_it_comes(path: Path, end: bytes) -> Iterator[list[bytes]]:
    """The parts of a file that `end` closes, and what follows the last: all that have come.

    A part is there as soon as its end is, before more is read.
    """
    held: list[bytes] = []
    for block in read_some(path):
        first, *others = block.split(end)
        held.append(first)
        if others:
            rest = others.pop()
            yield [b"".join(held), *others]
            held = [rest]
    if any(held):
        yield [b"".join(held)]


def named_once(files: Sequence[Path]) -> tuple[Path, ...]:
    """`files`, or stdin where none is named. Raises `UsageError` if stdin is named twice."""
    if list(files).count(STDIN) > 1:
        raise UsageError("stdin can be read only once: `-` is named twice")
    return tuple(files or (STDIN,))


def names_in(path: Path) -> tuple[Path, ...]:
    """The names of files in the file at `path`, each ended by NUL, as `find -print0` has them.

    Raises `InputError` for a name that is empty, or `-` where stdin holds the names.
    """
    data = b"".join(read_some(path))
    names = (
        tuple(os.fsdecode(name) for name in data.removesuffix(b"\0").split(b"\0")) if data else ()
    )
    if not names:
        raise InputError(f"{source_name(path)} names no files")
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"name number {number} in {source_name(path)} is empty")
        if path == STDIN and name == "-":
            raise InputError("stdin holds the names of files, so it can't be one of them")
    return tuple(Path(name) for name in names)


def check_files(paths: Sequence[Path], hint: str | None = TEXT_HINT) -> None:
    """Raise `InputError` for the first of `paths` that can't be read, before any of them is.

    `hint` is for a name that no file has.
    """
    for path in paths:
        if path == STDIN:
            continue
        try:
            folder = path.is_dir()
            there = folder or path.exists()
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read `{path}`: {error}") from error
        if not there:
            raise InputError(f"no such file: `{path}`", hint=None if path.is_symlink() else hint)
        if folder:
            raise InputError(
                f"`{path}` is a folder", hint="name the files in it, for instance with `find`"
            )
        if not os.access(path, os.R_OK):
            raise InputError(f"cannot read `{path}`: Permission denied")


def faults_in_words(path: Path, faults: Faults, errors: Errors) -> str:
    """How much of a file isn't UTF-8, what became of it, and where the first such byte is."""
    done = f"{faults.count:,} U+FFFD put in"
    if errors == "skip":
        done = f"{faults.count:,} byte{'' if faults.count == 1 else 's'} left out"
    return (
        f"{source_name(path)} is not UTF-8: {done}, "
        f"the first at offset {faults.offset}, line {faults.line}"
    )


def say_if_typing(terminal: Terminal, what: str) -> None:
    """Tell a person at the keyboard that the command waits for `what`, and how to end it.

    Raises `InputError` where there is no stdin at all.
    """
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # closed by our parent
        raise InputError("there is nothing to read: stdin is closed")
    if sys.stdin.isatty():
        terminal.note(f"reading {what} from stdin, Ctrl-D ends")
