"""The way in: everything heavy is imported under a roof that knows Ctrl-C."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit by the contract: errors become one line and a code."""
    try:
        from .signals import Ended, end_now, watch_signals

        _hold_standard_streams()
        watch_signals()
        try:
            from .app import run

            code = run(sys.argv[1:])
        except Ended as ended:
            code = ended.code
    except KeyboardInterrupt:
        code = 130
    if code >= 124:
        # Torn down in the middle of its work, torch may take its time or crash.
        end_now(code)
    sys.exit(code)


def _hold_standard_streams() -> None:
    """Put `/dev/null` where our parent closed stdin, stdout or stderr.

    Else the next file that we open gets its number, and is written or read in its place.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
