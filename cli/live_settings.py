"""What `lmtool chat` can be told on the command line, and what of it changes while it runs."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from .. import UsageError
from .option_groups import Bos, Special, StopSettings
from .prompt import argument_text
from .sampling_options import SamplingSettings
from .settings import Choice, Flag, Place, Setting, Source, Whole, listed, places, setting

if TYPE_CHECKING:
    from ..engine.session import Session

TalkOverflow = Literal["error", "truncate-left"]


@dataclass(frozen=True)
class ChatSampling(SamplingSettings):
    """How each next token is chosen; one answer at a time."""

    samples: Setting[int] = field(default=Setting(1), init=False)


@dataclass(frozen=True)
class ChatStops(StopSettings):
    """Where an answer ends."""

    max_tokens: Setting[int] = setting(
        *("-n", "--max-tokens", "--max-new-tokens", "--n-predict", "--predict"),
        kind=Whole(-1),
        default=1024,
        metavar="N",
        help="Tokens of an answer at most; -1: to the context's end. Default: 1024.",
    )
    timeout: Setting[float | None] = field(default=Setting(None), init=False)

    def texts(self) -> tuple[str, ...]:
        """What --stop gives, as text."""
        stop = self.stop
        if stop.source != "command line":
            return stop.value
        return tuple(argument_text(text, "--stop") for text in stop.value)


@dataclass(frozen=True)
class TurnSettings:
    """What becomes of each message."""

    panel: ClassVar[str] = "Turns"

    overflow: Setting[TalkOverflow] = setting(
        "--overflow",
        kind=Choice(("error", "truncate-left")),
        default="error",
        metavar="HOW",
        help="A talk longer than the context: error, or truncate-left, which drops oldest turns.",
    )
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
        help="Special tokens written in messages: plain `text`, or `parse` them.",
    )
    timings: Setting[bool] = setting(
        "--timings", kind=Flag(), default=False, help="Say after each answer what it took."
    )


@dataclass(frozen=True)
class TalkFiles:
    """What is read from and written to the disk."""

    panel: ClassVar[str] = "Files"

    load: Annotated[
        Path | None,
        typer.Option(
            "--load",
            metavar="FILE",
            help="Go on with a talk that /save has written.",
            show_default=False,
        ),
    ] = None
    no_history: Setting[bool] = setting(
        "--no-history",
        kind=Flag(),
        default=False,
        help="Keep no file of the lines that were typed.",
    )


GROUPS = {"sampling": ChatSampling, "stops": ChatStops, "turn": TurnSettings}
"""Where the settings that /set changes are declared, by their place in `LiveSettings`."""


@dataclass(frozen=True)
class LiveSettings:
    """The settings that /set changes."""

    sampling: ChatSampling
    stops: ChatStops
    turn: TurnSettings

    def changed(self, name: str, raw: object, source: Source = "/set") -> LiveSettings:
        """These with the setting called `name` put to `raw`; "default" is what it is by itself.

        Raises `UsageError` for a name that isn't known and for a value that can't be.
        """
        place, key, declared = self._find(name)
        group: Any = getattr(self, place)
        shown = f"`{declared.names[0]}`"
        if raw == "default":
            value: Setting[Any] = getattr(GROUPS[place], key)
        else:
            value = Setting(declared.accept(raw, shown), source)
        return replace(self, **{place: replace(group, **{key: value})})

    def with_all(self, values: Mapping[str, object]) -> LiveSettings:
        """These with `values` by name, as a saved talk has them. Raises as `changed` does."""
        settings = self
        for name, raw in values.items():
            settings = settings.changed(name, raw)
        return settings

    def named(self, name: str) -> tuple[str, Setting[Any]]:
        """The setting called `name`, by the first of its names. Raises `UsageError`."""
        place, key, declared = self._find(name)
        return declared.names[0], getattr(getattr(self, place), key)

    def listed(self) -> dict[str, Setting[Any]]:
        """All of them, by name."""
        return listed(self.sampling, self.stops, self.turn)

    def given(self) -> dict[str, object]:
        """The values that somebody chose, as JSON holds them, for a talk to be saved with."""
        return {
            name: one.value  # JSON makes a list of a tuple
            for name, one in self.listed().items()
            if one.source != "default" and name != "timings"
        }

    def check(self, session: Session) -> None:
        """Raise `LmtoolError` for what only the model knows to be wrong."""
        from .stops import stop_for

        self.sampling.completed(session.defaults).for_engine(session)
        stop_for(session, self.stops, self.stops.texts())

    def _find(self, name: str) -> Place:
        """The group and the field of a setting, and how it is declared."""
        wanted = name.lower().lstrip("-").replace("-", "_")
        known = places(GROUPS)
        if wanted in known:
            return known[wanted]
        near = get_close_matches(wanted, known, 1)
        raise UsageError(
            f"no setting is called `{name[:60]}`",
            hint=f"did you mean `{near[0]}`?" if near else "/set alone lists them",
        )
