"""`lmtool evaluate --html`: one page with the texts, each token as hot as it was dear.

The page needs no network. Whatever a text has in it, it is text there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from .evaluate_report import Line, cells_of_line, heads
from .heat import BANDS, Cell, Dear, Heat, before_of, chance_of, course_of, range_of
from .text_table import printable
from .token_cells import parts_of
from .web_page import head, in_text, tail

PAGE = 200_000
"""Tokens that a page has room for, of all its texts together: browsers get slow beyond."""
BLOCK = 1024
"""Tokens after which a new block begins, even within a line: browsers draw only blocks in sight."""
_STEPS = 160

Section = tuple[Line, Heat]


def draw_page(lines: Sequence[Line], sections: Sequence[Section], limit: int) -> Iterator[str]:
    """The page, part by part: a table of the figures, and a section for each model and text.

    Of each text its first `limit` tokens are shown.
    """
    yield head("Where the loss sits", _STYLE)
    yield f"<main>\n<h1>Where the loss sits</h1>\n{_INTRO}\n{_figures(lines, sections)}"
    told: list[object] = []
    for number, (line, heat) in enumerate(sections):
        cells = list(heat.cells(limit))
        yield f'<section id="s{number}"><h2>{_title(line)}</h2>\n{_course(line)}{_legend(heat)}'
        if heat.tokens > limit:
            yield (
                f'<p class="cut">Of its {heat.tokens:,} tokens the first {limit:,} are shown here; '
                "the figures and the dearest words are of all.</p>"
            )
        yield f'<div class="text" dir="auto">{"".join(_blocks(heat, cells))}</div>\n'
        yield f"{_dearest(heat.dearest())}</section>\n"
        told.append({"cells": [_told(cell) for cell in cells], "texts": _spelled(heat, cells)})
    yield '</main>\n<output id="told"></output>\n'
    yield tail(told, _SCRIPT)


def _title(line: Line) -> str:
    return f"{_text(line.text)} <small>by {_text(line.model)}</small>"


def _text(words: str) -> str:
    return escape(printable(words))


def _figures(lines: Sequence[Line], sections: Sequence[Section]) -> str:
    """The table of the terminal, whose texts lead to their sections."""
    places = {(line.model, line.text): number for number, (line, _) in enumerate(sections)}
    rows: list[str] = []
    for line in lines:
        model, name, *figures = cells_of_line(line, with_model=True)
        place = places.get((line.model, line.text))
        shown = _text(name) if place is None else f'<a href="#s{place}">{_text(name)}</a>'
        cells = "".join(f"<td>{escape(figure)}</td>" for figure in figures)
        rows.append(f'<tr><th scope="row">{_text(model)}</th><th scope="row">{shown}</th>{cells}')
    top = "".join(f'<th scope="col">{name}</th>' for name in heads(with_model=True))
    return f'<table class="figures"><tr>{top}</tr>{"</tr>".join(rows)}</tr></table>\n'


def _course(line: Line) -> str:
    """How dear the text is from its beginning to its end, as bars; nothing of a short one."""
    steps = course_of(line.loss.shares.sums, _STEPS)
    high = max(steps, default=0.0)
    if len(steps) < 8 or not 0 < high < math.inf:
        return ""
    said = f"From its beginning to its end: {min(steps):.1f} to {high:.1f} bits a token"
    bars = "".join(f'<i style="--v:{step / high:.3f}"></i>' for step in steps)
    return f'<div class="course" role="img" aria-label="{said}">{bars}</div><p>{said}.</p>\n'


def _legend(heat: Heat) -> str:
    """What the bands are, and how much of the loss is in each."""
    tokens, bits = sum(heat.counts) or 1, sum(heat.sums) or 1.0
    rows = "".join(
        f'<tr><td><b class="h{number}">token</b></td><td>{range_of(number)}</td>'
        f"<td>{chance_of(number)}</td><td>{heat.counts[number]:,}</td>"
        f"<td>{100 * heat.counts[number] / tokens:.1f}%</td>"
        f"<td>{100 * heat.sums[number] / bits:.1f}%</td></tr>"
        for number in range(len(BANDS))
    )
    names = ("shown", "bits a token", "chance it had", "tokens", "of all", "of the loss")
    return f'<table class="bands"><tr>{_columns(names)}</tr>{rows}</table>\n'


def _columns(names: Sequence[str]) -> str:
    return "".join(f'<th scope="col">{name}</th>' for name in names)


def _blocks(heat: Heat, cells: Sequence[Cell]) -> Iterator[str]:
    """The text in blocks, each cell an element whose class is its band."""
    filled = 0
    newline = True
    for cell in cells:
        parts = parts_of(cell.data) or [("mark", "⟨⟩")]
        if heat.begins(cell.place) and not newline:
            yield "</div>\n<div>"
            filled = 0
        elif not filled:
            yield "<div>"
        filled += 1
        band = "" if cell.band is None else f' class="h{cell.band}"'
        yield f"<b{band}>{''.join(map(in_text, parts))}</b>"
        newline = parts[-1][0] == "newline"
        if filled >= BLOCK or (newline and filled >= BLOCK // 16):
            yield "</div>\n"
            filled, newline = 0, True
    if filled:
        yield "</div>"


def _told(cell: Cell) -> list[float | int | None]:
    """For the script: its place, then each token's id and bits, null for none."""
    pairs = zip(cell.ids, cell.bits, strict=True)
    return [cell.place, *(one for id, bits in pairs for one in (id, _number(bits)))]


