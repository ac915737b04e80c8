"""The way in: everything heavy is imported under a roof that knows Ctrl-C."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit by the contract: errors become one line and a code."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = 130
    if code >= 124:
        # Torn down in the middle of its work, torch may take its time or crash. What was written
        # to stdout is out already.
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    from .signals import Ended, watch_signals

    _hold_standard_streams()
    watch_signals()
    try:
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
