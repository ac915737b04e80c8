"""The prompt of a talk on a terminal, by prompt_toolkit: editing, several lines, pastes."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Size
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import (
    Processor,
    Transformation,
    TransformationInput,
)
from prompt_toolkit.output.vt100 import Vt100_Output

from .entries import Entry, InterruptError, entry_of, is_open
from .line_history import LinesInFile, LinesInMemory
from .signals import Ended, arrived, ending_by

PROMPT = "> "
GOES_ON = ". "
"""What stands before a message's further lines."""
MOST_LINES, MOST_LETTERS = 8, 600
"""A longer paste is shown by its size alone."""
FIRST_STAND_IN = 0x10F000
"""From here on private characters stand for pastes."""


@dataclass
class Pastes:
    """Long pastes, each held by one private character in the line, which stands for it."""

    texts: dict[str, str] = field(default_factory=dict[str, str])

    def hold(self, text: str) -> str:
        """What to put into the line for a pasted `text`: itself, unless it is long."""
        if text.count("\n") < MOST_LINES and len(text) < MOST_LETTERS:
            return text
        code = FIRST_STAND_IN + len(self.texts)
        while chr(code) in text:
            code += 1
        self.texts[chr(code)] = text
        return chr(code)

    def written_out(self, line: str) -> str:
        """`line` with its pastes as they were."""
        return "".join(self.texts.get(letter, letter) for letter in line)

    def shown(self, letter: str) -> str:
        """What a paste looks like: `[pasted 10,000 lines]`."""
        text = self.texts[letter]
        lines = text.count("\n") + (not text.endswith("\n"))
        size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
        return f"[pasted {size}]"


class LineEditor:
    """Reads entries on a terminal, `stream`, and draws there; lines are kept in `file`."""

    def __init__(self, stream: IO[str], file: Path | None = None) -> None:
        self._pastes = Pastes()
        written_out = self._pastes.written_out
        history = LinesInMemory(written_out) if file is None else LinesInFile(file, written_out)
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=GOES_ON,
            history=history,
            key_bindings=_keys(self._pastes),
            input_processors=[_ShowPastes(self._pastes)],
            enable_suspend=True,
            reserve_space_for_menu=0,
            output=_output(stream),
        )

    def read(self) -> Entry:
        """See `Reader`."""
        self._pastes.texts.clear()
        try:
            with _signals_kept(), _ended_in_turn(self._session.app):
                line = self._session.prompt()
        except KeyboardInterrupt:
            arrived()
            raise InterruptError from None
        return entry_of(self._pastes.written_out(line))


def _keys(pastes: Pastes) -> KeyBindings:
    """Enter sends, unless the message goes on; Alt-Enter begins a new line."""
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.text.endswith("\\") and buffer.document.is_cursor_at_the_end:
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        elif is_open(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("<bracketed-paste>", filter=typing)
    def _(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        event.current_buffer.insert_text(pastes.hold(text))

    @keys.add("c-c", filter=typing)
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        empty = not event.app.current_buffer.text
        event.app.exit(exception=InterruptError(empty), style="class:aborting")

    return keys


class _ShowPastes(Processor):
    """Shows a paste's stand-in as what it stands for."""

    def __init__(self, pastes: Pastes) -> None:
        self._pastes = pastes

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """See `Processor`."""
        fragments: StyleAndTextTuples = []
        starts: list[int] = []
        """Where each letter is shown."""
        end = 0
        for style, text, *_ in transformation_input.fragments:
            for letter in text:
                held = letter in self._pastes.texts
                shown = self._pastes.shown(letter) if held else letter
                fragments.append((f"{style} reverse" if held else style, shown))
                starts.append(end)
                end += len(shown)
        starts.append(end)
        if end == len(starts) - 1:
            return Transformation(transformation_input.fragments)

        def to_shown(place: int) -> int:
            return starts[min(place, len(starts) - 1)] + max(0, place - len(starts) + 1)

        def to_text(place: int) -> int:
            return max(n for n, start in enumerate(starts) if start <= max(place, 0))

        return Transformation(fragments, to_shown, to_text)


def _output(stream: IO[str]) -> Any:
    """Where to draw: `stream`, however small its window. It is never asked where its cursor is."""

    def size() -> Size:
        try:
            columns, rows = os.get_terminal_size(stream.fileno())
        except OSError:
            columns, rows = 0, 0
        return Size(rows=rows or 24, columns=columns or 80)

    term = os.environ.get("TERM")
    return Vt100_Output(stream, size, term, enable_bell=False, enable_cpr=False)  # pyright: ignore


@contextmanager
def _ended_in_turn(app: Application[str]) -> Generator[None]:
    """Let signals that end the command do so between two callbacks of the event loop."""
    heard: list[Ended] = []

    def leave() -> None:
        with suppress(Exception):  # the line is entered already, which `heard` makes good below
            app.exit(exception=heard[0])

    def end(ended: Ended) -> None:
        heard.append(ended)
        if app.loop is None or not app.is_running:
            raise ended
        app.loop.call_soon_threadsafe(leave)

    with ending_by(end):
        yield
        if heard:
            raise heard[0]


@contextmanager
def _signals_kept() -> Generator[None]:
    """Give signals back as they were: asyncio takes them over while it runs."""
    handler = signal.getsignal(signal.SIGINT)
    wakeup = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, handler)
