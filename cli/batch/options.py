"""What `lmtool batch` can be told: a dataclass for `unfold` each."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ... import UsageError
from ...engine.launch import alone
from ..option_groups import PromptOptions, StopSettings
from ..prompt import argument_text
from ..sampling_options import LARGEST_SEED, SamplingSettings
from ..settings import Choice, Flag, Setting, Text, Whole, setting


@dataclass(frozen=True)
class RowOptions:
    """Where rows come from, and what of them is the prompt."""

    panel: ClassVar[str] = "Rows"

    input: Annotated[
        Path,
        typer.Argument(
            metavar="[IN]",
            help="Rows: .jsonl, .csv, .tsv or .txt, packed or not. Default: stdin.",
            show_default=False,
        ),
    ] = Path("-")
    input_format: Setting[str] = setting(
        "--input-format",
        kind=Choice(("auto", "jsonl", "csv", "tsv", "lines")),
        default="auto",
        metavar="FORMAT",
        help="auto (by the file's name, else jsonl), jsonl, csv, tsv, or lines: a prompt each.",
    )
    template: Setting[str | None] = setting(
        "--template",
        kind=Text(),
        default=None,
        metavar="TEXT|FILE",
        help="The prompt as a Jinja template over the row's fields: 'Q: {{ question }}'.",
    )
    no_row_settings: Setting[bool] = setting(
        "--no-row-settings",
        kind=Flag(),
        default=False,
        help="Take a row's fields for data even where they are named as settings.",
    )


@dataclass(frozen=True)
class ResultOptions:
    """Where answers go, and what becomes of those that are there."""

    panel: ClassVar[str] = "Output"

    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"),
            metavar="FILE",
            help="The answers, a JSON object a row; FILE.partial until all are there.",
            show_default=False,
        ),
    ] = None
    unordered: Annotated[
        bool,
        typer.Option(
            "--unordered", help="Answers as they came, not in the rows' order.", show_default=False
        ),
    ] = False
    timings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write to FILE when each row was begun and answered.",
            show_default=False,
        ),
    ] = None
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Begin again, whatever was answered before.", show_default=False
        ),
    ] = False
    retry_errors: Annotated[
        bool,
        typer.Option("--retry-errors", help="Run rows that failed again.", show_default=False),
    ] = False


@dataclass(frozen=True)
class AnswerSettings:
    """What an answer tells besides its text."""

    panel: ClassVar[str] = "Output"

    logprobs: Setting[int | None] = setting(
        "--logprobs",
        kind=Whole(0),
        default=None,
        metavar="N",
        help="Each token's log-probability and the N likeliest.",
    )


@dataclass(frozen=True)
class BatchEffort:
    """How many texts run side by side, and how alike they come out."""

    panel: ClassVar[str] = "Effort"

    parallel: Setting[int] = setting(
        "--parallel",
        kind=Whole(1),
        default=128,
        metavar="N",
        help="Rows under way at once, at most. Default: 128.",
    )
    max_memory: Setting[str | None] = setting(
        "--max-memory",
        kind=Text(),
        default=None,
        metavar="SIZE",
        help="Memory for keys and values: 2G, 800M. Default: three quarters of what is free.",
    )
    deterministic: Setting[bool] = setting(
        "--deterministic",
        kind=Flag(),
        default=False,
        help="Have each row's answer to the bit in any company, even where that takes time.",
    )
    verify: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="At the end run N of the rows again, each alone, and compare.",
            show_default=False,
        ),
    ] = None

    @property
    def memory(self) -> int | None:
        """--max-memory in bytes. Raises `UsageError` for what is no size."""
        from ...tokenizer.training.memory import read_size

        given = self.max_memory.value
        return None if given is None else read_size(given, least=1)


@dataclass(frozen=True)
class ClusterOptions:
    """Other machines that answer rows."""

    panel: ClassVar[str] = "Effort"

    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Have a Ray cluster answer: host:port, auto, or local for one of this machine.",
            show_default=False,
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --ray: processes that answer. Default: one a GPU, or one a machine.",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Raise `UsageError` for workers of no cluster, and an address that can be none's."""
        if self.workers is not None and self.ray is None:
            raise UsageError(
                "--workers are those of --ray", hint="--parallel has rows side by side"
            )
        if self.ray is None:
            return
        alone("--ray")
        if not re.fullmatch(r"auto|local|ray://.*|.+:\d+", self.ray):
            raise UsageError(f"`{self.ray}` is no Ray address", hint="host:port, auto or local")


@dataclass(frozen=True)
class BatchPrompt(PromptOptions):
    """How a row's prompt becomes tokens."""

    panel: ClassVar[str] = "Prompt"

    argument: str | None = field(default=None, init=False)
    prompt: str | None = field(default=None, init=False)
    file: list[Path] | None = field(default=None, init=False)
    token_ids: str | None = field(default=None, init=False)
    stdin: bool | None = field(default=None, init=False)
    exact: bool = field(default=False, init=False)
    escape: Annotated[
        bool,
        typer.Option(
            *("-e", "--escape"),
            help=r"Read \n, \t, \x41, \u3042 in --template, --system and --stop as escapes.",
            show_default=False,
        ),
    ] = False


@dataclass(frozen=True)
class BatchSampling(SamplingSettings):
    """How each next token is chosen; one answer a row."""

    seed: Setting[int] = setting(
        "--seed",
        kind=Whole(-LARGEST_SEED, LARGEST_SEED),
        default=0,
        metavar="N",
        help="The seed of rows without one. Default: from a hash of the row and its settings.",
    )
    samples: Setting[int] = field(default=Setting(1), init=False)


@dataclass(frozen=True)
class BatchStops(StopSettings):
    """Where an answer ends."""

    timeout: Setting[float | None] = field(default=Setting(None), init=False)

    def texts(self, escape: bool) -> tuple[str, ...]:
        """What --stop gives, as text; `escape` reads escapes in what the command line has."""
        if self.stop.source in ("config file", "row"):
            return self.stop.value
        return tuple(argument_text(text, "--stop", escape) for text in self.stop.value)
