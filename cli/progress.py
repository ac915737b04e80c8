"""Progress for people: bars on a stderr that is a terminal, nothing anywhere else."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from math import log1p
from typing import TYPE_CHECKING

from .terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress


class TrainingBar:
    """The stages of training a tokenizer: reading, in bytes on disk, counting, and merging."""

    def __init__(self, bar: Progress, total: int | None, merges: int) -> None:
        """On `bar`, with `total` bytes to read (None: unknown) and at most so many `merges`."""
        self._bar = bar
        self._merges = merges
        self._total = total
        self._read = 0
        self._task = bar.add_task("reading", total=total, amount="")
        self._merging = False

    def read(self, count: int) -> None:
        """`count` more bytes have been read."""
        self._read += count
        amount = megabytes(self._read)
        if self._total is not None:
            amount += f" of {megabytes(self._total)}"
        self._bar.update(self._task, advance=count, amount=amount)
        if self._read == self._total:
            self._bar.reset(self._task, total=None, description="counting", amount="words")

    def merge(self, done: int) -> None:
        """`done` merges are made.

        The first merges are the most frequent and take longest: measured on 36 MB of English and
        13 MB of Japanese, time goes with the logarithm of their number, and so does the bar.
        """
        if not self._merging:
            self._merging = True
            self._bar.reset(self._task, total=log1p(self._merges), description="merging")
        amount = f"{done:,} of {self._merges:,}"
        self._bar.update(self._task, completed=log1p(done), amount=amount)


class StatusLine:
    """One line on stderr, written over again and again, where that is a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self._stream = terminal.stderr
        self._wanted = terminal.stderr_is_terminal and terminal.verbosity >= 0
        self._shown = False

    def show(self, text: str) -> None:
        """Put `text` in the place of what is there."""
        if not self._wanted:
            return
        with suppress(OSError):
            width = os.get_terminal_size(self._stream.fileno()).columns or 80
            self._stream.write(f"\r\x1b[K{text[: width - 1]}")
            self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Leave the line empty for whatever is written next."""
        if self._shown:
            with suppress(OSError):
                self._stream.write("\r\x1b[K")
                self._stream.flush()
        self._shown = False


@contextmanager
def training_bar(
    terminal: Terminal, total: int | None, merges: int
) -> Generator[TrainingBar | None]:
    """A bar with the time left while the block runs; None where there is nobody to see it.

    `total` is in bytes on disk, None if unknown; `merges` is how many will be made at most.
    """
    if not terminal.stderr_is_terminal or terminal.verbosity < 0:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    console = Console(
        file=terminal.stderr,
        width=os.get_terminal_size(terminal.stderr.fileno()).columns or None,
        no_color=not terminal.paints(terminal.stderr),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield TrainingBar(bar, total, merges)


def megabytes(count: int) -> str:
    """`count` bytes for people: in MB, or kB below one, or GB from one."""
    if count >= 1e9:
        return f"{count / 1e9:,.2f} GB"
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"
