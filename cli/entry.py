"""The way in: everything heavy is imported under a roof that knows Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line and exit by the contract: errors become one line and a code."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = 130
    if "WORLD_SIZE" in os.environ:
        from .others import end_others

        end_others(code)
    if code < 124 and "torch" not in sys.modules:
        sys.exit(code)
    # Torn down in the middle of its work, torch may crash, and at best takes a fifth of a second.
    # What was written is out already, but for what Python itself may hold.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # None where our parent closed it
            stream.flush()
    os._exit(code)


def _run() -> int:
    from .signals import Ended, watch_signals

    _hold_standard_streams()
    watch_signals()
    try:
        from .others import follow, follows

        if follows():
            return follow()
        from .app import run

        return run(sys.argv[1:])
    except Ended as ended:
        return ended.code


def _hold_standard_streams() -> None:
    """Put `/dev/null` where our parent closed stdin, stdout or stderr.

    Else the next file that we open gets its number, and is written or read in its place.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
