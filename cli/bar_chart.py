"""A picture of numbers: grouped horizontal bars as one SVG file, light or dark as its viewer is."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from . import svg

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
    left = svg.MARGIN + min(220, max([40, *(_width(label) for label in chart.labels)])) + 8
    right = svg.WIDTH - svg.MARGIN - 40
    legend = _legend(chart.series)
    top = 64 + _LEGEND_ROW * len(legend) + 8
    bottom = top + row * len(chart.labels) + 4
    ticks = _ticks(max([0.0, *(v for some in chart.values for v in some if v is not None)]))
    scale = (right - left) / ticks[-1]
    parts = [
        svg.head(chart.title, round(bottom + 34), ".sNUMBER { fill: COLOUR; }"),
        svg.text(svg.MARGIN, 32, chart.title, "title"),
        svg.text(svg.MARGIN, 50, chart.subtitle, "small"),
    ]
    for number, keys in enumerate(legend):
        parts += [_key(x, 64 + _LEGEND_ROW * number, place, name) for x, place, name in keys]
    for tick in ticks:
        x = left + tick * scale
        kind = "grid" if tick else "axis"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(svg.text(x, bottom + 16, f"{tick:g}", "small", "middle"))
    for number, (label, values) in enumerate(zip(chart.labels, chart.values, strict=True)):
        y = top + row * number + 5
        middle = y + thick * len(chart.series) / 2 + 4
        parts.append(svg.text(left - 8, middle, _shortened(label), "", "end"))
        for place, value in enumerate(values):
            if value is None:
                continue
            name = escape(svg.clean(f"{label}, {chart.series[place]}: {value:.2f}"))
            parts.append(
                f'<rect class="s{place % len(svg.COLOURS)}" x="{left}" y="{y + place * thick}" '
                f'width="{value * scale:.1f}" height="{thick - 1}"><title>{name}</title></rect>'
            )
            at = left + value * scale + 4
            parts.append(svg.text(at, y + place * thick + thick - 2.5, f"{value:.2f}", "value"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _key(x: float, y: float, place: int, name: str) -> str:
    square = (
        f'<rect class="s{place % len(svg.COLOURS)}" x="{x:.0f}" y="{y}" width="12" height="12"/>'
    )
    return square + svg.text(x + 18, y + 10, name)


def _legend(series: Sequence[str]) -> list[list[tuple[float, int, str]]]:
    """Rows of keys: where each begins, its place, its name."""
    rows: list[list[tuple[float, int, str]]] = [[]]
    x = float(svg.MARGIN)
    for place, name in enumerate(series):
        width = 18 + _width(name) + 20
        if rows[-1] and x + width > svg.WIDTH - svg.MARGIN:
            rows.append([])
            x = float(svg.MARGIN)
        rows[-1].append((x, place, name))
        x += width
    return rows


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
