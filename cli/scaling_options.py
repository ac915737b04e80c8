"""What `lmtool scaling` can be told of laws and reports."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import typer

from .. import UsageError
from .settings import Choice, Setting, setting
from .sink import one_on_stdout

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_COUNT = re.compile(r"(\d+\.?\d*(?:e\+?\d+)?)([kmbt]?)", re.IGNORECASE)


class Ahead(NamedTuple):
    """A size, and tokens if they are given, to foretell a loss for."""

    size: float
    tokens: float | None


@dataclass(frozen=True)
class LawSettings:
    """What the law is of."""

    panel: ClassVar[str] = "Law"

    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Fit measured points instead of models: columns N (parameters) and L (loss), "
            "perhaps D (tokens trained on), total, error, model. `-` is stdin.",
            show_default=False,
        ),
    ] = None
    params: Setting[str] = setting(
        "--params",
        kind=Choice(("non-embedding", "total")),
        default="non-embedding",
        metavar="WHICH",
        help="Parameters that N counts: non-embedding (without embeddings and head) or total.",
    )
    predict: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N[:D]",
            help="Foretell the loss of a size nobody measured, as 50M, or 70B:1.4T where D is in "
            "the law (repeatable).",
            show_default=False,
        ),
    ] = None

    @property
    def ahead(self) -> list[Ahead]:
        """What to predict. Raises `UsageError` for what is no count."""
        found: list[Ahead] = []
        for text in self.predict or ():
            size, colon, tokens = text.partition(":")
            counts = [_COUNT.fullmatch(part.strip()) for part in (size, tokens or "1")]
            values = [float(c[1]) * _UNITS[c[2].lower()] for c in counts if c is not None]
            if len(values) < 2 or (colon and not tokens) or not all(0 < v < 1e30 for v in values):
                raise UsageError(
                    f"--predict takes a number of parameters, not `{text}`",
                    hint="as in 50M, 7e9 or, with tokens, 70B:1.4T",
                )
            found.append(Ahead(values[0], values[1] if colon else None))
        return found


@dataclass(frozen=True)
class ScalingReport:
    """Where the result goes."""

    panel: ClassVar[str] = "Output"

    json: Annotated[bool, typer.Option("--json", help="One JSON object.", show_default=False)] = (
        False
    )
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"), metavar="FILE", help="Write to a file.", show_default=False
        ),
    ] = None
    svg: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the law into an SVG file.", show_default=False),
    ] = None
    points: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what was measured as CSV, which --csv reads.",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Raise `UsageError` where two results would go to stdout."""
        one_on_stdout(self.output, self.svg, self.points)
