"""Options that several commands share, as annotated types, and the terminal they describe."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from .completion import choices_of
from .settings import Choice
from .terminal import Terminal


class ColorWhen(str, Enum):
    """When to colour: where the stream is a terminal, always, or never."""

    auto = "auto"
    always = "always"
    never = "never"


Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Say nothing on stderr but errors.", show_default=False),
]
Verbose = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="Say more on stderr.", show_default=False)
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", show_default=False)
]
Color = Annotated[ColorWhen, typer.Option("--color", help="When to colour: auto, always, never.")]

ReckonedContext = Annotated[
    int | None,
    typer.Option(
        "-c", "--ctx-size", "--max-model-len", min=1, help="The context to reckon memory for."
    ),
]
_CACHE_TYPES = Choice(("auto", "float32", "bfloat16", "float16", "int8"))
ReckonedCache = Annotated[
    str,
    typer.Option(
        "--kv-dtype",
        autocompletion=choices_of(_CACHE_TYPES),
        metavar="TYPE",
        help="The cache to reckon memory for: auto, float32, bfloat16, float16 or int8.",
    ),
]
OneObject = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def open_terminal(quiet: bool, verbose: int, color: ColorWhen) -> Terminal:
    """The process's own streams, as talkative and colourful as the options ask."""
    return Terminal(verbosity=-1 if quiet else verbose, colour=color.value)
