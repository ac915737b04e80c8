"""How signals end a command: at once, tidily, and with the code that a shell expects."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

GRACE_S = 1.5
"""How long a signal may take to arrive in our code before the process ends without it."""

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(BaseException):
    """A signal ends the command; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        """Remember `code`."""
        super().__init__(code)
        self.code = code


class TimeUp(BaseException):
    """The time that `--timeout` allows is over."""


class _Arrival:
    """When a signal's exception last reached code that knows what to do about it."""

    at = 0.0


def arrived() -> None:
    """Say that a signal's exception is caught: the command sees to the rest by itself."""
    _Arrival.at = time.monotonic()


def watch_signals() -> None:
    """Turn SIGTERM and SIGHUP into `Ended`; SIGINT stays KeyboardInterrupt.

    Python runs a handler only between two of its own steps, which inside a large matrix product
    can take long; and a library may swallow what the handler raises, as happens in `import torch`.
    So a second thread hears of each signal too, and ends the process if nobody says `arrived`.
    A signal that our parent had us ignore stays ignored.
    """
    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    heard, hear = os.pipe()
    os.set_blocking(hear, False)
    signal.set_wakeup_fd(hear, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(heard,), daemon=True, name="signals").start()


class _Open:
    """Whether there is anything that an end would have to put in order."""

    nothing = False


@contextmanager
def nothing_open() -> Generator[None]:
    """Let a signal end the process on the spot while the block runs.

    For imports of C++ code, such as torch: an exception raised in the middle of them can be
    swallowed, or abort the process.
    """
    _Open.nothing = True
    try:
        yield
    finally:
        _Open.nothing = False


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


@contextmanager
def ending_by(end: Callable[[Ended], None]) -> Generator[None]:
    """Hand what SIGTERM and SIGHUP raise to `end` while the block runs.

    For event loops: they catch what comes in the middle of a callback, and go on.
    """
    ours = [number for number in _ENDING if signal.getsignal(number) is _end]

    def hand_over(number: int, frame: FrameType | None) -> None:
        end(Ended(exit_code(number)))

    try:
        for number in ours:
            signal.signal(number, hand_over)
        yield
    finally:
        for number in ours:
            signal.signal(number, _end)


@dataclass
class Stopping:
    """What Ctrl-C does to an answer: see `stoppable`."""

    asked: bool = False
    """Whether somebody pressed Ctrl-C."""
    at_once: bool = True
    """Whether the first Ctrl-C is to break off what runs, or else to wait for a good moment."""
    number: int = signal.SIGINT
    """The signal that came."""

    @contextmanager
    def idle(self) -> Generator[None]:
        """Let the first Ctrl-C break off what the block waits for."""
        self.at_once = True
        try:
            yield
        finally:
            self.at_once = False

    def end(self) -> NoReturn:
        """End the command as the signal would have."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Ended(exit_code(self.number))


@contextmanager
def stoppable(*names: str) -> Generator[Stopping]:
    """Let Ctrl-C, and the signals of these `names`, stop what the block does, not the command.

    It is remembered, and raises what it always does only while nothing would be lost (`at_once`),
    or when it comes again. A signal that our parent had us ignore stays ignored.
    """
    stopping = Stopping()

    def stop(number: int, frame: FrameType | None) -> None:
        now = stopping.at_once or stopping.asked
        stopping.asked, stopping.number = True, number
        if now:
            stopping.end()

    before: dict[int, Any] = {}
    for name in ("SIGINT", *names):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(number: int) -> int:
    """The exit code for a death by signal `number`."""
    return 124 if number == getattr(signal, "SIGALRM", None) else 128 + number


def _end(number: int, frame: FrameType | None) -> None:
    _leave_if_nothing_is_open(number)
    raise Ended(exit_code(number))


def _interrupt(number: int, frame: FrameType | None) -> None:
    _leave_if_nothing_is_open(number)
    raise KeyboardInterrupt


def _time_up(number: int, frame: FrameType | None) -> None:
    _leave_if_nothing_is_open(number)
    raise TimeUp


def _leave_if_nothing_is_open(number: int) -> None:
    if _Open.nothing:
        _leave(number)


def _leave(number: int) -> NoReturn:
    if exit_code(number) == 124:
        with suppress(OSError):
            os.write(2, b"error: timed out; give --timeout more seconds\n")
    os._exit(exit_code(number))


def _watch(heard: int) -> None:
    """End the process for a signal of ours that doesn't arrive in time."""
    while numbers := os.read(heard, 64):
        fatal = [n for n in numbers if signal.getsignal(n) in (_end, _interrupt, _time_up)]
        # One arrival answers for all signals just before it.
        since = time.monotonic() - 0.05
        while fatal and _Arrival.at < since:
            if time.monotonic() > since + GRACE_S:
                _leave(fatal[0])
            time.sleep(0.02)
