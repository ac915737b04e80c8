"""Finds the model or tokenizer that a command names; what has to be fetched is seen to come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .progress import megabytes
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..tokenizer.repository import Wanted


def find_model(name: str, offline: bool, terminal: Terminal) -> Path:
    """The folder of the checkpoint that `name` means, fetched if need be. See `locate`."""
    from ..tokenizer.repository import Wanted

    return _find(name, offline, Wanted.MODEL, terminal)


def find_tokenizer(name: str, offline: bool, terminal: Terminal) -> Path:
    """The folder or tokenizer.json that `name` means; of a repository its tokenizer is enough."""
    from ..tokenizer.repository import Wanted

    return _find(name, offline, Wanted.TOKENIZER, terminal)


def find_adapter(name: str, offline: bool, terminal: Terminal) -> Path:
    """The folder of the adapter that `name` means, or its file; fetched if need be."""
    from ..tokenizer.locate import DEFAULT
    from ..tokenizer.repository import Wanted

    if name == DEFAULT:  # which is no adapter, but can be a folder's name
        return Path(name)
    return _find(name, offline, Wanted.ADAPTER, terminal)


def _find(name: str, offline: bool, wanted: Wanted, terminal: Terminal) -> Path:
    from ..tokenizer.locate import locate

    bar = DownloadBar(terminal)
    try:
        return locate(name, offline, wanted, bar)
    finally:
        bar.close()


class DownloadBar:
    """Says what is fetched, and draws a bar with rate and time left where a terminal shows it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        quiet = terminal.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "") not in ("", "0")
        self._drawn = terminal.stderr_is_terminal and terminal.verbosity >= 0 and not quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, repository: str, files: int, size: int, there: int) -> None:
        """See `Watch`."""
        what = f"{files} files" if files > 1 else "1 file"
        went_on = f", {megabytes(there)} of them there already" if there else ""
        if self._drawn:
            self._terminal.stderr.write("\r\x1b[K")  # over a status line that may stand there
        self._terminal.note(f"fetching {repository}: {what}, {megabytes(size)}{went_on}")
        if not self._drawn:
            return
        if self._bar is None:
            self._bar = _download_columns(self._terminal)
            self._bar.start()
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task("", total=size or None, completed=there)

    def file(self, name: str) -> None:
        """See `Watch`."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=name)

    def advance(self, count: int) -> None:
        """See `Watch`."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count)

    def close(self) -> None:
        """Leave the line empty for whatever is written next."""
        if self._bar is not None:
            self._bar.stop()


def _download_columns(terminal: Terminal) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    console = Console(
        file=terminal.stderr,
        width=os.get_terminal_size(terminal.stderr.fileno()).columns or None,
        no_color=not terminal.paints(terminal.stderr),
    )
    return Progress(*columns, console=console, transient=True)
