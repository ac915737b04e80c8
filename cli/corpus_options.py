"""Options of the commands that read corpora, and what is said of text that isn't UTF-8."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import Terminal

if TYPE_CHECKING:
    from ..tokenizer.training.blocks import FileCount

_TOLD = 5
"""Files that are told of one by one."""


class ErrorsHow(Enum):
    """What becomes of bytes that aren't UTF-8."""

    strict = "strict"
    replace = "replace"
    skip = "skip"


Errors = Annotated[
    ErrorsHow,
    typer.Option(
        "--errors", help="Bytes that aren't UTF-8: an error, U+FFFD in their place, or left out."
    ),
]
TextField = Annotated[
    str,
    typer.Option("--text-field", help="The field of .jsonl, or column of .parquet, with the text."),
]


def tell_faults(terminal: Terminal, files: Iterable[FileCount], errors: ErrorsHow) -> None:
    """Warn of each file that wasn't UTF-8: how much was done about it, and where it begins."""
    from ..tokenizer.corpus import source_name

    bad = [file for file in files if file.bad]
    for file in bad[:_TOLD]:
        terminal.warn(
            f"{source_name(file.path)} is not UTF-8: {_done(file.bad, errors)}, "
            f"the first at offset {file.bad_offset}, line {file.bad_line}"
        )
    if rest := bad[_TOLD:]:
        count = sum(file.bad for file in rest)
        terminal.warn(f"{len(rest)} more files are not UTF-8: {_done(count, errors)} in them")


def _done(count: int, errors: ErrorsHow) -> str:
    if errors == ErrorsHow.replace:
        return f"{count:,} U+FFFD put in"
    return "1 byte left out" if count == 1 else f"{count:,} bytes left out"
