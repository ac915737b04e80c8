"""Keeps what a library prints away from a command's own words."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

from .terminal import Terminal


@contextmanager
def hushed(terminal: Terminal) -> Generator[None]:
    """Send to nowhere what goes to stdout and stderr past `terminal`, unless it is to be verbose.

    C++ code writes to the files themselves, so it is they that lead elsewhere: `terminal` goes on
    with a copy. For code that prints nothing of its own to stdout.
    """
    if terminal.verbosity > 0:
        yield
        return
    before = terminal.stderr
    with suppress(OSError, AttributeError):
        before.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace") as ours:
            terminal.stderr = ours
            for stream in kept:
                os.dup2(nowhere, stream)
            yield
    finally:
        terminal.stderr = before
        os.close(nowhere)
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
