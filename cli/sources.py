"""Where a filter's input comes from: files, `-`, or stdin when nothing is named."""

from __future__ import annotations

import sys

from .terminal import Terminal


def say_if_typing(terminal: Terminal, what: str) -> None:
    """Tell a person at the keyboard that the command waits for `what`, and how to end it."""
    if sys.stdin.isatty():
        terminal.note(f"reading {what} from stdin, Ctrl-D ends")
