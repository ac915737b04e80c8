"""What `lmtool scaling` tells people: tables, what they mean, and the picture between them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import floor, log10
from typing import TYPE_CHECKING

from .scaling_picture import short
from .scaling_plot import WIDTH, draw_plot
from .scaling_study import DOUBTS, Study
from .text_table import Table, as_text, fitted, printable

if TYPE_CHECKING:
    from ..engine.scaling.estimate import Estimate, Foretold

_NAME = 24
_LISTED = 20
"""Points that are listed; of more, the ends are told."""


def as_report(study: Study, *, colour: bool) -> str:
    """Everything, within 80 columns."""
    parts = [_points(study), _law(study, colour), draw_plot(study.picture(), colour=colour)]
    parts += [_left_out(study, colour), _predicted(study, colour)]
    if "flat" not in study.doubts:
        parts.append(_wrapped(f"Intervals: {study.basis}"))
    return "".join(parts).rstrip("\n") + "\n"


def _points(study: Study) -> str:
    points = study.points
    if len(points) > _LISTED:
        ends = [f"{len(points)} points"]
        for name, values in (
            ("N", [one.size for one in points]),
            ("D", [one.tokens for one in points if one.tokens is not None]),
            ("L", [one.loss for one in points]),
        ):
            if values:
                ends.append(f"{name} from {min(values):.4g} to {max(values):.4g}")
        return _wrapped(", ".join(ends))
    with_tokens = any(one.tokens is not None for one in points)
    with_total = any(one.total not in (None, one.size) for one in points)
    with_error = any(one.error is not None for one in points)
    heads = ["model", "N", *["total"] * with_total, *["D"] * with_tokens, "L"]
    rows = [
        [
            fitted(printable(one.name), _NAME, keep_end=True),
            f"{one.size:,.0f}",
            *([_count(one.total)] * with_total),
            *([_count(one.tokens)] * with_tokens),
            f"{one.loss:.4f}" + (f" ±{one.error:.4f}" if one.error is not None else ""),
        ]
        for one in points
    ]
    unit = f", {study.unit}" if study.unit else ""
    notes = [f"N: {study.params}. L: loss{unit}" + (", ± its standard error" * with_error)]
    return as_text(Table("model", heads, rows, notes=notes))


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _law(study: Study, colour: bool) -> str:
    """The figures, each with its interval and what it says."""
    lines = "".join(_wrapped(DOUBTS[doubt], gap=False) for doubt in study.doubts)
    if "flat" in study.doubts:
        return lines + "\n"
    says = {
        "E": "the floor, which no size gets below",
        "A": "how much there is above it",
        "split": "N grows with compute to this power, at best",
    }
    for name, letter, what in (("alpha", "N", "parameters"), ("beta", "D", "tokens")):
        found = study.estimates.get(name)
        if found is not None:
            part = f"A / {letter}^{name}" if letter == "N" else f"B / {letter}^{name}"
            less = 100 * (1 - 2**-found.value)
            says[name] = f"twice the {what} take {less:.0f}% off {part}"
    rows = [
        [name, _figure(found), _interval(found), says.get(name, "")]
        for name, found in study.estimates.items()
    ]
    size_fit = study.size_fit
    if size_fit is not None:
        scatter = f"{100 * size_fit.scatter:.2g}%"
        rows.append(["scatter", scatter, "", "of the loss: how far models lie off the law"])
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    widths[2] = max(widths[2], len("95% interval"))
    head = f"{'':<{widths[0]}}  {'':>{widths[1]}}  95% interval"
    table = [head.rstrip()]
    for name, value, ends, meaning in rows:
        row = f"{name:<{widths[0]}}  {value:>{widths[1]}}  {ends:<{widths[2]}}  {meaning}"
        table.append(row.rstrip())
    title = f"\x1b[1m{study.formula}\x1b[0m" if colour else study.formula
    if lines:
        title += f"\n{lines}"
    return "\n".join([title, *table, "", ""])


def _figure(found: Estimate | None) -> str:
    return "-" if found is None else _digits(found.value, _places(found))


def _interval(found: Estimate | None) -> str:
    if found is None:
        return "not told"
    places = _places(found)
    if found.low is None and found.high is None:
        return "any"
    if found.low is None:
        return f"below {_digits(found.high or 0.0, places)}"
    if found.high is None:
        return f"above {_digits(found.low, places)}"
    return f"{_digits(found.low, places)} to {_digits(found.high, places)}"


def _places(found: Estimate) -> int:
    """Decimals that the interval leaves sense in: two digits of half its width."""
    if found.low is None or found.high is None:
        return 2
    half = (found.high - found.low) / 2
    # An interval of no width says that the points lie on the law as well as can be told.
    least = max(half, 1e-3 * abs(found.value), 1e-3)
    return max(0, 1 - floor(log10(least)))


def _digits(value: float, places: int) -> str:
    return f"{value:.2g}" if abs(value) >= 1e7 else f"{value:,.{places}f}"


def _left_out(study: Study, colour: bool) -> str:
    """Sizes foretold from the others, and in words how it went with the largest."""
    found = study.left_out
    if "flat" in study.doubts:
        return ""
    if not found:
        return _wrapped("No size can be left out: the others would make no law.")
    title = "each size left out, and foretold from the others"
    if study.size_fit is None or len({one.size for one in found}) == 1:
        title = "the largest size left out, and foretold from the others"
    notes = textwrap.wrap(_verdict(found), WIDTH)
    return as_text(_foretold(title, found[-_LISTED:], notes), bold=colour)


def _predicted(study: Study, colour: bool) -> str:
    if not study.predicted:
        return ""
    return as_text(_foretold("predicted, where nobody measured", study.predicted), bold=colour)


def _foretold(title: str, found: Sequence[Foretold], notes: Sequence[str] = ()) -> Table:
    with_tokens = any(one.tokens is not None for one in found)
    measured = any(one.measured is not None for one in found)
    heads = ["N", *["D"] * with_tokens, *["measured"] * measured, "foretold", "95% interval"]
    rows = [
        [
            _count(one.size),
            *([_count(one.tokens)] * with_tokens),
            *([f"{one.measured or 0:.4f}"] * measured),
            "-" if one.loss is None else f"{one.loss.value:.4f}",
            _ends(one.loss),
            *([f"{100 * one.off:+.2f}%"] if one.off is not None else []),
        ]
        for one in found
    ]
    return Table(title, [*heads, *["off"] * measured], rows, notes=notes, under=True)


def _ends(loss: Estimate | None) -> str:
    if loss is None or loss.low is None or loss.high is None:
        return "-"
    return f"{loss.low:.4f} to {loss.high:.4f}"


def _verdict(found: Sequence[Foretold]) -> str:
    """How well the largest size was foretold."""
    if len({one.tokens for one in found}) > 1:
        offs = sorted(abs(one.off or 0.0) for one in found)
        inside = sum(bool(one.within) for one in found)
        return (
            f"Its {len(found)} runs are foretold to {100 * offs[len(offs) // 2]:.2f}% in the "
            f"median, {inside} of them within the interval."
        )
    last = found[-1]
    assert last.loss is not None
    assert last.off is not None
    off = f"{100 * abs(last.off):.2f}%"
    how = "exactly" if off == "0.00%" else f"{off} too {'high' if last.off > 0 else 'low'}"
    inside = {
        None: "there is no interval, since the others only just make a law",
        True: "within the interval",
        False: "outside the interval: the law doesn't reach so far",
    }[last.within]
    return (
        f"The largest, {short(last.size)}, foretold from the smaller: {last.loss.value:.4f} for "
        f"{last.measured:.4f}, {how}; {inside}."
    )


def _wrapped(words: str, gap: bool = True) -> str:
    return textwrap.fill(words, WIDTH) + "\n" + "\n" * gap
