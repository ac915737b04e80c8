"""What every SVG picture begins with: a page that is light or dark as its viewer is, and text."""

from __future__ import annotations

import unicodedata
from html import escape

# Okabe and Ito's colours, which people see apart whatever their eyes; lighter ones on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7f7f7f", "#8e44ad")
DARK = ("#4ba3dd", "#f08040", "#2fc89a", "#e5a0c8", "#f0c040", "#9ad4f5", "#aaaaaa", "#c38fdc")
WIDTH, MARGIN = 860, 20
_STYLE = """\
svg { background: #ffffff; }
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #222222; }
.title { font-size: 16px; font-weight: 600; }
.small { font-size: 11px; fill: #555555; }
.value { font-size: 10px; fill: #555555; }
.grid { stroke: #dddddd; }
.axis { stroke: #888888; }
"""
_DARK_STYLE = """\
svg { background: #16181c; }
text { fill: #e6e6e6; }
.small, .value { fill: #aaaaaa; }
.grid { stroke: #34383f; }
.axis { stroke: #888888; }
"""


def head(title: str, height: int, rule: str) -> str:
    """The opening of a picture `WIDTH` wide.

    `rule` is the style of what has a colour, with `NUMBER` and `COLOUR` for each of `COLOURS`.
    """
    light, dark = (
        "".join(
            rule.replace("NUMBER", str(number)).replace("COLOUR", colour) + "\n"
            for number, colour in enumerate(colours)
        )
        for colours in (COLOURS, DARK)
    )
    name = escape(clean(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">\n'
        f"<title>{name}</title>\n<style>\n{_STYLE}{light}"
        f"@media (prefers-color-scheme: dark) {{\n{_DARK_STYLE}{dark}}}\n</style>"
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    """Words that begin at a place, or end or have their middle there."""
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind}{anchor}>{escape(clean(words))}</text>'


def clean(words: str) -> str:
    """`words` without what XML can't hold: control characters, halves of surrogate pairs."""
    gone = ("Cc", "Cs")
    return "".join("\ufffd" if unicodedata.category(c) in gone else c for c in words).translate(
        {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}
    )
