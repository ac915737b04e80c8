"""What `lmtool bench` can be told: the forms of the model, the points to measure, the report."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar, cast

import typer

from .. import UsageError
from .model_options import QUANTS, ModelSettings, QuantName, WhichModel
from .ranges import Names, Ranges
from .sampling_options import LARGEST_SEED
from .settings import Choice, Flag, Many, Setting, Whole, listed, setting

if TYPE_CHECKING:
    from ..engine.bench import Point

T = TypeVar("T")
Lists = Setting[tuple[tuple[T, ...], ...]]
"""What an option was given, each time it was given: lists and ranges read."""


@dataclass(frozen=True)
class HeldSettings:
    """The forms in which the model is held, one after another."""

    panel: ClassVar[str] = "Model"

    dtype: Lists[str] = setting(
        "--dtype",
        kind=Many(Names(("auto", "float32", "bfloat16", "float16"))),
        default=(("auto",),),
        metavar="LIST",
        help="auto (as stored), float32, bfloat16, float16, or several.",
    )
    quant: Lists[str] = setting(
        "--quant",
        kind=Many(Names(QUANTS)),
        default=(("none",),),
        metavar="LIST",
        help=f"{', '.join(QUANTS)}, or several.",
    )
    threads: Lists[int] = setting(
        *("-t", "--threads"),
        kind=Many(Ranges(1)),
        default=(),
        metavar="LIST",
        help="Processor threads. Default: every core.",
    )
    compile: Setting[bool] = setting(
        "--compile",
        kind=Flag(),
        default=False,
        help="Decode by compiled code, as generate --compile does.",
    )

    def each(self, which: WhichModel) -> Iterator[ModelSettings]:
        """What to open, in turn."""
        threads: list[int | None] = [*flat(self.threads)] or [None]
        for quant, dtype, count in product(flat(self.quant), flat(self.dtype), threads):
            yield ModelSettings(
                model=which.model,
                lora=which.lora,
                ctx_size=which.ctx_size,
                device=which.device,
                offline=which.offline,
                dtype=Setting(dtype, self.dtype.source),
                quant=Setting(cast("QuantName", quant), self.quant.source),
                threads=Setting(count, self.threads.source),
                compile=self.compile,
            )


@dataclass(frozen=True)
class PointSettings:
    """What to measure, and how often."""

    panel: ClassVar[str] = "Points"

    prompt: Lists[int] = setting(
        *("-p", "--prompt", "--n-prompt"),
        kind=Many(Ranges()),
        default=((512,),),
        metavar="LIST",
        help="Tokens of prompt to read; 0: only write. Default: 512, or half a smaller context.",
    )
    tokens: Lists[int] = setting(
        *("-n", "--tokens", "--n-gen"),
        kind=Many(Ranges()),
        default=((128,),),
        metavar="LIST",
        help="Tokens to write; 0: only read. Default: 128, or a quarter of a smaller context.",
    )
    depth: Lists[int] = setting(
        *("-d", "--depth", "--n-depth"),
        kind=Many(Ranges()),
        default=((0,),),
        metavar="LIST",
        help="Tokens that are cached before the prompt. Default: 0.",
    )
    batch: Lists[int] = setting(
        *("-b", "--batch"),
        kind=Many(Ranges(1)),
        default=((1,),),
        metavar="LIST",
        help="Texts read and written at once. Default: 1.",
    )
    repeats: Setting[int] = setting(
        *("-r", "--repeats", "--repetitions"),
        kind=Whole(1),
        default=5,
        metavar="N",
        help="Measure each point N times, after once to get warm. Default: 5.",
    )
    seed: Setting[int] = setting(
        "--seed",
        kind=Whole(-LARGEST_SEED, LARGEST_SEED),
        default=0,
        metavar="N",
        help="The same seed makes the same random ids.",
    )

    def points(self, context: int) -> list[Point]:
        """Every combination; what nobody set is made to fit a small context."""
        from ..engine.bench import Point

        prompts, tokens = flat(self.prompt), flat(self.tokens)
        if self.prompt.source == "default":
            prompts = [min(512, context // 2)]
        if self.tokens.source == "default":
            tokens = [min(128, context // 4)]
        choices = product(flat(self.batch), flat(self.depth), prompts, tokens)
        return [Point(*choice) for choice in choices]

    def refuse_nothing(self) -> None:
        """Raises `UsageError` for a point that neither reads nor writes."""
        if 0 in flat(self.prompt) and 0 in flat(self.tokens):
            raise UsageError("-p 0 and -n 0 together measure nothing")


@dataclass(frozen=True)
class ReportOptions:
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
        kind=Choice(("text", "json", "jsonl", "csv", "markdown")),
        default="text",
        metavar="FORMAT",
        help="text (a table), json (an array), jsonl, csv or markdown.",
    )

    def chosen(self) -> str:
        """The format. Raises `UsageError` where --json contradicts --format."""
        if self.json and self.format.source == "command line" and self.format.value != "json":
            raise UsageError(f"`--json` contradicts `--format {self.format.value}`")
        return "json" if self.json else self.format.value


def flat(setting: Lists[T]) -> list[T]:
    """All values of a setting that may have been given several times."""
    return [*chain.from_iterable(setting.value)]


def varying(*groups: object) -> set[str]:
    """The settings of `groups` that were given more than one value."""
    lists = {name: one for name, one in listed(*groups).items() if isinstance(one.value, tuple)}
    return {name for name, one in lists.items() if len(set(flat(one))) > 1}
