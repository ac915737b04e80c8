"""What commands that run a model can be told, in groups: each a dataclass for `unfold`."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer

from ..engine.fit import OVERFLOWS, Overflow
from .options import Color, ColorWhen, Debug, Quiet, Verbose
from .settings import Choice, Flag, Many, Number, Setting, Text, Whole, setting

Bos = Literal["auto", "on", "off"]
Special = Literal["text", "parse"]


@dataclass(frozen=True)
class PromptOptions:
    """The prompt, and how it becomes tokens."""

    panel: ClassVar[str] = "Prompt"

    argument: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="The text to continue. Default: stdin.", show_default=False
        ),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            *("-p", "--prompt"), metavar="TEXT", help="The same as an option.", show_default=False
        ),
    ] = None
    file: Annotated[
        list[Path] | None,
        typer.Option(
            *("-f", "--file"),
            metavar="PATH",
            help="Take the prompt from a file (repeatable); `-` is stdin.",
            show_default=False,
        ),
    ] = None
    token_ids: Annotated[
        str | None,
        typer.Option(
            metavar="IDS", help='The prompt as token ids: "1,2,3" or "1 2 3".', show_default=False
        ),
    ] = None
    stdin: Annotated[
        bool | None,
        typer.Option(
            "--stdin/--no-stdin",
            help="Wait for stdin beside a prompt, or never read it.",
            show_default=False,
        ),
    ] = None
    escape: Annotated[
        bool,
        typer.Option(
            *("-e", "--escape"),
            help=r"Read \n, \t, \x41, \u3042 in the prompt and in --stop as escapes.",
            show_default=False,
        ),
    ] = False
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Keep the final newline of a file or of stdin.", show_default=False
        ),
    ] = False
    bos: Setting[Bos] = setting(
        "--bos",
        kind=Choice(("auto", "on", "off")),
        default="auto",
        metavar="WHEN",
        help="Begin-of-text token: auto (as the checkpoint has it), on or off.",
    )
    special: Setting[Special] = setting(
        "--special",
        kind=Choice(("text", "parse")),
        default="text",
        metavar="HOW",
        help="Special tokens written in the prompt: plain `text`, or `parse` them.",
    )
    overflow: Setting[Overflow] = setting(
        "--overflow",
        kind=Choice(OVERFLOWS),
        default="error",
        metavar="HOW",
        help="A text longer than the context: error, truncate-left, truncate-middle or shift.",
    )


@dataclass(frozen=True)
class StopSettings:
    """Where the text ends."""

    panel: ClassVar[str] = "Length and stops"

    max_tokens: Setting[int] = setting(
        *("-n", "--max-tokens", "--max-new-tokens", "--n-predict", "--predict"),
        kind=Whole(-1),
        default=256,
        metavar="N",
        help="Tokens to write at most; -1: to the context's end. Default: 256.",
    )
    stop: Setting[tuple[str, ...]] = setting(
        *("-r", "--stop", "--reverse-prompt"),
        kind=Many(Text()),
        default=(),
        metavar="TEXT",
        help="End before this text (repeatable).",
    )
    stop_token: Setting[tuple[int, ...]] = setting(
        "--stop-token",
        kind=Many(Whole(0)),
        default=(),
        metavar="ID",
        help="End at this token (repeatable).",
    )
    keep_stop: Setting[bool] = setting(
        "--keep-stop", kind=Flag(), default=False, help="Print the stop text too."
    )
    ignore_eos: Setting[bool] = setting(
        "--ignore-eos", kind=Flag(), default=False, help="Write on past an end-of-text token."
    )
    min_tokens: Setting[int] = setting(
        "--min-tokens",
        kind=Whole(0),
        default=0,
        metavar="N",
        help="Neither end-of-text nor stop tokens before N tokens.",
    )
    timeout: Setting[float | None] = setting(
        "--timeout",
        kind=Number(above=0),
        default=None,
        metavar="S",
        help="End after S seconds, loading included; what is written stays (exit 124).",
    )

    @property
    def most(self) -> int | None:
        """Tokens to write at most; None: to the context's end."""
        return None if self.max_tokens.value < 0 else self.max_tokens.value


@dataclass(frozen=True)
class OutputOptions:
    """What comes out, and where to."""

    panel: ClassVar[str] = "Output"

    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"),
            metavar="FILE",
            help="Write to FILE, whole or not at all.",
            show_default=False,
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="The same as --format json.", show_default=False)
    ] = False
    format: Setting[str] = setting(
        "--format",
        kind=Choice(("text", "json", "jsonl")),
        default="text",
        metavar="FORMAT",
        help="text, json (one document) or jsonl (one line a sample).",
    )
    logprobs: Setting[int | None] = setting(
        "--logprobs",
        kind=Whole(0),
        default=None,
        metavar="N",
        help="Each token's log-probability and the N likeliest: in JSON, or on stderr.",
    )
    echo: Setting[bool] = setting(
        "--echo", kind=Flag(), default=False, help="Print the prompt before the text."
    )
    confidence: Setting[bool] = setting(
        "--confidence",
        kind=Flag(),
        default=False,
        help="Colour the text by how likely each token was, with a legend on stderr.",
    )
    no_stream: Setting[bool] = setting(
        "--no-stream", kind=Flag(), default=False, help="Print the text when it is complete."
    )
    timings: Setting[bool] = setting(
        "--timings", kind=Flag(), default=False, help="Say on stderr how long each part took."
    )


@dataclass(frozen=True)
class TalkOptions:
    """How much is said on stderr, and where defaults come from."""

    panel: ClassVar[str] = "Talk"

    quiet: Quiet = False
    verbose: Verbose = 0
    color: Color = ColorWhen.auto
    debug: Debug = False
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings from this file, not ~/.config/lmtool/config.toml.",
            show_default=False,
        ),
    ] = None
