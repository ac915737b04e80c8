"""Progress for people: bars on a stderr that is a terminal, nothing anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .terminal import Terminal

Advance = Callable[[int], None]
"""Called with the bytes done since the last call."""


def _silent(count: int) -> None:
    del count


@contextmanager
def reading(terminal: Terminal, what: str, total: int | None) -> Iterator[Advance]:
    """A bar over `total` bytes (None: unknown) with speed and time left, while the block runs.

    At the total it turns into a spinner with `what` follows, since the bytes are all there is to
    measure.
    """
    if not terminal.stderr_is_terminal or terminal.verbosity < 0:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=terminal.stderr, no_color=not terminal.paints(terminal.stderr)),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
