"""The grid of `lmtool explain --html`: what each layer would answer, under each token of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from .explain_json import Explained
from .explain_words import percent as percent_of
from .token_cells import parts_of
from .web_page import on_a_line

if TYPE_CHECKING:
    from ..engine.lens.explanation import View
    from ..engine.lens.grid import Column


@dataclass(frozen=True)
class Grid:
    """The columns that are shown, and which of them are of the predictions explained."""

    found: Explained
    columns: Sequence[Column]
    explained: dict[int, int]
    """Which prediction a column is of, by the places of both."""

    @classmethod
    def of(cls, found: Explained, columns: Sequence[Column]) -> Grid:
        """Put what each explanation saw itself in place of its column."""
        explained: dict[int, int] = {}
        shown = list(columns)
        for number, one in enumerate(found.explanations):
            at = one.position - 1 - columns[0].place
            if 0 <= at < len(shown):
                seen = (one.before, *(layer.view for layer in one.layers))
                shown[at] = replace(shown[at], following=one.answer, views=seen)
                explained[at] = number
        return cls(found, shown, explained)

    def html(self) -> str:
        """The table: the tokens on top, the layers below each other, last what is really next."""
        heights = range(len(self.columns[0].views))
        rows = "".join(map(self._row, heights))
        return (
            f'<table class="grid" role="grid"><thead><tr><th scope="row">token read</th>'
            f"{''.join(map(self._head, range(len(self.columns))))}</tr></thead>\n"
            f"<tbody>{rows}</tbody>\n<tfoot><tr>"
            f'<th scope="row">really next</th>{"".join(self._nexts())}</tr></tfoot></table>'
        )

    def _head(self, at: int) -> str:
        shown = token(self.found, self.found.ids[self.columns[at].place])
        number = self.explained.get(at)
        if number is None:
            return f'<th scope="col">{shown}</th>'
        pick = f' data-pick="{number}" title="explain what comes after this"'
        return f'<th scope="col" class="x"{pick}>{shown}</th>'

    def _row(self, height: int) -> str:
        last = len(self.columns[0].views) - 1
        name = "embedding" if not height else f"layer {height - 1}"
        if height == last:
            name += " = its answer"
        cells = "".join(self._cell(at, height) for at in range(len(self.columns)))
        return f'<tr><th scope="row">{name}</th>{cells}</tr>\n'

    def _cell(self, at: int, height: int) -> str:
        column, number = self.columns[at], self.explained.get(at)
        best, final = column.views[height].top[0], column.views[-1].top[0]
        kinds = "s" if best.id == final.id else ""
        if best.id == self._next(at):
            kinds += " r"
        if number is not None and self.found.explanations[number].height_for_good == height:
            kinds += " lead"
        kind = f' class="{kinds.strip()}"' if kinds else ""
        return (
            f'<td{kind} style="--p:{best.probability:.2g}">{token(self.found, best.id)}'
            f"<small>{percent(best.probability)}</small></td>"
        )

    def _next(self, at: int) -> int | None:
        place = self.columns[at].place + 1
        return self.found.ids[place] if place < len(self.found.ids) else None

    def _nexts(self) -> Iterator[str]:
        for at in range(len(self.columns)):
            id = self._next(at)
            yield (
                '<td title="the text ends here">?</td>'
                if id is None
                else f"<td>{token(self.found, id)}</td>"
            )

    def told(self) -> list[list[Any]]:
        """For the script: token, the one to come, and of each height rank, chance and guesses."""
        return [
            [self.found.ids[c.place], c.following, self.explained.get(at), [*map(_seen, c.views)]]
            for at, c in enumerate(self.columns)
        ]


def _seen(view: View) -> list[Any]:
    guesses = [part for guess in view.top for part in (guess.id, round(guess.probability, 4))]
    return [view.rank, round(view.answer.probability, 4), guesses]


def token(found: Explained, *ids: int) -> str:
    """Tokens on one line; what stands for white space or can't be seen is faint."""
    parts = parts_of(b"".join(map(found.spelling.data, ids))) or [("mark", "⟨⟩")]
    return f"<b>{''.join(map(on_a_line, parts))}</b>"


def percent(share: float) -> str:
    """A share, as the report on a terminal has it."""
    return escape(percent_of(share))


GRID = """<section>
<h2>When did it know?</h2>
<p>Read a column from top to bottom. On top stands a token that the model has read; below it, \
layer by layer, what it would have said comes <em>after</em> that token if it had stopped there \
(the <em>logit lens</em>), and how sure it was: the surer, the deeper the colour. The last row is \
what it does answer; below that is what the text really goes on with.{left}</p>
{leads}
<ul class="legend"><li><b class="k lead">framed</b> from here on the explained answer leads</li>\
<li><b class="k s">bold</b> as the last row answers</li>\
<li><b class="k r">ticked</b> as the text really goes on</li></ul>
<div class="box" tabindex="-1">{grid}</div>
</section>"""
