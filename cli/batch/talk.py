"""What a batch says on stderr: how far it is, on a terminal, and what came of it; and --timings."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from ...tokenizer.files import writing
from ..progress import StatusLine
from ..signals import Ended
from ..terminal import Terminal
from .job import Counts
from .running import Tally

SHOW_S = 0.2
"""Seconds between two looks at how far we are."""


@contextmanager
def watched(
    terminal: Terminal, partial: Path, rows: int | None
) -> Generator[Callable[[Tally], None]]:
    """A line that says how far we are of so many `rows`, and after a signal, how to go on."""
    status, shown, last = StatusLine(terminal), 0.0, None

    def show(tally: Tally) -> None:
        nonlocal shown, last
        last = tally
        if monotonic() - shown >= SHOW_S:
            shown = monotonic()
            status.show(progress_in_words(tally, rows))

    try:
        yield show
    except (KeyboardInterrupt, Ended):
        status.clear()
        of = "" if rows is None else f" of {rows:,}"
        done = 0 if last is None else last.done
        terminal.note(
            f"stopped: {done:,}{of} rows are answered in `{partial}`; the same command goes on"
        )
        raise
    finally:
        status.clear()


def progress_in_words(tally: Tally, rows: int | None) -> str:
    """How many rows are done, how fast it goes, and how long it may take."""
    of = "" if rows is None else f" of {rows:,}"
    parts = [f"{tally.done:,}{of} rows"]
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    parts.append(f"{tally.tokens_per_s:,.0f} tokens/s")
    if rows is not None and tally.fresh:
        left = (rows - tally.done) * tally.seconds / tally.fresh
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds for people: `8 s`, `2:05`, `3:07:00`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def tell_done(terminal: Terminal, output: Path, counts: Counts, tally: Tally | None = None) -> None:
    """The counts, and how fast it went; without `tally` it was done before."""
    failed = f", {counts.failed:,} of them failed" if counts.failed else ""
    text = f"{counts.rows:,} row{'' if counts.rows == 1 else 's'}{failed}: `{output}`"
    if tally is None:
        terminal.note(f"nothing to do: {text}")
        return
    terminal.note(
        f"{text}; {tally.tokens:,} tokens in {duration(tally.seconds)}, "
        f"{tally.tokens_per_s:,.0f} tokens/s"
    )


@contextmanager
def open_timings(path: Path | None) -> Generator[Callable[[dict[str, Any]], None] | None]:
    """What takes a line of --timings; a run that goes on puts its own behind those there are."""
    if path is None:
        yield None
        return
    with writing(path):
        stream = path.open("a", encoding="utf-8")

    def write(line: dict[str, Any]) -> None:
        with writing(path):
            print(json.dumps(line), file=stream, flush=True)

    with stream:
        yield write
