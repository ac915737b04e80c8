"""`lmtool evaluate --heat`: a text in the terminal, each token as hot as it was dear."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from .evaluate_report import Line
from .heat import BANDS, Cell, Dear, Heat, before_of, chance_of, course_of, range_of
from .text_table import Table, as_text, display_width, fitted, printable
from .token_cells import Part, parts_of

if TYPE_CHECKING:
    from ..engine.score import Loss

WIDTH = 80
SHOWN = 4096
"""Tokens of a text that are shown in a terminal, the first ones."""
_STEPS = "▁▂▃▄▅▆▇█"
_WORD, _BEFORE = 20, 30
_NOTE = (
    "Bits are -log2 of the chance that the model gave a token: a bit more is half the chance. "
    "A text's first token has none, as nothing stands before it."
)
_MARKS = "The marks below a line are its tokens' bits."

Letter = tuple[str, int]
"""A letter and its band."""


def draw_heat(line: Line, heat: Heat, colour: bool) -> str:
    """A section: the text, what its colours or marks mean, and where it cost most."""
    title = f"Where the loss sits: {line.model} on {line.text}"
    parts = ["", _bold(fitted(printable(title), WIDTH), colour), *_course(line.loss), ""]
    for row in _rows(_letters(heat)):
        parts += _drawn(row, colour)
    if heat.tokens > SHOWN:
        parts.append(f"… the first {SHOWN:,} of {heat.tokens:,} tokens; --html shows more")
    tables = (_legend(heat, colour), _dearest(heat.dearest()))
    return "\n".join([*parts, "", *(as_text(table, colour)[:-1] for table in tables)])


def _course(loss: Loss) -> list[str]:
    """How dear the text is from its beginning to its end, in a line; nothing of a short one."""
    steps = course_of(loss.shares.sums, WIDTH)
    if len(steps) < 8:
        return []
    low, high = min(steps), max(steps)
    marks = (round((len(_STEPS) - 1) * step / high) if 0 < high < float("inf") else 0
             for step in steps)  # fmt: skip
    told = f"its course, from beginning to end: {low:.1f} to {high:.1f} bits a token"
    return ["".join(_STEPS[mark] for mark in marks), told]


def _letters(heat: Heat) -> Iterator[list[Letter]]:
    """The text as words, each with the space before it, and ends of lines."""
    word: list[Letter] = []
    ended = True
    for cell in heat.cells(SHOWN):
        if heat.begins(cell.place) and not ended:
            yield [*word, ("\n", 0)]
            word = []
        for part in parts_of(cell.data) or [("mark", "⟨⟩")]:
            if part[0] in ("space", "tab") and word and word[-1][0] != " ":
                yield word
                word = []
            word += _letters_of(part, cell)
            ended = part[0] == "newline"
            if ended:
                yield word
                word = []
    yield word


def _letters_of(part: Part, cell: Cell) -> Iterator[Letter]:
    kind, text = part
    shown = {"space": " ", "tab": "→ ", "newline": f"{text}\n"}.get(kind, text)
    return ((letter, cell.band or 0) for letter in shown)


def _rows(words: Iterable[list[Letter]]) -> Iterator[list[Letter]]:
    """Rows of a terminal: broken where lines end, before words, and within those too long."""
    row: list[Letter] = []
    width = 0
    for word in words:
        own = display_width("".join(letter for letter, _ in word if letter != "\n"))
        if row and width + own > WIDTH:
            yield row
            row, width = [], 0
            word = word[1:] if word[0][0] == " " and len(word) > 1 else word
        for letter, band in word:
            columns = display_width(letter) if letter != "\n" else 0
            if letter == "\n" or width + columns > WIDTH:
                yield row
                row, width = [], 0
            if letter != "\n":
                row.append((letter, band))
                width += columns
    if row:
        yield row


def _drawn(row: list[Letter], colour: bool) -> list[str]:
    """A row in colours; without them with marks below it, where a token has one."""
    text = "".join(letter for letter, _ in row)
    if colour:
        runs = groupby(row, key=lambda pair: pair[1])
        return ["".join(_painted("".join(letter for letter, _ in run), band) for band, run in runs)]
    marks = "".join(BANDS[band].mark * display_width(letter) for letter, band in row).rstrip()
    return [text.rstrip(), marks] if marks else [text.rstrip()]


def _painted(text: str, band: int) -> str:
    style = BANDS[band].style
    return f"\x1b[{style}m{text}\x1b[0m" if style else text


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour else text


def _legend(heat: Heat, colour: bool) -> Table:
    """What the bands are, and how much of the loss is in each."""
    tokens, bits = sum(heat.counts) or 1, sum(heat.sums) or 1.0
    rows = [
        [
            range_of(number),
            chance_of(number),
            f"{count:,}",
            f"{100 * count / tokens:.1f}%",
            f"{100 * total / bits:.1f}%",
            _painted("  token  ", number) if colour else band.mark * 5,
        ]
        for number, (band, count, total) in enumerate(
            zip(BANDS, heat.counts, heat.sums, strict=True)
        )
    ]
    heads = ["bits a token", "chance it had", "tokens", "of all", "of the loss", "shown"]
    notes = textwrap.wrap(_NOTE if colour else f"{_NOTE} {_MARKS}", WIDTH)
    return Table(heads[0], heads, rows, (0, 1, 5), notes)


def _dearest(words: list[Dear]) -> Table:
    """The words that cost most, and what stood before them."""
    rows = [
        [
            fitted(dear.word, _WORD),
            f"{dear.bits:.1f}",
            str(dear.tokens),
            f"{dear.place:,}",
            fitted(before_of(dear), _BEFORE, keep_end=True),
        ]
        for dear in words
    ]
    heads = ["the dearest words", "bits", "tokens", "at", "after"]
    return Table(heads[0], heads, rows, (0, 4))
