"""Renders Jinja templates of strangers in a process of its own, which can't run away."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any, cast

from .. import InputError, LmtoolError, ModelError

PROGRAM = Path(__file__).with_name("jinja_process.py")
START_S = 60.0
"""Seconds until the process must be ready, on however busy a machine."""
RENDER_S = 15.0
"""Seconds that rendering may take by the clock; the process itself allows 2 of computing."""

# Where packages are found is handed down: -I keeps all else of the surroundings out.
_START = (
    "import runpy, sys\n"
    "sys.path[:] = sys.argv[2:]\n"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)
_RUNAWAY = {
    "time": "takes too long: it may loop for ever",
    "memory": "takes too much memory",
    "size": "writes too much text",
}


class Renderer:
    """One template, compiled in a process that starts at once and is waited for at the first use.

    `name` is what messages call the template: "the chat template of `x`".
    """

    def __init__(self, source: str, name: str, strict: bool = False) -> None:
        """With `strict`, a variable that isn't given is an error, not empty.

        Raises `LmtoolError` where Jinja isn't installed.
        """
        if find_spec("jinja2") is None:
            raise LmtoolError("chat templates need the package jinja2", hint="pip install jinja2")
        self._source = source
        self._name = name
        self._strict = strict
        self._process: subprocess.Popen[bytes] | None = None
        self._compiled = False
        self._start()

    def render(self, variables: dict[str, Any], now: datetime) -> str:
        """What the template makes of `variables`, JSON values by name, at the time `now`.

        Raises `ModelError` for a template that is broken or runs away, `InputError` for one that
        refuses what it is given.
        """
        self.compile()
        reply = self._asked({"variables": variables, "now": now.isoformat()})
        return cast("str", self._checked(reply)["text"])

    def compile(self) -> None:
        """Have the template ready. Raises `ModelError` where it isn't valid."""
        if not self._compiled:
            self._asked(None, START_S)
            reply = self._asked({"template": self._source, "strict": self._strict})
            if "fault" in reply:
                self.close()
            self._checked(reply)
            self._compiled = True

    def close(self) -> None:
        """End the process; a later `render` starts another."""
        if self._process is not None:
            _end(self._process)
        self._process, self._compiled = None, False

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, str(PROGRAM), *filter(None, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to answer
        )
        self._process = process
        weakref.finalize(self, _end, process)
        return process

    def _asked(self, request: dict[str, Any] | None, seconds: float = RENDER_S) -> dict[str, Any]:
        """The reply to `request`; where none comes, the process ends."""
        try:
            return self._ask(self._process or self._start(), request, seconds)
        except BaseException:
            self.close()
            raise

    def _ask(
        self, process: subprocess.Popen[bytes], request: dict[str, Any] | None, seconds: float
    ) -> dict[str, Any]:
        """The reply to `request`, or to nothing: the process's word that it is ready."""
        assert process.stdin is not None
        assert process.stdout is not None
        timer = Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            if request is not None:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            raise self._died(process, request)
        return json.loads(line)

    def _checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        if "fault" in reply:
            raise self._fault(reply["fault"], reply["message"], reply["line"])
        return reply

    def _died(
        self, process: subprocess.Popen[bytes], request: dict[str, Any] | None
    ) -> LmtoolError:
        process.kill()
        code = process.wait()
        if request is None:
            return LmtoolError(f"the process that renders {self._name} did not start: exit {code}")
        # SIGXCPU or SIGKILL is a limit of time; anything else, memory that could not be had.
        import signal

        late = {-getattr(signal, name, 0) for name in ("SIGXCPU", "SIGKILL")} | {1}
        return self._fault("time" if code in late else "memory", "", None)

    def _fault(self, kind: str, message: str, line: int | None) -> LmtoolError:
        said = " ".join(message.split())[:300]
        where = f", line {line}" if line else ""
        if kind == "refused":
            return InputError(f"{self._name} doesn't take these messages: {said}")
        if kind in _RUNAWAY:
            return ModelError(f"{self._name} {_RUNAWAY[kind]}")
        broken = "is not valid Jinja" if kind == "syntax" else "fails"
        return ModelError(f"{self._name} {broken}{where}: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()
