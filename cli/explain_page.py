"""`lmtool explain --html`: one page that shows why the next word is that one.

From top to bottom: the words that attention gathered from, the logit lens as a grid of layers and
tokens, the answer's logit as a sum, the neurons that recalled it. The page needs no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import copysign, sqrt
from typing import TYPE_CHECKING, Any

from .explain_grid import GRID, Grid, percent, token
from .explain_json import Explained
from .explain_page_script import SCRIPT, STYLE, TELLING
from .explain_parts import draw_neurons, draw_sum, draw_what_if, told_layers
from .explain_words import Share, shares_of
from .text_table import printable
from .token_cells import parts_of
from .web_page import head, in_text, tail

if TYPE_CHECKING:
    from ..engine.lens.explanation import Explanation
    from ..engine.lens.grid import Column

COLUMNS = 100
"""Tokens that the page has room for: the last ones, or as many as there are predictions."""


def first_shown(found: Explained) -> int:
    """The place of the first token that the page shows."""
    positions = [one.position for one in found.explanations]
    return max(0, min(positions[-1] - COLUMNS, positions[0] - 1))


def as_page(found: Explained, columns: Sequence[Column]) -> str:
    """The page. `columns` are the logit lens from the first token shown to the last explained one.

    Without predictions it says that there are none.
    """
    if not found.explanations:
        return _page(["<p>Nothing was written: there is nothing to explain.</p>"], {}, "")
    grid, first = Grid.of(found, columns), columns[0].place
    heads = [_Words(found, one, first) for one in found.explanations]
    layers = len(columns[0].views) - 1
    body = _each(words.heading() for words in heads)
    body.append(_INTRO.format(model=_text(found.card.name), layers=_layers(layers)))
    body.append(_picker(found))
    body += _each(draw_what_if(found, one) for one in found.explanations)
    body += _each(words.html(number) for number, words in enumerate(heads))
    told_of = "".join(_each(_leads(found, one) for one in found.explanations))
    body.append(GRID.format(grid=grid.html(), left=_left_out(first), leads=told_of))
    body += _each(draw_sum(found, one) + draw_neurons(found, one) for one in found.explanations)
    told = {
        "columns": grid.told(),
        "stories": [
            {
                "answer": one.answer,
                "column": one.position - 1 - first,
                "words": words.told(),
                "layers": told_layers(one),
            }
            for one, words in zip(found.explanations, heads, strict=True)
        ],
    }
    return _page(body, told | {"texts": _texts(found, grid)}, TELLING + SCRIPT)


def _page(body: Sequence[str], told: object, script: str) -> str:
    main = "\n".join(body)
    begin = head("Why the next word is that one", STYLE)
    return (
        f'{begin}<main>\n{main}\n</main>\n<output id="tip" hidden></output>\n{tail(told, script)}'
    )


def _texts(found: Explained, grid: Grid) -> dict[int, str]:
    """How every token is spelled that the script may have to name."""
    ids: set[int] = set()
    for column in grid.columns:
        ids |= {found.ids[column.place], column.following}
        ids.update(guess.id for view in column.views for guess in view.top)
    return {id: found.spelling.shown(id) for id in sorted(ids)}


def _each(parts: Iterable[str]) -> list[str]:
    """What there is of each prediction, one of which is shown at a time."""
    return [f'<div data-of="{number}">{part}</div>' for number, part in enumerate(parts)]


def _text(words: str) -> str:
    return escape(printable(words))


def _leads(found: Explained, one: Explanation) -> str:
    """From where the answer comes up first, and for good."""
    answer = token(found, one.answer)
    first = one.first_height
    if first is None:
        return f"<p>{answer} leads after no layer.</p>"
    where = f"after layer {first - 1}" if first else "at the embedding"
    said = f"{answer} comes up first {where}"
    if one.leads_from is None:
        return f"<p>{said}, and falls behind again.</p>"
    if one.height_for_good != first:
        return f"<p>{said}, and stays in front from layer {one.leads_from} on.</p>"
    return f"<p>{said} and stays in front from there on.</p>"


def _layers(count: int) -> str:
    return "one layer" if count == 1 else f"{count} layers"


def _left_out(first: int) -> str:
    if not first:
        return ""
    return f" The {first:,} tokens before these were read too, but have no column."


def _picker(found: Explained) -> str:
    """Which prediction is shown; nothing where there is one."""
    if len(found.explanations) == 1:
        return ""
    pills = "".join(
        f'<label><input type="radio" name="of" value="{number}"{" checked" * (not number)}>'
        f"{token(found, one.answer)}</label>"
        for number, one in enumerate(found.explanations)
    )
    return (
        '<fieldset id="pick"><legend>Explain another of the tokens that it wrote: '
        f"click one, or use the arrow keys</legend>{pills}</fieldset>"
    )


class _Words:
    """The prompt's words before one prediction, and the answer behind them."""

    def __init__(self, found: Explained, one: Explanation, first: int) -> None:
        self.found, self.one = found, one
        shares = shares_of(one, found.spelling.words(found.ids[: one.position]))
        self.shown = [share for share in shares if share.word.end > first]
        self.hidden = shares[: len(shares) - len(self.shown)]
        figures = [_figures(share) for share in self.shown]
        self.most = [max(abs(row[place]) for row in figures) for place in range(3)]

    def heading(self) -> str:
        """What is explained, and how likely it is."""
        answer = token(self.found, self.one.answer)
        rank = self.one.view.rank
        comes = "comes next" if rank == 1 else f"is only in place {rank:,}"
        return f"<h1>Why {answer} {comes}</h1>\n<p>{self._said()}</p>"

    def html(self, number: int) -> str:
        """The section: the text with its colours, and the answer behind it."""
        return _WORDS.format(
            number=number,
            most=self._most(),
            answer=token(self.found, self.one.answer),
            before=self._before(),
            words="".join(map(self._word, self.shown)),
        )

    def _said(self) -> str:
        """How likely the answer is, and what else was."""
        one, view, found = self.one, self.one.view, self.found
        chance = percent(view.answer.probability)
        if view.rank == 1:
            said = f"The model gives it {chance}, more than any other token."
            others = view.top[1:4]
        else:
            said = f"The model gives it {chance}."
            others = view.top[:3]
        if others:
            named = (f"{token(found, o.id)} {percent(o.probability)}" for o in others)
            said += f" {'Next come' if view.rank == 1 else 'Likelier are'} {', '.join(named)}."
        actual = found.next(one)
        if actual is not None and actual != one.answer:
            said += f" The text itself goes on with {token(found, actual)}."
        return said

    def _most(self) -> str:
        """The words that gave most."""
        strongest = sorted(self.shown, key=lambda share: -share.brought)[:3]
        named = [f"{self._name(share)} ({percent(share.brought)})" for share in strongest]
        return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))

    def _name(self, share: Share) -> str:
        return token(self.found, *self.found.ids[share.word.begin : share.word.end])

    def _before(self) -> str:
        if not self.hidden:
            return ""
        whole = sum(share.brought for share in self.hidden)
        more = f"{len(self.hidden):,} words before"
        return f'<span class="more">… {more}, which gave {percent(whole)} …</span> '

    def _word(self, share: Share) -> str:
        named = zip(("brought", "back", "adds"), self._scaled(share), strict=True)
        style = ";".join(f"--{name}:{value:.2g}" for name, value in named)
        ids = self.found.ids[share.word.begin : share.word.end]
        parts = parts_of(b"".join(map(self.found.spelling.data, ids))) or [("mark", "⟨⟩")]
        return f'<b style="{style}">{"".join(map(in_text, parts))}</b>'

    def _scaled(self, share: Share) -> Iterator[float]:
        """How deep a word's colours are: a root, so that the small is seen beside the large."""
        for value, most in zip(_figures(share), self.most, strict=True):
            yield copysign(sqrt(abs(value) / most), value) if most else 0.0

    def told(self) -> list[list[Any]]:
        """For the script: each word and its three figures."""
        return [
            [s.word.shown, round(s.brought, 4), round(s.rollout, 4), round(s.logit, 3)]
            for s in self.shown
        ]


