"""How a command ends: from what went wrong to one line on stderr and the contract's exit code."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from enum import IntEnum

from .. import InputError, LmtoolError, ModelError, OutOfMemoryError, UsageError
from .signals import Ended, TimeUp
from .terminal import ClosedPipeError, StdoutError, Terminal


class Exit(IntEnum):
    """The exit codes that scripts depend on."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    MODEL = 3
    INPUT = 4
    MEMORY = 5
    FAILED_ROWS = 6
    TIMEOUT = 124
    INTERRUPTED = 130
    CLOSED_PIPE = 141


_CODES: tuple[tuple[type[LmtoolError], Exit], ...] = (
    (UsageError, Exit.USAGE),
    (ModelError, Exit.MODEL),
    (InputError, Exit.INPUT),
    (OutOfMemoryError, Exit.MEMORY),
    (LmtoolError, Exit.FAILURE),
)


def explain_failure(error: BaseException, terminal: Terminal, debug: bool) -> int:
    """Say on stderr what `error` means to a user, and return the code to exit with."""
    # Rich leaves by SystemExit when the reader of a help page has gone.
    if isinstance(error, (ClosedPipeError, BrokenPipeError, SystemExit)):
        abandon_stdout()
        return Exit.CLOSED_PIPE
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, Ended):
        return error.code
    if isinstance(error, StdoutError):
        abandon_stdout()
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, LmtoolError):
        terminal.error(error.message, error.hint)
        return code_of(error)
    if isinstance(error, TimeUp):
        terminal.error("timed out", "give --timeout more seconds")
        return Exit.TIMEOUT
    if isinstance(error, MemoryError):
        terminal.error("out of memory", "try a smaller model, context or batch")
        return Exit.MEMORY
    if isinstance(error, OSError):
        where = f" `{error.filename}`" if error.filename else ""
        terminal.error(f"{error.strerror or error}{where}")
        return Exit.FAILURE
    terminal.error(
        f"unexpected {type(error).__name__}: {' '.join(str(error).split())}",
        "this is a bug in lmtool; `--debug` shows where",
    )
    return Exit.FAILURE


def code_of(error: LmtoolError) -> Exit:
    """The exit code that stands for `error`."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush can't fail aloud."""
    with suppress(OSError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
