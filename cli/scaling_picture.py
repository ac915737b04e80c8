"""What the picture of a scaling law shows, before it is drawn on a terminal or as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

Place = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points that share a curve: (size, loss, name) each, and the curve through their midst."""

    name: str
    points: Sequence[tuple[float, float, str]]
    curve: Sequence[Place] = ()


@dataclass(frozen=True)
class Told:
    """A loss that a law foretells for a size, with its interval if there is one."""

    name: str
    size: float
    loss: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Picture:
    """Losses over sizes, sizes by their logarithm.

    `band` is where the curve may be: (size, low, high) each. `floor` is E, None where there is
    none. `held` is the largest size foretold from the others, `ahead` sizes nobody measured.
    """

    title: str
    formula: str
    across: str
    up: str
    series: Sequence[Series]
    band: Sequence[tuple[float, float, float]] = ()
    floor: float | None = None
    held: Sequence[Told] = ()
    ahead: Sequence[Told] = ()

    @property
    def measured(self) -> list[Place]:
        """Size and loss of every point."""
        return [(size, loss) for one in self.series for size, loss, _ in one.points]

    @property
    def sizes(self) -> Place:
        """The ends of the axis across."""
        sizes = [size for size, _ in self.measured] + [one.size for one in self.ahead]
        return min(sizes) / 1.3, max(sizes) * 1.3

    @property
    def losses(self) -> Place:
        """The ends of the axis up: what is measured and foretold, and the floor if it is near."""
        low, high = self.sizes
        heights = [loss for _, loss in self.measured]
        heights += [told.loss for told in (*self.held, *self.ahead)]
        heights += [y for one in self.series for x, y in one.curve if low <= x <= high]
        bottom, top = min(heights), max(heights)
        if self.floor is not None and self.floor > bottom - 0.8 * (top - bottom):
            bottom = min(bottom, self.floor)
        room = 0.06 * (top - bottom) or 0.05 * top
        return bottom - room, top + room


def spread(low: float, high: float, count: int) -> list[float]:
    """`count` sizes from `low` to `high`, each as many times the one before."""
    return [low * (high / low) ** (place / (count - 1)) for place in range(count)]


def round_sizes(low: float, high: float) -> list[float]:
    """Round sizes between two: powers of ten, and 2 and 5 times those where there is room."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    few = (1,) if log10(high / low) > 3.5 else (1, 2, 5)
    return [t * 10.0**p for p in powers for t in few if low <= t * 10.0**p <= high]


def round_losses(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between two."""
    rough = (high - low) / count
    power = 10.0 ** floor(log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return [number * step for number in range(ceil(low / step), floor(high / step) + 1)]


def short(size: float) -> str:
    """A count with its letter: `8.0M`, `250k`, `1.4T`."""
    for letter, unit in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if size >= 0.9995 * unit:
            return f"{size / unit:.3g}{letter}"
    return f"{size:.3g}"


def scaler(low: float, high: float, to_low: float, to_high: float) -> Callable[[float], float]:
    """The straight line that takes `low` to `to_low` and `high` to `to_high`."""
    return lambda value: to_low + (value - low) / (high - low) * (to_high - to_low)
