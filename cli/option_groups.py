"""What commands that run a model can be told, in groups: each a dataclass for `unfold`."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from .. import ModelError
from .options import Color, ColorWhen, Debug, Quiet, Verbose
from .settings import Choice, Flag, Many, Number, Setting, Source, Text, Whole, declared_in, setting

Bos = Literal["auto", "on", "off"]
Special = Literal["text", "parse"]
Overflow = Literal["error", "truncate-left"]
LARGEST_SEED = (1 << 63) - 1


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
        kind=Choice(("error", "truncate-left")),
        default="error",
        metavar="HOW",
        help="A prompt longer than the context: error, or truncate-left.",
    )


@dataclass(frozen=True)
class SamplingSettings:
    """How each next token is chosen."""

    panel: ClassVar[str] = "Sampling"

    temp: Setting[float] = setting(
        *("--temp", "--temperature"),
        kind=Number(at_least=0),
        default=0.0,
        metavar="X",
        help="Randomness; 0 is greedy. Default: the checkpoint's, else 0.",
    )
    top_k: Setting[int] = setting(
        "--top-k", kind=Whole(0), default=0, metavar="N", help="Only the N likeliest; 0 is off."
    )
    top_p: Setting[float] = setting(
        "--top-p",
        kind=Number(at_least=0, at_most=1),
        default=1.0,
        metavar="X",
        help="Only the likeliest that make up X together; 1 is off.",
    )
    min_p: Setting[float] = setting(
        "--min-p",
        kind=Number(at_least=0, at_most=1),
        default=0.0,
        metavar="X",
        help="Only those at least X times as likely as the likeliest; 0 is off.",
    )
    repeat_penalty: Setting[float] = setting(
        *("--repeat-penalty", "--repetition-penalty"),
        kind=Number(above=0),
        default=1.0,
        metavar="X",
        help="Make tokens of the recent text X times less likely; 1 is off.",
    )
    repeat_last_n: Setting[int] = setting(
        "--repeat-last-n",
        kind=Whole(-1),
        default=64,
        metavar="N",
        help="How many tokens are recent; -1: the whole text.",
    )
    seed: Setting[int] = setting(
        "--seed",
        kind=Whole(-LARGEST_SEED, LARGEST_SEED),
        default=0,
        metavar="N",
        help="The same seed gives the same text. Default, or below 0: random, and reported.",
    )
    samples: Setting[int] = setting(
        "--samples", kind=Whole(1), default=1, metavar="N", help="Continue the prompt N times."
    )

    def completed(self, checkpoint: Mapping[str, Any]) -> SamplingSettings:
        """These, with what nobody set taken from generation_config.json, and a seed drawn.

        At temperature 0 the other settings are put to what they then amount to: off. A repetition
        penalty acts on greedy choices too, so it is only put off where the checkpoint, which means
        it for sampling, brings it.
        """
        chosen = replace(self, **self._from(checkpoint))
        greedy: Source = "greedy"
        if chosen.temp.value == 0:
            off = SamplingSettings()
            chosen = replace(
                chosen,
                top_k=Setting(off.top_k.value, greedy),
                top_p=Setting(off.top_p.value, greedy),
                min_p=Setting(off.min_p.value, greedy),
            )
            if chosen.repeat_penalty.source == "generation_config.json":
                chosen = replace(chosen, repeat_penalty=Setting(off.repeat_penalty.value, greedy))
        if chosen.seed.source == "default" or chosen.seed.value < 0:
            if chosen.temp.value == 0:
                return replace(chosen, seed=Setting(0, greedy))
            import secrets  # slow to import, and seldom needed

            return replace(chosen, seed=Setting(secrets.randbelow(1 << 32), "random"))
        return chosen

    def without_effect(self, completed: SamplingSettings) -> list[str]:
        """The flags that somebody set here and that temperature 0 put off in `completed`."""
        declared = declared_in(SamplingSettings)
        return [
            declared[name].flag
            for name in ("top_k", "top_p", "min_p")
            if getattr(self, name).source != "default"
            if getattr(self, name).value != getattr(completed, name).value
        ]

    def _from(self, checkpoint: Mapping[str, Any]) -> dict[str, Setting[Any]]:
        """What generation_config.json says of settings that nobody set.

        Its numbers count only where it means sampling: `do_sample` true, or a temperature and no
        `do_sample`. Without a temperature they are meant for 1, as transformers reads them.
        """
        temperature = checkpoint.get("temperature")
        samples = checkpoint.get("do_sample")
        if samples is False or (samples is None and temperature is None):
            return {}
        declared = declared_in(SamplingSettings)
        offered = {"temp": 1.0 if temperature is None else temperature}
        offered |= {name: checkpoint.get(name) for name in ("top_k", "top_p", "min_p")}
        offered["repeat_penalty"] = checkpoint.get("repetition_penalty")
        found: dict[str, Setting[Any]] = {}
        for name, raw in offered.items():
            if raw is None or getattr(self, name).source != "default":
                continue
            key = {"temp": "temperature", "repeat_penalty": "repetition_penalty"}.get(name, name)
            try:
                value = declared[name].kind.accept(raw)
            except (ValueError, OverflowError):
                raise ModelError(
                    f"`{key}` in the checkpoint's generation_config.json must be "
                    f"{declared[name].kind.says}, not `{raw}`",
                    hint=f"{declared[name].flag} overrules it",
                ) from None
            found[name] = Setting(value, "generation_config.json")
        return found


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
