"""The picture of a scaling law as one SVG file, light or dark as its viewer is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log10

from . import svg
from .scaling_picture import Picture, Place, Told, round_losses, round_sizes, scaler, short

_HEIGHT = 540
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, svg.WIDTH - 30, 122, _HEIGHT - 62
_RULE = (
    ".sNUMBER { fill: COLOUR; } .lNUMBER { stroke: COLOUR; fill: none; stroke-width: 2; } "
    ".hNUMBER { stroke: COLOUR; fill: none; stroke-width: 1.5; }"
)
_BAND, _FLOOR, _HELD, _AHEAD = 0, 4, 1, 2
"""Places among `svg.COLOURS`."""
_SERIES = (0, 3, 5, 7)


def draw_figure(picture: Picture) -> str:
    """The picture as an SVG document."""
    return "\n".join([*_Figure(picture).parts(), "</svg>"]) + "\n"


class _Figure:
    """A picture with the scales that it is drawn by."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        low, high = picture.sizes
        self._across = scaler(log10(low), log10(high), _LEFT, _RIGHT)
        self._ends = picture.losses
        self._y = scaler(*self._ends, _BOTTOM, _TOP)

    def _x(self, size: float) -> float:
        return self._across(log10(size))

    def parts(self) -> Iterator[str]:
        """The elements, from the back to the front."""
        picture = self._picture
        yield svg.head(picture.title, _HEIGHT, _RULE)
        yield (
            f'<clipPath id="inside"><rect x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" '
            f'height="{_BOTTOM - _TOP}"/></clipPath>'
        )
        yield svg.text(svg.MARGIN, 30, picture.title, "title")
        yield svg.text(svg.MARGIN, 50, picture.formula, "small")
        yield from self._axes()
        yield '<g clip-path="url(#inside)">'
        yield from self._law()
        yield "</g>"
        for told in picture.held:
            yield from self._told(told, _HELD)
        for told in picture.ahead:
            yield from self._told(told, _AHEAD)
        for number, one in enumerate(picture.series):
            for size, loss, name in one.points:
                yield (
                    f'<circle class="s{_SERIES[number % 4]}" cx="{self._x(size):.1f}" '
                    f'cy="{self._y(loss):.1f}" r="{4.5 if len(one.points) < 20 else 3}">'
                    f"{_title(f'{name}: {loss:.4f}')}</circle>"
                )
        yield from self._key()

    def _axes(self) -> Iterator[str]:
        for loss in round_losses(*self._ends, 7):
            y = self._y(loss)
            yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}"/>'
            yield svg.text(_LEFT - 8, y + 4, f"{loss:.6g}", "small", "end")
        for size in round_sizes(*self._picture.sizes):
            x = self._x(size)
            yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_BOTTOM}"/>'
            yield svg.text(x, _BOTTOM + 18, short(size), "small", "middle")
        yield f'<path class="axis" fill="none" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>'
        yield svg.text((_LEFT + _RIGHT) / 2, _BOTTOM + 42, self._picture.across, "", "middle")
        yield svg.text(svg.MARGIN, _TOP - 10, self._picture.up)

    def _law(self) -> Iterator[str]:
        picture = self._picture
        if picture.band:
            ends = [(size, high) for size, _, high in picture.band]
            ends += [(size, low) for size, low, _ in reversed(picture.band)]
            yield f'<path class="s{_BAND}" opacity="0.16" d="{self._path(ends)}Z"/>'
        if picture.floor is not None:
            y = self._y(picture.floor)
            yield (
                f'<line class="l{_FLOOR}" stroke-dasharray="6 5" x1="{_LEFT}" y1="{y:.1f}" '
                f'x2="{_RIGHT}" y2="{y:.1f}"/>'
            )
            yield svg.text(_RIGHT - 6, y - 6, f"E = {picture.floor:.3g}", "small", "end")
        for number, one in enumerate(picture.series):
            if one.curve:
                line = f'class="l{_SERIES[number % 4]}" d="{self._path(one.curve)}"'
                yield f"<path {line}/>"

    def _path(self, places: Sequence[Place]) -> str:
        # Far outside, a renderer's numbers may not reach.
        far = 4 * _HEIGHT
        points = (
            f"{self._x(size):.1f} {max(-far, min(far, self._y(loss))):.1f}" for size, loss in places
        )
        return "M" + "L".join(points)

    def _told(self, told: Told, place: int) -> Iterator[str]:
        x = self._x(told.size)
        words = f"{told.name}: {told.loss:.4f}"
        if told.low is not None and told.high is not None:
            words += f" ({told.low:.4f} to {told.high:.4f})"
            top, bottom = (max(_TOP, min(_BOTTOM, self._y(loss))) for loss in (told.high, told.low))
            yield (
                f'<path class="h{place}" d="M{x - 5:.1f} {top:.1f}h10M{x:.1f} {top:.1f}'
                f'V{bottom:.1f}M{x - 5:.1f} {bottom:.1f}h10"/>'
            )
        if _TOP <= self._y(told.loss) <= _BOTTOM:
            yield (
                f'<circle class="h{place}" cx="{x:.1f}" cy="{self._y(told.loss):.1f}" r="7">'
                f"{_title(words)}</circle>"
            )

    def _key(self) -> Iterator[str]:
        picture, x, y = self._picture, float(svg.MARGIN), 70
        many = len(picture.series) > 1
        words: list[tuple[str, str]] = []
        for number, one in enumerate(picture.series):
            dot = f'<circle class="s{_SERIES[number % 4]}" cx="%X" cy="%Y" r="4.5"/>'
            words.append((dot, one.name if many else "measured"))
        if any(one.curve for one in picture.series):
            words.append((f'<path class="l{_SERIES[0]}" d="M%x %Yh16"/>', "the law"))
        if picture.band:
            band = f'<path class="s{_BAND}" opacity="0.25" d="M%x %tv12h16v-12z"/>'
            words.append((band, "where it may be (95%)"))
        if picture.floor is not None:
            dashes = f'<path class="l{_FLOOR}" stroke-dasharray="5 3" d="M%x %Yh16"/>'
            words.append((dashes, "its floor E"))
        if picture.held:
            ring = f'<circle class="h{_HELD}" cx="%X" cy="%Y" r="6"/>'
            words.append((ring, "the largest, foretold from the others"))
        if picture.ahead:
            words.append((f'<circle class="h{_AHEAD}" cx="%X" cy="%Y" r="6"/>', "predicted"))
        for mark, name in words:
            wide = 22 + 6.0 * len(name) + 16
            if x + wide > svg.WIDTH:
                x, y = float(svg.MARGIN), y + 18
            for sign, value in (("%X", x + 8), ("%x", x), ("%Y", y), ("%t", y - 6)):
                mark = mark.replace(sign, f"{value:.1f}")
            yield mark
            yield svg.text(x + 22, y + 4, name, "small")
            x += wide


def _title(words: str) -> str:
    return f"<title>{escape(svg.clean(words))}</title>"
