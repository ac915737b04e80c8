"""A program that renders chat templates: a JSON request a line in, a JSON reply a line out.

A checkpoint's template is code of strangers. Jinja's sandbox keeps it from the machine but not
from running for ever or filling the memory, nor from single operations that no signal interrupts
(`9 ** 9 ** 9`, `"%1000000000d" % 1`). So it runs in this process, which has little memory and
processor time and can be ended. `rendering` starts it, by its path: it imports nothing of lmtool.

Requests are {"template": source, "strict": whether variables must be known}, answered by {}, and
{"variables": {…}, "now": ISO time}, answered by {"text": …}. A failure is {"fault": kind,
"message": …, "line": number or null}.
"""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

PROCESSOR_S = 2
"""Seconds of computing that one request may take."""
MEMORY = 1 << 29
"""Bytes that the process may hold besides what it starts with."""
LONGEST = 1 << 26
"""Characters that a template may write."""


class Refusal(jinja2.TemplateError):
    """The template called raise_exception: the messages are not as it wants them."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %} … {% endgeneration %}`, which marks answers for training: just rendered."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: Any) -> str:
        return caller()


class _Dict:
    """`dict` as templates may use it."""

    def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:
        return dict(*values, **named)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's, without names that begin with an underscore."""

    def __init__(*values: Any, **named: Any) -> None:
        # So declared, a namespace may have an attribute `self`.
        self, *rest = values
        attributes = dict(*rest, **named)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


class _Clock:
    """`strftime_now`, by the time that the request gives."""

    now = datetime.now()

    def format(self, format: str) -> str:
        return self.now.strftime(format)


def make_environment(clock: _Clock) -> jinja2.Environment:
    """Jinja as transformers sets it up for chat templates (utils/chat_template_utils.py)."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    tables: Any = environment  # whose types Jinja leaves open
    tables.filters["tojson"] = _to_json
    tables.globals |= {
        "raise_exception": _refuse,
        "strftime_now": clock.format,
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment


def answer(
    request: dict[str, Any], environment: jinja2.Environment, clock: _Clock, compiled: list[Any]
) -> dict[str, Any]:
    """The reply to one request; `compiled` keeps the template between them."""
    try:
        if "template" in request:
            strict = request.get("strict", False)
            environment.undefined = jinja2.StrictUndefined if strict else jinja2.Undefined
            compiled[:] = [environment.from_string(request["template"])]
            return {}
        clock.now = datetime.fromisoformat(request["now"])
        parts: list[str] = []
        length = 0
        for part in compiled[0].generate(**request["variables"]):
            length += len(part)
            if length > LONGEST:
                return _fault("size", f"writes more than {LONGEST:,} characters")
            parts.append(part)
        return {"text": "".join(parts)}
    except Refusal as error:
        return _fault("refused", str(error))
    except jinja2.TemplateSyntaxError as error:
        return _fault("syntax", error.message or "", error.lineno)
    except MemoryError:
        return _fault("memory", "")
    except RecursionError:
        return _fault("failed", "it calls itself without end, or is nested too deep")
    except SyntaxError as error:  # Python's own limits, such as twenty blocks in each other
        return _fault("syntax", error.msg)
    except Exception as error:
        name = "" if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: "
        return _fault("failed", f"{name}{error}", _line(error))


def main() -> None:
    """Answer requests until there are no more."""
    clock = _Clock()
    environment = make_environment(clock)
    compiled: list[Any] = []
    _limit_memory()
    sys.stdout.write("{}\n")  # ready
    sys.stdout.flush()
    for line in sys.stdin:
        _limit_time()
        try:
            reply = json.dumps(answer(json.loads(line), environment, clock, compiled))
        except MemoryError:
            reply = json.dumps(_fault("memory", ""))
        sys.stdout.write(reply + "\n")
        sys.stdout.flush()


def _fault(kind: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"fault": kind, "message": message[:2000], "line": line}


def _line(error: BaseException) -> int | None:
    """The template's line that `error` comes from; Jinja rewrites tracebacks to name it."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _refuse(message: Any) -> NoReturn:
    raise Refusal(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"`{name}` may not be a name in a namespace")


def _limit_memory() -> None:
    """Let no allocation take the process beyond `MEMORY` more than it has, where that works."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        limit = held + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass  # the time limit stays


def _limit_time() -> None:
    """Let the system end the process after `PROCESSOR_S` more seconds of computing."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = math.ceil(used.ru_utime + used.ru_stime) + PROCESSOR_S
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        if hard != resource.RLIM_INFINITY:
            seconds = min(seconds, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
    except (ImportError, OSError, ValueError):
        pass  # the parent's clock stays


if __name__ == "__main__":
    main()
