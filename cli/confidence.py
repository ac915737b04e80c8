"""--confidence: text coloured by how likely the model thought each token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from .sink import STDOUT
from .terminal import Terminal


class Band(NamedTuple):
    """Probabilities from `least` on, and what shows them: a colour's name, and how it is set.

    Letters are black on a light ground of their own, so that it doesn't matter whether the
    terminal's is dark or light. Blue to red can be told apart by those who can't tell green from
    red, and the last is underlined.
    """

    least: float
    name: str
    style: str


BANDS = (
    Band(0.9, "blue", "38;5;16;48;5;117"),
    Band(0.5, "pale blue", "38;5;16;48;5;195"),
    Band(0.2, "yellow", "38;5;16;48;5;229"),
    Band(0.05, "orange", "38;5;16;48;5;215"),
    Band(0.0, "red, underlined", "4;38;5;16;48;5;210"),
)


def band_of(logprob: float) -> Band:
    """The band of a probability that is given by its natural logarithm."""
    probability = math.exp(logprob)
    return next((band for band in BANDS if probability >= band.least), BANDS[-1])


def colour(text: str, sure: Sequence[float]) -> str:
    """`text` in the colours of its characters' log-probabilities.

    What ends a line is left plain: a ground would run on to the terminal's edge.
    """

    def style(pair: tuple[str, float]) -> str:
        return "" if pair[0] in "\r\n" else band_of(pair[1]).style

    out: list[str] = []
    for code, pairs in groupby(zip(text, sure, strict=True), style):
        run = "".join(letter for letter, _ in pairs)
        out.append(f"\x1b[{code}m{run}\x1b[0m" if code else run)
    return "".join(out)


def colours(terminal: Terminal, output: Path | None) -> bool:
    """Whether the text is coloured, where `output` says where it goes.

    A file is coloured only by `--color always`.
    """
    if output is not None and str(output) not in STDOUT:
        return terminal.colour == "always"
    return terminal.stdout is not None and terminal.paints(terminal.stdout)


def tell_legend(terminal: Terminal) -> None:
    """What the colours mean, each in its own where stderr has colours; they are named anyway."""
    painted = terminal.paints(terminal.stderr)
    parts: list[str] = []
    for band, above in zip(BANDS, (None, *BANDS), strict=False):
        least, bound = f"{band.least * 100:.0f} %", above and f"{above.least * 100:.0f} %"
        amount = f"{least} or more" if bound is None else f"{least} to {bound}"
        if band.least == 0:
            amount = f"below {bound}"
        words = f"{amount}: {band.name}"
        parts.append(f"\x1b[{band.style}m {words} \x1b[0m" if painted else words)
    terminal.note(f"confidence: {(' ' if painted else '; ').join(parts)}")
