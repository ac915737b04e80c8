"""The table of `lmtool evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.score import Loss

NAME = 24
"""Letters of a name that a table has room for."""


@dataclass(frozen=True)
class Line:
    """A model's loss on a text."""

    model: str
    text: str
    loss: Loss


def as_table(lines: list[Line], *, with_model: bool) -> str:
    """Aligned columns, names to the left and figures to the right."""
    rows = [heads(with_model), *(cells_of_line(line, with_model) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = 1 + with_model
    out = ""
    for row in rows:
        cells = [
            f"{cell:<{width}}" if place < names or cell.startswith("±") else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        # An error stands close to its figure.
        out += "  ".join(cells).replace("  ±", " ±").rstrip() + "\n"
    return out


def heads(with_model: bool) -> list[str]:
    """What the columns are; an error's has no name."""
    return ["model"] * with_model + ["text", "tokens", "loss", "", "perplexity", "bits/byte", ""]


def cells_of_line(line: Line, with_model: bool) -> list[str]:
    """A row of the table."""
    loss = line.loss
    return [
        *([_short(line.model)] * with_model),
        _short(line.text),
        f"{loss.tokens:,}",
        *_with_error(loss.mean, loss.error),
        "-" if loss.perplexity is None else f"{loss.perplexity:,.2f}",
        *_with_error(loss.bits_per_byte, loss.bits_error),
    ]


def _with_error(value: float | None, error: float | None) -> list[str]:
    if value is None:
        return ["-", ""]
    return [f"{value:.4f}", "" if error is None else f"±{error:.4f}"]


def _short(name: str) -> str:
    return name if len(name) <= NAME else "…" + name[1 - NAME :]