def _figures(share: Share) -> tuple[float, float, float]:
    return share.brought, share.rollout, share.logit


_INTRO = """<p>A language model writes one token at a time: a word, or a piece of one. To find the \
next, {model} sends the text through {layers}, one after another. In each, <em>attention</em> \
gathers from the tokens before, and the <em>MLP</em> adds what the model remembers from its \
training. This page takes one such step apart. Point at anything with a colour, or click it, to be \
told more; in a group of such things the arrow keys move on. A faint <u>·</u> is a space.</p>
<noscript><p>Without scripts the page shows all, but tells no more when it is pointed at.</p>\
</noscript>"""
_WORDS = """<section>
<h2>Gathered: which words did it look at?</h2>
<p>Attention brought most from {most}.</p>
<p class="text" dir="auto">{before}<span class="words" data-by="brought">{words}</span>\
<b class="answer">{answer}</b></p>
<fieldset class="by"><legend>The deeper a word's colour,</legend>
<label><input type="radio" name="by{number}" value="brought" checked> the more attention brought \
straight from it, over all layers</label>
<label><input type="radio" name="by{number}" value="back"> the more leads back to it: words had \
gathered from others before</label>
<label><input type="radio" name="by{number}" value="adds"> the more what it gave speaks \
<span class="up">for</span> the answer, or <span class="down">against</span> it</label></fieldset>
<p class="more">Attention that finds nothing to gather rests on the first token, which is why that \
often has so much.</p>
</section>"""
