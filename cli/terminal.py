"""The streams a command talks through: data on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from .. import LmtoolError

ColourChoice = Literal["auto", "always", "never"]


class ClosedPipeError(Exception):
    """Whoever read our stdout has gone; there is nobody left to write for."""


class StdoutError(LmtoolError):
    """Stdout takes no more, for instance because its disk is full."""


@dataclass
class Terminal:
    """Standard output and error, and what they can show.

    `verbosity` is 0 normally, -1 for quiet, 1 and more for verbose.
    """

    stdout: IO[bytes] | None = field(default_factory=lambda: sys.stdout and sys.stdout.buffer)
    """None where our parent closed it: writing is then an error, as it is for `cat`."""
    stderr: IO[str] = field(default_factory=lambda: sys.stderr or io.StringIO())
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    verbosity: int = 0
    colour: ColourChoice = "auto"

    def out(self, text: str) -> None:
        """Data for stdout, there at once. Raises `ClosedPipeError` if nobody reads it any more."""
        self.out_bytes(text.encode("utf-8", "surrogatepass"))

    def out_bytes(self, data: bytes) -> None:
        """Raw bytes for stdout, there at once."""
        if self.stdout is None:
            raise LmtoolError("cannot write: stdout is closed")
        try:
            self.stdout.write(data)
            self.stdout.flush()
        except BrokenPipeError as error:
            raise ClosedPipeError from error
        except OSError as error:
            raise StdoutError(f"cannot write to stdout: {error.strerror or error}") from error

    def out_json(self, value: Any, indent: int | None = None) -> None:
        """One JSON document and a line break on stdout."""
        self.out(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")

    def note(self, text: str) -> None:
        """Something worth knowing, on stderr unless quiet."""
        if self.verbosity >= 0:
            self._err(text)

    def reply(self, text: str) -> None:
        """What somebody asked for in the middle of things, on stderr, quiet or not."""
        self._err(text)

    def detail(self, text: str) -> None:
        """Something for those who asked with -v."""
        if self.verbosity >= 1:
            self._err(text)

    def warn(self, text: str) -> None:
        """Something that may surprise, on stderr unless quiet."""
        if self.verbosity >= 0:
            self._err(f"{self._paint('warning:', '33')} {text}")

    def error(self, text: str, hint: str | None = None) -> None:
        """What went wrong and what to do about it, in one line."""
        line = f"{text}; {hint}" if hint else text
        self._err(f"{self._paint('error:', '31')} {' '.join(line.splitlines())}")

    @property
    def stdout_is_terminal(self) -> bool:
        """Whether a person reads stdout."""
        return self.stdout is not None and self.stdout.isatty()

    @property
    def stderr_is_terminal(self) -> bool:
        """Whether a person reads stderr, on something that can move its cursor."""
        return self.stderr.isatty() and self.environ.get("TERM") != "dumb"

    def paints(self, stream: IO[Any]) -> bool:
        """Whether colour is wanted on `stream`: --color, then NO_COLOR, FORCE_COLOR, the tty."""
        if self.colour != "auto":
            return self.colour == "always"
        if self.environ.get("NO_COLOR"):
            return False
        if self.environ.get("FORCE_COLOR"):
            return True
        return stream.isatty() and self.environ.get("TERM") != "dumb"

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.paints(self.stderr) else text

    def _err(self, line: str) -> None:
        try:
            self.stderr.write(line + "\n")
            self.stderr.flush()
        except OSError:
            pass  # talk that nobody hears must not stop the work
