"""Aligned tables for people: plain text, or Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings; the first `left` columns begin at the left, others end right.

    `left` can also name the places of those columns, where they aren't the first. A row that is
    too short has nothing in its last columns.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int | Collection[int] = 1
    notes: Sequence[str] = ()
    """Lines below the table."""
    under: bool = False
    """Whether headings stand below the title, which would make the first column too wide."""

    def begins_left(self, place: int) -> bool:
        """Whether the cells of a column begin at its left."""
        return place < self.left if isinstance(self.left, int) else place in self.left


def as_text(table: Table, bold: bool = False) -> str:
    """The table under its title, with a blank line after it."""
    first = table.heads[0] if table.under else table.title
    lines = [[first, *table.heads[1:]], *table.rows]
    widths = [
        max(display_width(line[place]) if place < len(line) else 0 for line in lines)
        for place in range(len(table.heads))
    ]
    drawn = [
        "  ".join(
            _padded(cell, widths[place], table.begins_left(place))
            for place, cell in enumerate(line)
        ).rstrip()
        for line in lines
    ]
    if table.under:
        drawn.insert(0, table.title)
    if bold:
        drawn[0] = f"\x1b[1m{drawn[0]}\x1b[0m"
    return "\n".join([*drawn, *table.notes, "", ""])


def as_markdown(table: Table) -> str:
    """The table as GitHub's Markdown has it, under its title."""
    rules = ["---" if table.begins_left(place) else "---:" for place in range(len(table.heads))]
    full = [[*row, *[""] * (len(table.heads) - len(row))] for row in table.rows]
    lines = [_markdown_row(row) for row in (table.heads, rules, *full)]
    notes = ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join([f"**{table.title}**", "", *lines, *notes, "", ""])


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def display_width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return sum(map(_columns, text))


def fitted(text: str, width: int, *, keep_end: bool = False) -> str:
    """`text` in at most `width` columns, with `…` in place of what doesn't fit."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text}…"


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """`text` in lines of at most `width` columns, if its words are no longer, cut at its spaces.

    The first line begins with `first`, the others with `rest`.
    """
    lines = [first]
    for word in text.split(" "):
        gap = "" if lines[-1] in (first, rest) else " "
        if gap and display_width(lines[-1]) + 1 + display_width(word) > width:
            lines.append(rest)
            gap = ""
        lines[-1] += gap + word
    return lines


def printable(text: str) -> str:
    """`text` on one line, without characters that would move a terminal's cursor."""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in hidden else c for c in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _padded(cell: str, width: int, left: bool) -> str:
    space = " " * (width - display_width(cell))
    return cell + space if left else space + cell
