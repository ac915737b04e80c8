"""Standard input, read in the background so that a model can load meanwhile."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from dataclasses import dataclass, field
from typing import Literal

from .. import InputError

StdinKind = Literal["closed", "terminal", "pipe", "file"]
"""A "pipe" may stay silent for ever; a "file" (or `/dev/null`) never does."""

BLOCK = 1 << 16
SETTLE_S = 0.2
"""How long a pipe may at least take to begin, however fast the model loads."""


def stdin_kind(descriptor: int = 0) -> StdinKind:
    """What stands behind standard input."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return "closed"
    if descriptor == 0 and sys.stdin is None:  # closed by our parent, see `cli.entry`
        return "closed"
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return "pipe"
    return "terminal" if os.isatty(descriptor) else "file"


@dataclass
class StdinReader:
    """Reads standard input to its end in a thread of its own, from `start` on."""

    descriptor: int = 0
    _blocks: list[bytes] = field(default_factory=list[bytes])
    _begun: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _failure: OSError | None = None

    def start(self) -> StdinReader:
        """Begin to read."""
        threading.Thread(target=self._pump, daemon=True, name="stdin").start()
        return self

    def read(self) -> bytes:
        """Everything up to the end, which this waits for."""
        self._ended.wait()
        if self._failure is not None:
            reason = self._failure.strerror or str(self._failure)
            raise InputError(f"cannot read stdin: {reason}") from self._failure
        return b"".join(self._blocks)

    def silent(self) -> bool:
        """Whether neither data nor the end has come yet."""
        return not self._begun.wait(SETTLE_S)

    def _pump(self) -> None:
        # os.read, since a lock of sys.stdin held here would break the interpreter's exit.
        try:
            while block := self._next_block():
                self._blocks.append(block)
                self._begun.set()
        except OSError as error:
            self._failure = error
        self._ended.set()
        self._begun.set()

    def _next_block(self) -> bytes:
        while True:
            try:
                return os.read(self.descriptor, BLOCK)
            except BlockingIOError:  # whoever shares it with us made it non-blocking
                select.select([self.descriptor], [], [])
