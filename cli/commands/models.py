"""`lmtool models`: which models are here, what they take, and whether they would run."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import LmtoolError, UsageError
from ..completion import complete_model
from ..exits import Exit
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..progress import megabytes
from ..terminal import Terminal

if TYPE_CHECKING:
    from ...tokenizer.cached import Cached

EPILOG = """Examples:

lmtool models

lmtool models | cut -f 1,3

lmtool models --rm org/name"""

HEADINGS = ("model", "revision", "size", "last used", "family", "state")


@dataclass(frozen=True)
class Listed:
    """A model as it is listed. `state` is `ready`, or in words what keeps it from running."""

    name: str
    revision: str
    path: Path
    size: int
    used: float | None
    family: str | None
    complete: bool
    state: str

    def as_json(self) -> dict[str, Any]:
        """One object of --json."""
        return {
            "name": self.name,
            "revision": self.revision,
            "path": str(self.path),
            "size": self.size,
            "last_used": _iso(self.used),
            "family": self.family,
            "complete": self.complete,
            "ready": self.state == "ready",
            "state": self.state,
        }


def models(
    rm: Annotated[
        list[str] | None,
        typer.Option(
            "--rm",
            metavar="MODEL",
            help="Remove a repository from the cache; repeat for more.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Remove without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> int:
    """List the models that are cached, and the one that ships inside.

    On a terminal a table, elsewhere lines of fields with tabs between: size in bytes, times in UTC.
    """
    terminal = open_terminal(quiet, verbose, color)
    if rm:
        return _remove(rm, yes, terminal)
    listed = _list()
    if json:
        terminal.out(json_module.dumps([one.as_json() for one in listed], indent=1) + "\n")
    elif terminal.stdout_is_terminal:
        terminal.out(_table(listed, terminal))
    else:
        terminal.out("".join("\t".join(_fields(one)) + "\n" for one in listed))
    if terminal.verbosity >= 1:
        from ...tokenizer.repository import cache_folder

        terminal.detail(f"cache: {cache_folder()}")
    return Exit.DONE


def _list() -> list[Listed]:
    from ...tokenizer.cached import cached_models

    return [*_shipped(), *(_judged(one) for one in cached_models())]


def _shipped() -> list[Listed]:
    from ...tokenizer.locate import DEFAULT, default_folder

    try:
        folder = default_folder()
    except LmtoolError:
        return []
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    family, problem = _family(folder)
    return [Listed(DEFAULT, "-", folder, size, None, family, True, problem or "ready")]


def _judged(cached: Cached) -> Listed:
    """A snapshot with its family, and what keeps it from running."""
    from ...tokenizer.repository import SINGLE

    family, problem = None, None
    if cached.lacks and cached.has_tokenizer and "config.json" in cached.lacks:
        state = "tokenizer only"
    elif cached.lacks == (SINGLE,) and any(map(_other_weights, cached.folder.iterdir())):
        state = _family(cached.folder)[1] or "no safetensors"
    elif cached.lacks:
        first, *others = cached.lacks
        state = f"incomplete: lacks {first}" + (f" and {len(others)} more" if others else "")
    else:
        family, problem = _family(cached.folder)
        state = problem or "ready"
    revision = cached.revision if cached.revision != cached.commit else cached.revision[:12]
    return Listed(
        cached.name,
        revision,
        cached.folder,
        cached.size,
        cached.used,
        family,
        not cached.lacks,
        state,
    )


def _other_weights(path: Path) -> bool:
    return path.suffix in (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")


def _family(folder: Path) -> tuple[str | None, str | None]:
    """The family, and the problem that loading it would have; no weight is read."""
    from ...engine.weights.checkpoint import open_checkpoint

    try:
        return open_checkpoint(folder).family.name, None
    except LmtoolError as error:
        # The path stands in the list already.
        message = error.message.replace(f"`{folder}/", "`").replace(f"`{folder}`", "it")
        return None, " ".join(message.split())
    except OSError as error:
        return None, f"can't be read: {error.strerror or error}"


def _fields(one: Listed) -> tuple[str, ...]:
    used = _iso(one.used) or "-"
    return (one.name, one.revision, str(one.size), used, one.family or "-", one.state)


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(listed: Sequence[Listed], terminal: Terminal) -> str:
    rows = [
        (one.name, one.revision, megabytes(one.size), _ago(one.used), one.family or "-", one.state)
        for one in listed
    ]
    columns = [[heading, *(row[at] for row in rows)] for at, heading in enumerate(HEADINGS)]
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if heading == "size" else cell.ljust(width)
            for cell, width, heading in zip(cells, widths, HEADINGS, strict=True)
        ]
        return "  ".join(padded).rstrip()

    head = line(HEADINGS)
    if terminal.stdout is not None and terminal.paints(terminal.stdout):
        head = f"\x1b[1m{head}\x1b[0m"
    return "\n".join([head, *map(line, rows)]) + "\n"


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    then = datetime.fromtimestamp(seconds)
    days = (datetime.now().date() - then.date()).days
    if days < 1:
        return "today"
    if days < 2:
        return "yesterday"
    return f"{days} days ago" if days < 100 else str(then.date())


def _remove(names: Sequence[str], yes: bool, terminal: Terminal) -> int:
    from ...tokenizer.cached import cached_models, remove

    sizes = {one.name: 0 for one in cached_models()}
    for one in cached_models():
        sizes[one.name] += one.size
    for name in names:
        if name in sizes and not yes and not _agreed(name, sizes[name]):
            terminal.note(f"kept: {name}")
            continue
        remove(name)
        terminal.note(f"removed: {name}, {megabytes(sizes.get(name, 0))}")
    return Exit.DONE


def _agreed(name: str, size: int) -> bool:
    """Whether the person at the terminal says yes. Raises `UsageError` if there is none."""
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        raise UsageError("--rm asks first, and there is no terminal to answer", hint="add --yes")
    sys.stderr.write(f"remove {name}, {megabytes(size)}, from the cache? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
