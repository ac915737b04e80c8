"""What tokenize, detokenize and count can be told, in groups: each a dataclass for `unfold`."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from .. import UsageError
from .settings import Choice, Flag, ModelName, Setting, listed, setting

if TYPE_CHECKING:
    from ..tokenizer.tokenizer import Tokenizer
    from .sources import Source
    from .terminal import Terminal

Bos = Literal["auto", "on", "off"]
Special = Literal["text", "parse"]
Errors = Literal["strict", "replace", "skip"]
Records = Literal["lines", "zero"]
"""What ends each of many texts in one stream: a line break, or NUL."""


class BosWhen(str, Enum):
    """When a begin-of-text token is put first, for commands whose options Typer reads."""

    auto = "auto"
    on = "on"
    off = "off"


class SpecialAs(str, Enum):
    """What special tokens spelled in a text are taken for, for such commands."""

    text = "text"
    parse = "parse"


Offline = Annotated[
    bool, typer.Option("--offline", help="Never touch the network.", show_default=False)
]
SpecialOption = Annotated[
    SpecialAs,
    typer.Option(
        "--special", help="Special tokens spelled in the text: plain text, or parse them."
    ),
]


def open_tokenizer(model: str, offline: bool, terminal: Terminal) -> Tokenizer:
    """The tokenizer that -m names. Raises `ModelError` if there is none, or a damaged one."""
    from ..tokenizer.tokenizer import Tokenizer
    from .fetching import find_tokenizer

    return Tokenizer.load(find_tokenizer(model, offline, terminal))


@dataclass(frozen=True)
class WhichTokenizer:
    """The tokenizer."""

    panel: ClassVar[str] = "Tokenizer"

    model: Setting[str] = setting(
        *("-m", "--model"),
        kind=ModelName(),
        default="default",
        metavar="MODEL",
        help="A checkpoint folder, a tokenizer's file, a repository id, or `default`.",
    )
    offline: Setting[bool] = setting(
        "--offline", kind=Flag(), default=False, help="Never touch the network."
    )

    def open(self, terminal: Terminal) -> Tokenizer:
        """The tokenizer that -m names. Raises `ModelError` if there is none, or a damaged one."""
        tokenizer = open_tokenizer(self.model.value, self.offline.value, terminal)
        if terminal.verbosity > 0:
            terminal.detail(f"tokenizer: {tokenizer.name}, {tokenizer.vocab_size:,} ids")
        return tokenizer


@dataclass(frozen=True)
class InputOptions:
    """What is read: files, or stdin, as one text or as many."""

    panel: ClassVar[str] = "Input"

    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Files, read as `cat` would; none or `-`: stdin.",
            show_default=False,
        ),
    ] = None
    file: Annotated[
        list[Path] | None,
        typer.Option(
            *("-f", "--file"),
            metavar="FILE",
            help="The same as an option; repeat for more.",
            show_default=False,
        ),
    ] = None
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="Each line is a text of its own: one in, one out.", show_default=False
        ),
    ] = False
    zero: Annotated[
        bool,
        typer.Option(
            *("-z", "--zero-terminated"),
            help="As --lines, but NUL ends each text, in and out.",
            show_default=False,
        ),
    ] = False
    errors: Setting[Errors] = setting(
        "--errors",
        kind=Choice(("strict", "replace", "skip")),
        default="strict",
        metavar="WHAT",
        help="Input that isn't valid: strict (an error that names the place), replace it by "
        "U+FFFD, or skip it; both are counted on stderr.",
    )

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are named, in their order."""
        return (*(self.files or ()), *(self.file or ()))

    @property
    def records(self) -> Records | None:
        """What ends each text, None where all the input is one."""
        if self.lines and self.zero:
            raise UsageError("--lines and -z exclude each other", hint="-z is --lines with NUL")
        return "zero" if self.zero else "lines" if self.lines else None

    @property
    def end(self) -> str:
        """What ends each answer."""
        return "\0" if self.zero else "\n"


@dataclass(frozen=True)
class TextOptions(InputOptions):
    """What text is read."""

    prompt: Annotated[
        str | None,
        typer.Option(
            *("-p", "--prompt"),
            metavar="TEXT",
            help="The text itself, instead of a file.",
            show_default=False,
        ),
    ] = None

    def source(self, terminal: Terminal) -> Source:
        """The text. Raises `UsageError` where it is named twice."""
        from .sources import Source

        return Source(terminal, self.paths, self.prompt, self.errors.value)


@dataclass(frozen=True)
class EncodeSettings:
    """How text becomes ids."""

    panel: ClassVar[str] = "Special tokens"

    bos: Setting[Bos] = setting(
        "--bos",
        kind=Choice(("auto", "on", "off")),
        default="auto",
        metavar="WHEN",
        help="Begin-of-text token: auto (as the tokenizer's files say), on or off.",
    )
    special: Setting[Special] = setting(
        "--special",
        kind=Choice(("text", "parse")),
        default="text",
        metavar="HOW",
        help="Special tokens spelled in the text: plain text, or parse them.",
    )


def tell_settings(terminal: Terminal, *groups: object) -> None:
    """For -v: each setting with its value and where that came from."""
    settings = listed(*groups)
    width = max(map(len, settings))
    for name, one in settings.items():
        value = str(one.value).lower() if isinstance(one.value, bool) else one.value
        terminal.detail(f"  {name:{width}}  {value}  ({one.source})")
