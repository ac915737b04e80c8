"""What a batch says on stderr: how far it is, on a terminal, and what came of it."""

from __future__ import annotations

from pathlib import Path

from ..terminal import Terminal
from .job import Counts
from .running import Tally


def tell_done(terminal: Terminal, output: Path, counts: Counts, tally: Tally | None = None) -> None:
    """The counts, and how fast it went; without `tally` it was done before."""
    failed = f", {counts.failed:,} of them failed" if counts.failed else ""
    text = f"{counts.rows:,} rows{failed}: `{output}`"
    if tally is None:
        terminal.note(f"nothing to do: {text}")
        return
    terminal.note(f"{text}; {tally.tokens:,} tokens, {tally.tokens_per_s:,.0f} a second")
