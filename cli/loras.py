"""Adapters as they are written on the command line: PATH or PATH:SCALE."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from .fetching import find_adapter
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.weights.adapter import Lora

HELP = "Add this LoRA adapter, a folder in PEFT's format, at SCALE (default 1). Repeatable."
METAVAR = "PATH[:SCALE]"

Loras = Annotated[
    list[str] | None, typer.Option("--lora", metavar=METAVAR, help=HELP, show_default=False)
]


@dataclass(frozen=True)
class LoraText:
    """A path, and after its last colon a number, if what stands there is one."""

    says: str = "a path, or a path, a colon and a finite number"

    def accept(self, raw: object) -> str:
        """See `Kind`."""
        if not isinstance(raw, str):
            raise ValueError
        split(raw)
        return raw


def split(text: str) -> tuple[str, float]:
    """The path and the scale; a colon that no number follows is part of the path.

    >>> split("C:/adapters/a:0.5"), split("a:b")
    (('C:/adapters/a', 0.5), ('a:b', 1.0))

    Raises `ValueError` where no path is left, or the number isn't finite.
    """
    path, colon, last = text.rpartition(":")
    try:
        scale = float(last) if colon else None
    except ValueError:
        scale = None
    if scale is None:
        path, scale = text, 1.0
    if not path or not math.isfinite(scale):
        raise ValueError
    return path, scale


def find_loras(texts: Iterable[str], offline: bool, terminal: Terminal) -> list[Lora]:
    """Where the adapters are: paths, or repository ids as for a model.

    Raises `UsageError` for a malformed one, `ModelError` for one that isn't there.
    """
    from .. import UsageError
    from ..engine.weights.adapter import Lora

    found: list[Lora] = []
    for text in texts:
        try:
            name, scale = split(text)
        except ValueError:
            raise UsageError(f"--lora must be {LoraText().says}, not `{text}`") from None
        found.append(Lora(find_adapter(name, offline, terminal), scale))
    return found
