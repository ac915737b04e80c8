"""What `lmtool evaluate` and `lmtool score` can be told of texts and windows."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import typer

from .. import UsageError
from .completion import complete_model
from .model_options import ModelSettings
from .settings import Setting, Whole, setting
from .sink import one_on_stdout
from .token_options import BosWhen, SpecialAs

WIDEST = 2048
"""Tokens of a window that nobody asked for; wider ones cost more and tell little else."""

Bos = Annotated[
    BosWhen,
    typer.Option(
        help="Begin-of-text token: as the tokenizer's files say, or on, off.", show_default=False
    ),
]
Special = Annotated[
    SpecialAs,
    typer.Option(
        help="Special tokens spelled in a text: plain text, or parse them.", show_default=False
    ),
]


@dataclass(frozen=True)
class Operands:
    """Models and texts, told apart by what they are: a file is a text, all else a model."""

    panel: ClassVar[str] = "Texts"

    operands: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]... [TEXT]...",
            autocompletion=complete_model,
            help="A file, or `-` for stdin, is a text; a folder, repository id or `default` a "
            "model. No model: -m. No text: stdin.",
            show_default=False,
        ),
    ] = None
    file: Annotated[
        list[Path] | None,
        typer.Option(
            *("-f", "--file"),
            metavar="PATH",
            help="A text, or a folder with texts; repeat for more; `-` is stdin.",
            show_default=False,
        ),
    ] = None
    doc_separator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text that parts documents in a file; each is foretold from its own beginning.",
            show_default=False,
        ),
    ] = None
    bos: Bos = BosWhen.auto
    special: Special = SpecialAs.text

    @property
    def models(self) -> list[str]:
        """The operands that aren't files."""
        return [name for name in self.operands or () if not _is_text(name)]

    @property
    def texts(self) -> list[Path]:
        """The files, those of -f last; stdin if there are none."""
        named = [Path(name) for name in self.operands or () if _is_text(name)]
        return [*named, *(self.file or ())] or [Path("-")]


def _is_text(name: str) -> bool:
    return name == "-" or (Path(name).exists() and not Path(name).is_dir())


class Window(NamedTuple):
    """Tokens that are run together, and how many of them are new; `asked` for, or a default."""

    width: int
    stride: int
    asked: bool = False


@dataclass(frozen=True)
class WindowSettings:
    """How much of a text the model sees at once."""

    panel: ClassVar[str] = "Window"

    window: Setting[int | None] = setting(
        "--window",
        kind=Whole(2),
        default=None,
        metavar="N",
        help=f"Tokens that are run together. Default: the context, at most {WIDEST:,}.",
    )
    stride: Setting[int | None] = setting(
        "--stride",
        kind=Whole(1),
        default=None,
        metavar="N",
        help="New tokens of each window; the others are context. Default: half the window.",
    )

    def chosen(self, context: int) -> Window:
        """The windows for a model of so long a context. Raises `UsageError`."""
        width = self.window.value or min(context, WIDEST)
        if width > context:
            raise UsageError(
                f"a window of {width:,} tokens is wider than the context of {context:,}",
                hint="-c makes the context longer, if the model can do it",
            )
        stride = self.stride.value or max(1, width // 2)
        if stride > width:
            raise UsageError(f"a stride of {stride:,} is longer than the window of {width:,}")
        return Window(width, stride, self.window.value is not None)


@dataclass(frozen=True)
class EvaluateReport:
    """Where the figures go."""

    panel: ClassVar[str] = "Output"

    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line, a model each.", show_default=False),
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"), metavar="FILE", help="Write to a file.", show_default=False
        ),
    ] = None
    heat: Annotated[
        bool,
        typer.Option(
            "--heat",
            help="Show the text itself as well, each token as hot as it was dear, and the dearest "
            "words.",
            show_default=False,
        ),
    ] = False

    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the same as a page, which tells of the token pointed at.",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Raise `UsageError` for what can't be together."""
        if self.heat and self.json:
            raise UsageError(
                "--heat and --json exclude each other",
                hint="--html goes with --json; `score --json` has each token's log-probability",
            )
        one_on_stdout(self.output, self.html)


def models_to_run(names: list[str], settings: ModelSettings) -> list[ModelSettings]:
    """`settings` for each of the named models, or for -m's if none is named."""
    if not names:
        return [settings]
    if settings.model.source == "command line":
        names = [settings.model.value, *names]
    return [replace(settings, model=Setting(name, "command line")) for name in names]
