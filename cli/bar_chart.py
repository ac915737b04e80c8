"""A picture of numbers: grouped horizontal bars as one SVG file, light or dark as its viewer is."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

# Okabe and Ito's colours, which people see apart whatever their eyes; lighter ones on dark.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7f7f7f", "#8e44ad")
_DARK = ("#4ba3dd", "#f08040", "#2fc89a", "#e5a0c8", "#f0c040", "#9ad4f5", "#aaaaaa", "#c38fdc")
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
_WIDTH, _MARGIN = 860, 20
_LEGEND_ROW = 20


@dataclass(frozen=True)
class Chart:
    """What to draw: for each label a value of each series, None where there is none."""

    title: str
    subtitle: str
    series: Sequence[str]
    labels: Sequence[str]
    values: Sequence[Sequence[float | None]]
    """By label, then by series."""


def draw_bars(chart: Chart) -> str:
    """The chart as an SVG document."""
    thick = 14 if len(chart.series) < 3 else 11
    row = thick * len(chart.series) + 9
    left = _MARGIN + min(220, max([40, *(_width(label) for label in chart.labels)])) + 8
    right = _WIDTH - _MARGIN - 40
    legend = _legend(chart.series)
    top = 64 + _LEGEND_ROW * len(legend) + 8
    bottom = top + row * len(chart.labels) + 4
    ticks = _ticks(max([0.0, *(v for some in chart.values for v in some if v is not None)]))
    scale = (right - left) / ticks[-1]
    parts = [
        _head(chart, bottom + 34),
        _text(_MARGIN, 32, chart.title, "title"),
        _text(_MARGIN, 50, chart.subtitle, "small"),
    ]
    for number, keys in enumerate(legend):
        parts += [_key(x, 64 + _LEGEND_ROW * number, place, name) for x, place, name in keys]
    for tick in ticks:
        x = left + tick * scale
        kind = "grid" if tick else "axis"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 16, f"{tick:g}", "small", "middle"))
    for number, (label, values) in enumerate(zip(chart.labels, chart.values, strict=True)):
        y = top + row * number + 5
        middle = y + thick * len(chart.series) / 2 + 4
        parts.append(_text(left - 8, middle, _shortened(label), "", "end"))
        for place, value in enumerate(values):
            if value is None:
                continue
            name = escape(_clean(f"{label}, {chart.series[place]}: {value:.2f}"))
            parts.append(
                f'<rect class="s{place % len(_COLOURS)}" x="{left}" y="{y + place * thick}" '
                f'width="{value * scale:.1f}" height="{thick - 1}"><title>{name}</title></rect>'
            )
            at = left + value * scale + 4
            parts.append(_text(at, y + place * thick + thick - 2.5, f"{value:.2f}", "value"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _head(chart: Chart, height: int) -> str:
    light = "".join(f".s{n} {{ fill: {colour}; }}\n" for n, colour in enumerate(_COLOURS))
    dark = "".join(f".s{n} {{ fill: {colour}; }}\n" for n, colour in enumerate(_DARK))
    name = _clean(chart.title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(name)}">\n'
        f"<title>{escape(name)}</title>\n<style>\n{_STYLE}{light}"
        f"@media (prefers-color-scheme: dark) {{\n{_DARK_STYLE}{dark}}}\n</style>"
    )


def _key(x: float, y: float, place: int, name: str) -> str:
    square = f'<rect class="s{place % len(_COLOURS)}" x="{x:.0f}" y="{y}" width="12" height="12"/>'
    return square + _text(x + 18, y + 10, name)


def _legend(series: Sequence[str]) -> list[list[tuple[float, int, str]]]:
    """Rows of keys: where each begins, its place, its name."""
    rows: list[list[tuple[float, int, str]]] = [[]]
    x = float(_MARGIN)
    for place, name in enumerate(series):
        width = 18 + _width(name) + 20
        if rows[-1] and x + width > _WIDTH - _MARGIN:
            rows.append([])
            x = float(_MARGIN)
        rows[-1].append((x, place, name))
        x += width
    return rows


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind}{anchor}>{escape(_clean(text))}</text>'


def _clean(text: str) -> str:
    """`text` without what XML can't hold: control characters, halves of surrogate pairs."""
    gone = ("Cc", "Cs")
    return "".join("\ufffd" if unicodedata.category(c) in gone else c for c in text).translate(
        {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}
    )


def _width(text: str) -> float:
    """About how wide `text` is at 12 px."""
    return sum(12.5 if unicodedata.east_asian_width(c) in "WF" else 6.7 for c in text)


def _shortened(label: str) -> str:
    """The end of a label that is too long: where names of files differ."""
    if _width(label) <= 220:
        return label
    while _width(label) > 210:
        label = label[1:]
    return f"…{label}"


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to beyond `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 6
    power = 10.0 ** floor(log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return [number * step for number in range(ceil(highest / step) + 1)]
