"""How signals end a command: at once, tidily, and with the code that a shell expects."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 1.0
"""How long the main thread may take to notice a signal before the process ends without it."""


class Ended(BaseException):
    """A signal ends the command; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        """Remember `code`."""
        super().__init__(code)
        self.code = code


class TimeUp(BaseException):
    """The time that `--timeout` allows is over."""


class _Notice:
    """When the main thread last came round to a signal."""

    at = 0.0


def watch_signals() -> None:
    """Turn SIGTERM and SIGHUP into `Ended`; SIGINT stays KeyboardInterrupt.

    Python runs a handler only between two of its own steps, which inside a large matrix product
    can take long. So a second thread hears of each signal too, and ends the process if the main
    thread doesn't come round to it. A signal that our parent had us ignore stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    heard, hear = os.pipe()
    os.set_blocking(hear, False)
    signal.set_wakeup_fd(hear, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(heard,), daemon=True, name="signals").start()


@contextmanager
def time_limit(seconds: float | None) -> Generator[None]:
    """Raise `TimeUp` in the block once `seconds` have passed, whatever it is doing."""
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _time_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def exit_code(number: int) -> int:
    """The exit code for a death by signal `number`."""
    return 124 if number == getattr(signal, "SIGALRM", None) else 128 + number


def _end(number: int, frame: FrameType | None) -> None:
    _Notice.at = time.monotonic()
    raise Ended(exit_code(number))


def _interrupt(number: int, frame: FrameType | None) -> None:
    _Notice.at = time.monotonic()
    raise KeyboardInterrupt


def _time_up(number: int, frame: FrameType | None) -> None:
    _Notice.at = time.monotonic()
    raise TimeUp


def _watch(heard: int) -> None:
    """End the process for a signal of ours that the main thread doesn't notice in time."""
    while numbers := os.read(heard, 64):
        fatal = [n for n in numbers if signal.getsignal(n) in (_end, _interrupt, _time_up)]
        # One call of a handler answers for all signals just before it.
        since = time.monotonic() - 0.05
        while fatal and _Notice.at < since:
            if time.monotonic() > since + GRACE_S:
                if exit_code(fatal[0]) == 124:
                    os.write(2, b"error: timed out; give --timeout more seconds\n")
                os._exit(exit_code(fatal[0]))
            time.sleep(0.02)
