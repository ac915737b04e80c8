"""Options that tokenize, detokenize and count share, and the tokenizer that they name."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .completion import complete_model

if TYPE_CHECKING:
    from ..tokenizer.tokenizer import Tokenizer
    from .terminal import Terminal


class BosWhen(str, Enum):
    """When a begin-of-text token is put first."""

    auto = "auto"
    on = "on"
    off = "off"


class SpecialAs(str, Enum):
    """What special tokens spelled in a text are taken for."""

    text = "text"
    parse = "parse"


Model = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        envvar="LMTOOL_MODEL",
        autocompletion=complete_model,
        help="A checkpoint folder, a tokenizer's file, a repository id, or `default`.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "-f", "--file", help="Read this file; repeat for more; `-` is stdin.", show_default=False
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option("-p", "--prompt", help="The text itself, instead of a file.", show_default=False),
]
Bos = Annotated[
    BosWhen, typer.Option(help="Begin-of-text token: as the tokenizer's files say, or on, off.")
]
Special = Annotated[
    SpecialAs, typer.Option(help="Special tokens spelled in the text: plain text, or parse them.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never touch the network.", show_default=False)
]


def open_tokenizer(model: str, offline: bool, terminal: Terminal) -> Tokenizer:
    """The tokenizer that -m names. Raises `ModelError` if there is none, or a damaged one."""
    from ..tokenizer.tokenizer import Tokenizer
    from .fetching import find_tokenizer

    return Tokenizer.load(find_tokenizer(model, offline, terminal))
