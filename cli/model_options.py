"""Which model a command runs, and how it is held: a dataclass each for `unfold`."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from . import loras
from .settings import Choice, Flag, Many, ModelName, Setting, Whole, setting

QuantName = Literal["none", "int8", "int4"]
QUANTS: tuple[QuantName, ...] = ("none", "int8", "int4")


@dataclass(frozen=True)
class WhichModel:
    """Which model, and where it runs."""

    panel: ClassVar[str] = "Model"

    model: Setting[str] = setting(
        *("-m", "--model"),
        kind=ModelName(),
        default="default",
        metavar="MODEL",
        help="A checkpoint folder, a repository id, or `default`: the model that ships inside.",
    )
    lora: Setting[tuple[str, ...]] = setting(
        "--lora",
        kind=Many(loras.LoraText()),
        default=(),
        metavar=loras.METAVAR,
        help=loras.HELP,
    )
    ctx_size: Setting[int | None] = setting(
        *("-c", "--ctx-size", "--max-model-len"),
        kind=Whole(1),
        default=None,
        metavar="N",
        help="Context length in tokens. Default: the checkpoint's own.",
    )
    device: Setting[str] = setting(
        "--device",
        kind=Choice(("auto", "cpu", "cuda", "mps")),
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda or mps.",
    )
    offline: Setting[bool] = setting(
        "--offline", kind=Flag(), default=False, help="Never touch the network."
    )


@dataclass(frozen=True)
class ModelSettings(WhichModel):
    """Which model, and how it is held."""

    dtype: Setting[str] = setting(
        "--dtype",
        kind=Choice(("auto", "float32", "bfloat16", "float16")),
        default="auto",
        metavar="TYPE",
        help="auto (as stored), float32, bfloat16 or float16.",
    )
    quant: Setting[QuantName] = setting(
        "--quant",
        kind=Choice(QUANTS),
        default="none",
        metavar="KIND",
        help="Round weights to int8 or int4 while loading. Default: none, as stored.",
    )
    kv_dtype: Setting[str] = setting(
        "--kv-dtype",
        kind=Choice(("auto", "float32", "bfloat16", "float16", "int8")),
        default="auto",
        metavar="TYPE",
        help="Cache keys and values so: auto (as computed), float32, bfloat16, float16, int8.",
    )
    threads: Setting[int | None] = setting(
        *("-t", "--threads"),
        kind=Whole(1),
        default=None,
        metavar="N",
        help="Processor threads. Default: every core.",
    )
    compile: Setting[bool] = setting(
        "--compile",
        kind=Flag(),
        default=False,
        help="Decode by compiled code: faster, after tens of seconds of compiling.",
    )


@dataclass(frozen=True)
class ReadingModel(ModelSettings):
    """Which model, for a command that reads texts and writes none: it has no use for some."""

    kv_dtype: Setting[str] = field(default=Setting("auto"), init=False)
    compile: Setting[bool] = field(default=Setting(False), init=False)


@dataclass(frozen=True)
class GuessSettings:
    """How tokens are guessed ahead, to be checked several at once. No guess changes the text."""

    panel: ClassVar[str] = "Guessing ahead (the text stays the same)"

    draft_model: Setting[str | None] = setting(
        "--draft-model",
        kind=ModelName(),
        default=None,
        metavar="PATH",
        help="Guess as this smaller model of the same vocabulary would go on.",
    )
    lookup: Setting[int] = setting(
        "--lookup",
        kind=Whole(0, 64),
        default=0,
        metavar="N",
        help="Guess up to N tokens as the text went on where it said the same before; 0 is off.",
    )