def _number(bits: float | None) -> float | None:
    return None if bits is None or not math.isfinite(bits) else round(bits, 2)


def _spelled(heat: Heat, cells: Sequence[Cell]) -> dict[int, str]:
    ids = {id for cell in cells for id in cell.ids}
    return {id: heat.spelling.shown(id) for id in sorted(ids)}


def _dearest(words: Sequence[Dear]) -> str:
    """The words that cost most, and what stood before them."""
    rows = "".join(
        f'<tr><th scope="row">{_text(dear.word)}</th><td>{dear.bits:.1f}</td>'
        f"<td>{dear.tokens}</td><td>{dear.place:,}</td>"
        f"<td><bdi>{_text(before_of(dear))}</bdi></td></tr>"
        for dear in words
    )
    names = ("the dearest words", "bits", "tokens", "at", "after")
    return f'<table class="dearest"><tr>{_columns(names)}</tr>{rows}</table>'


_INTRO = """<p>A language model gives each next token a chance. What a token cost is told in bits, \
-log2 of that chance: one bit more is half the chance. The hotter a token, the dearer it was; the \
line below it grows with its colour. The first token of a text has no price, as nothing stands \
before it. Point at a token, or click it, to be told more; Escape lets go.</p>
<noscript><p>Without scripts there are the colours alone.</p></noscript>"""
_STYLE = """\
:root { --h1: #fff6d0; --h2: #ffd98a; --h3: #ff9a6b; --h4: #b3201a; --on4: #fff; --rule: #b3201a; }
@media (prefers-color-scheme: dark) { :root { --h1: #3a341c; --h2: #5f4a12; --h3: #934a1c;
  --h4: #ff8a73; --on4: #16181c; --rule: #ff8a73; } }
body { font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1rem 1.2rem 8rem; }
h1 { font-size: 1.45rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
h2, th, td { overflow-wrap: anywhere; } small, .cut { color: var(--faint); font-weight: 400; }
p { max-width: 48rem; margin: .5rem 0; } a { color: inherit; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .1rem .8rem .1rem 0; text-align: left; font-weight: 400; vertical-align: top; }
tr:first-child th { color: var(--faint); font-size: .9rem; }
.dearest th[scope="row"], .dearest td:last-child, .text, b { font-family: var(--mono); }
.text { line-height: 1.75; tab-size: 8; font-size: .95rem; }
.text > div { white-space: break-spaces; overflow-wrap: anywhere; content-visibility: auto;
  contain-intrinsic-size: auto 20rem; }
b { font-weight: inherit; padding: .1em 0; border-bottom: 0 solid var(--rule); }
.h1 { background: var(--h1); border-width: 1px; } .h2 { background: var(--h2); border-width: 2px; }
.h3 { background: var(--h3); border-width: 3px; }
.h4 { background: var(--h4); border-width: 4px; color: var(--on4); }
.h4 i, .h4 u, .h4 i::before, .h4 i.n { color: inherit; }
.on { outline: 2px solid var(--ink); }
.course { display: flex; align-items: flex-end; height: 3.4rem; max-width: 60rem;
  border-bottom: 1px solid var(--line); }
.course i { flex: 1; height: calc(var(--v) * 100%); background: var(--h3); }
.course i::before { content: none; }
#told { position: fixed; left: 1.2rem; bottom: 1rem; max-width: calc(100% - 4rem);
  padding: .5rem .8rem; background: var(--box); border: 1px solid var(--line); border-radius: 4px;
  overflow-wrap: anywhere; white-space: pre-wrap; }
#told:empty { display: none; }
@media (max-width: 40rem) { .dearest td:last-child, .dearest th:last-child { display: none; } }
"""
_SCRIPT = """\
const told = document.getElementById("told");
const firsts = new Map();
document.querySelectorAll(".text").forEach((text, section) => {
  let count = 0;
  for (const block of text.children) {
    firsts.set(block, [section, count]); count += block.children.length;
  }
});
let on = null, kept = false;
function price(bits, first) {
  if (bits === null) return first ? ": nothing stands before it" : ": no chance at all";
  const chance = Math.pow(2, -bits);
  const share = chance >= .001 ? (100 * chance).toFixed(1) + "%" :
    "1 in " + Math.round(1 / chance).toLocaleString("en");
  return ": " + bits.toFixed(2) + " bits, chance " + share;
}
function tell(token) {
  if (on) on.classList.remove("on");
  on = token;
  if (!token) { told.textContent = ""; return; }
  token.classList.add("on");
  const [section, first] = firsts.get(token.parentNode);
  const siblings = Array.prototype.indexOf.call(token.parentNode.children, token);
  const [place, ...pairs] = data[section].cells[first + siblings], lines = [];
  for (let i = 0; i < pairs.length; i += 2)
    lines.push("token " + (place + i / 2) + " " + JSON.stringify(data[section].texts[pairs[i]]) +
      ", id " + pairs[i] + price(pairs[i + 1], !/\\bh\\d/.test(token.className)));
  told.textContent = lines.join("\\n");
}
const at = event => event.target.closest ? event.target.closest(".text b") : null;
document.addEventListener("pointerover", event => { if (!kept) tell(at(event)); });
document.addEventListener("click", event => {
  const token = at(event);
  kept = token !== null && !(kept && token === on);
  tell(token);
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape") { kept = false; tell(null); }
});
"""
