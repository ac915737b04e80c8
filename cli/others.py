"""Being one of several processes that share a model: the first alone is a command."""

from __future__ import annotations

import os
from contextlib import suppress

from .. import LmtoolError
from ..engine.launch import launched
from .exits import code_of
from .signals import nothing_open


def follows() -> bool:
    """Whether it is another process that reads the command line and talks to the user."""
    with suppress(LmtoolError):  # which is told by whoever loads a model
        launch = launched()
        if launch is not None:
            # Or torch prints a stack of its own for each process that is gone.
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        return launch is not None and launch.rank > 0
    return False


def follow() -> int:
    """Compute what the first process says until it ends, and give the code to exit with.

    It also says what went wrong here.
    """
    with nothing_open():
        from ..engine.ranks import follow as obey
    try:
        return obey()
    except LmtoolError as error:
        return code_of(error)


def end_others(code: int) -> None:
    """Let the processes that share this one's model, if there are any, end as it does."""
    with suppress(LmtoolError):
        launch = launched()
        if launch is not None and launch.rank == 0:
            from ..engine.ranks import leave

            leave(code)
