"""`lmtool doctor`: what loading a checkpoint would fail on, before loading it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..completion import complete_model
from ..exits import Exit
from ..fetching import find_model
from ..options import (
    Color,
    ColorWhen,
    Debug,
    OneObject,
    Quiet,
    ReckonedCache,
    ReckonedContext,
    Verbose,
    open_terminal,
)
from ..terminal import Terminal
from ..token_options import Offline

EPILOG = """Examples:

lmtool doctor ./checkpoint

lmtool doctor ./checkpoint -c 32768 --json"""

MARKS = {"ok": ("ok", "32"), "warning": ("warning", "33"), "error": ("error", "31")}


def doctor(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_model,
            help="A checkpoint folder, a repository id, or `default`.",
        ),
    ] = "default",
    ctx_size: ReckonedContext = None,
    kv_dtype: ReckonedCache = "auto",
    json: OneObject = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> int:
    """Examine a checkpoint without loading it: files, shards, weights, vocabulary, memory.

    Exits 3 if loading would fail.
    """
    terminal = open_terminal(quiet, verbose, color)
    folder = find_model(model, offline, terminal)
    from ...engine.examine import Examination, as_json

    examination = Examination(folder, ctx_size, kv_dtype)
    if json:
        terminal.out_json(
            {
                "path": str(folder),
                "loads": not examination.failed,
                "findings": as_json(examination.findings),
            }
        )
    else:
        for finding in examination.findings:
            _show(terminal, finding.check, finding.level, finding.message, finding.hint)
    return Exit.MODEL if examination.failed else Exit.DONE


def _show(terminal: Terminal, check: str, level: str, message: str, hint: str | None) -> None:
    mark, code = MARKS[level]
    mark = f"{mark:>7}"
    if terminal.stdout is not None and terminal.paints(terminal.stdout):
        mark = f"\x1b[{code}m{mark}\x1b[0m"
    terminal.out(f"{mark}  {check}: {message}\n")
    if hint:
        terminal.out(f"         hint: {hint}\n")
