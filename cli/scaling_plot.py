"""The picture of a scaling law in letters, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from .scaling_picture import Picture, round_losses, round_sizes, scaler, short

WIDTH, HEIGHT = 78, 18
MARKS = "●▲■◆"
_LINE, _BAND, _FLOOR, _HELD, _AHEAD, _BAR = "·░┄○◇│"
_COLOURS = {_BAND: "2", _FLOOR: "33", _HELD: "35", _AHEAD: "35", _BAR: "35", "●": "1;36"}
_LEFT = 9


def draw_plot(picture: Picture, *, colour: bool) -> str:
    """Losses over sizes in `WIDTH` columns, with a key below."""
    cells = _Cells(picture)
    cells.fill()
    lines = [f"{picture.up}", *cells.lines(colour), cells.axis(), *cells.sizes()]
    return "\n".join([*lines, *_key(picture), "", ""])


class _Cells:
    """A grid of letters, of which later ones cover earlier ones."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        low, high = picture.sizes
        self._across = scaler(log10(low), log10(high), 0, WIDTH - _LEFT - 1)
        self._ends = picture.losses
        self._up = scaler(*self._ends, HEIGHT - 1, 0)
        self._rows = [[" "] * (WIDTH - _LEFT) for _ in range(HEIGHT)]

    def fill(self) -> None:
        """Draw everything, from the back to the front."""
        picture = self._picture
        for size, low, high in picture.band:
            self._pillar(size, low, high, _BAND)
        if picture.floor is not None:
            for column in range(WIDTH - _LEFT):
                self._put(column, self._up(picture.floor), _FLOOR)
        for one in picture.series:
            for size, loss in one.curve:
                self._put(self._across(log10(size)), self._up(loss), _LINE)
        told = [*((one, _HELD) for one in picture.held), *((one, _AHEAD) for one in picture.ahead)]
        for one, mark in told:
            if one.low is not None and one.high is not None:
                self._pillar(one.size, one.low, one.high, _BAR)
            self._put(self._across(log10(one.size)), self._up(one.loss), mark)
        for one, mark in zip(picture.series, MARKS, strict=False):
            for size, loss, _ in one.points:
                self._put(self._across(log10(size)), self._up(loss), mark)

    def _put(self, column: float, row: float, letter: str) -> None:
        if 0 <= round(row) < HEIGHT and 0 <= round(column) < WIDTH - _LEFT:
            self._rows[round(row)][round(column)] = letter

    def _pillar(self, size: float, low: float, high: float, letter: str) -> None:
        top, bottom = (
            max(0, min(HEIGHT - 1, round(self._up(loss))))
            for loss in (min(high, self._ends[1]), max(low, self._ends[0]))
        )
        if high < self._ends[0] or low > self._ends[1]:
            return
        for row in range(top, bottom + 1):
            self._put(self._across(log10(size)), row, letter)

    def lines(self, colour: bool) -> Iterator[str]:
        """The rows, with round losses at their left."""
        named = {round(self._up(loss)): loss for loss in round_losses(*self._ends, 6)}
        digits = 2 if self._ends[1] - self._ends[0] > 0.2 else 4
        for number, row in enumerate(self._rows):
            name = f"{named[number]:.{digits}f}" if number in named else ""
            drawn = "".join(_painted(letter) if colour else letter for letter in row).rstrip()
            yield f"{name:>{_LEFT - 2}} {'┤' if name else '│'}{drawn}"

    def axis(self) -> str:
        """The line below, with ticks at round sizes."""
        line = ["─"] * (WIDTH - _LEFT)
        for size in round_sizes(*self._picture.sizes):
            line[round(self._across(log10(size)))] = "┬"
        return " " * (_LEFT - 1) + "└" + "".join(line)

    def sizes(self) -> list[str]:
        """The names of the round sizes, as many as have room, and what they are."""
        line = ""
        for size in round_sizes(*self._picture.sizes):
            name = short(size)
            start = _LEFT + round(self._across(log10(size))) - len(name) // 2
            if start > len(line) and start + len(name) <= WIDTH:
                line = line.ljust(start) + name
        return [line, f"{self._picture.across:>{WIDTH}}"]


def _painted(letter: str) -> str:
    code = _COLOURS.get(letter)
    return letter if code is None else f"\x1b[{code}m{letter}\x1b[0m"


def _key(picture: Picture) -> list[str]:
    many = len(picture.series) > 1
    words = [
        f"{mark} {one.name if many else 'measured'}"
        for one, mark in zip(picture.series, MARKS, strict=False)
    ]
    if any(one.curve for one in picture.series):
        words.append(f"{_LINE}{_LINE} the law")
    if picture.band:
        words.append(f"{_BAND}{_BAND} where it may be (95%)")
    if picture.floor is not None:
        words.append(f"{_FLOOR}{_FLOOR} its floor E")
    if picture.held:
        words.append(f"{_HELD} the largest, foretold from the others")
    if picture.ahead:
        words.append(f"{_AHEAD} predicted")
    lines = [""]
    for word in words:
        joined = f"{lines[-1]}   {word}" if lines[-1] else word
        if len(joined) > WIDTH:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines
