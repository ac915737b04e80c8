"""A scaling law fitted to measured models: all that is told of it, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING, Any

from .scaling_picture import Picture, Series, Told, short, spread
from .scaling_points import Measured

if TYPE_CHECKING:
    from ..engine.scaling.data_law import DataFit
    from ..engine.scaling.estimate import Estimate, Foretold
    from ..engine.scaling.size_law import SizeFit

DOUBTS = {
    "flat": "the loss doesn't fall with size: there is no law to fit",
    "unsure": "by the scatter of these models, their loss might as well not fall with size",
    "slow": "the loss hardly falls with size: neither E nor alpha can be told",
    "step": "nearly all of the fall is behind the smallest size: alpha can't be told",
    "no floor": "no floor is in sight: E comes out as 0, so these sizes can't tell it",
}
_UNTOLD = {"flat": ("E", "A", "alpha"), "slow": ("E", "A", "alpha"), "step": ("A", "alpha")}
_LEVELS = 4
"""Curves of a law of size and data, each for another number of tokens."""
_STEPS = 140


@dataclass(frozen=True)
class Study:
    """Points, the law fitted to them, and what it foretells.

    `unit` is that of the losses, "" where it isn't known. `params` says what N counts. `basis`
    says in words what the intervals are over. `source` is where the points come from, as plain
    values.
    """

    points: Sequence[Measured]
    unit: str
    params: str
    basis: str
    fit: SizeFit | DataFit
    left_out: Sequence[Foretold]
    predicted: Sequence[Foretold]
    source: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def size_fit(self) -> SizeFit | None:
        """The fit, if it is one of size alone."""
        from ..engine.scaling.size_law import SizeFit

        return self.fit if isinstance(self.fit, SizeFit) else None

    @property
    def doubts(self) -> tuple[str, ...]:
        """What keeps the fit from being one, by the names in `DOUBTS`."""
        return () if self.size_fit is None else self.size_fit.doubts

    @property
    def estimates(self) -> dict[str, Estimate | None]:
        """The figures of the law by name; None where the points don't tell it."""
        fit = self.fit
        if self.size_fit is None:
            return dict(getattr(fit, "estimates", {}))
        untold = {name for doubt in self.doubts for name in _UNTOLD.get(doubt, ())}
        found = {
            "E": self.size_fit.floor,
            "A": self.size_fit.scale,
            "alpha": self.size_fit.exponent,
        }
        return {name: None if name in untold else one for name, one in found.items()}

    @property
    def formula(self) -> str:
        """The law, with letters."""
        return "L = E + A / N^alpha" + (" + B / D^beta" if self.size_fit is None else "")

    @property
    def filled(self) -> str:
        """The law with its figures; with letters where there are none."""
        found = self.estimates
        names = ("E", "A", "alpha", "B", "beta")
        if any(one is None for one in found.values()):
            return self.formula
        figure = {name: f"{one.value:.4g}" for name, one in found.items() if one and name in names}
        law = f"L = {figure['E']} + {figure['A']} / N^{figure['alpha']}"
        return law + (f" + {figure['B']} / D^{figure['beta']}" if "B" in figure else "")

    def as_json(self) -> dict[str, Any]:
        """The object of --json."""
        fit, size_fit = self.fit, self.size_fit
        return self.source | {
            "law": self.formula,
            "unit": self.unit or None,
            "params": self.params,
            "points": [asdict(one) for one in self.points],
            "fit": {name: one and one.as_json() for name, one in self.estimates.items()},
            "scatter": None if size_fit is None else size_fit.scatter,
            "doubts": [{"doubt": doubt, "says": DOUBTS[doubt]} for doubt in self.doubts],
            "left_out": [one.as_json() for one in self.left_out],
            "predicted": [one.as_json() for one in self.predicted],
            "intervals": {
                "level": 0.95,
                "over": self.basis,
                "replicates": len(getattr(fit.replicates, "figures", fit.replicates.floor)),
            },
        }

    def picture(self) -> Picture:
        """What is drawn."""
        size_fit = self.size_fit
        foretold = size_fit is not None and "flat" not in self.doubts
        held = self.left_out[-1:] if foretold else ()
        plain = Picture(
            title="What size buys: the loss falls as a power of it"
            if "flat" not in self.doubts
            else "The loss doesn't fall with size",
            formula=self.filled,
            across=f"{self.params}, each step to the right a multiple",
            up=f"loss{self.unit and f', {self.unit}'}: lower is better",
            series=[Series("measured", _places(self.points))],
            held=_told(held, "foretold from the others"),
            ahead=_told(self.predicted, "predicted"),
        )
        low, high = plain.sizes
        sizes = spread(low, high, _STEPS)
        if size_fit is None:
            return self._levels(plain, sizes)
        if "flat" in self.doubts:
            return plain
        band = size_fit.band(sizes)
        curve = [(size, loss) for size, (loss, _, _) in zip(sizes, band, strict=True)]
        floor = self.estimates["E"]
        return Picture(
            plain.title,
            plain.formula,
            plain.across,
            plain.up,
            [Series("measured", _places(self.points), curve)],
            [(size, least, most) for size, (_, least, most) in zip(sizes, band, strict=True)],
            None if floor is None or "no floor" in self.doubts else floor.value,
            plain.held,
            plain.ahead,
        )

    def _levels(self, plain: Picture, sizes: list[float]) -> Picture:
        """Points parted by how many tokens they have read, each part with its curve."""
        from ..engine.scaling.data_law import DataFit

        assert isinstance(self.fit, DataFit)
        ordered = sorted(self.points, key=lambda one: one.tokens or 0)
        ends = [len(ordered) * level // _LEVELS for level in range(_LEVELS + 1)]
        series: list[Series] = []
        for first, last in pairwise(ends):
            part = ordered[first:last]
            tokens = exp(sum(log(one.tokens or 1) for one in part) / len(part))
            curve = zip(sizes, self.fit.curve(sizes, tokens), strict=True)
            series.append(Series(f"D near {short(tokens)}", _places(part), list(curve)))
        floor = self.estimates["E"]
        return Picture(
            plain.title,
            plain.formula,
            plain.across,
            plain.up,
            series,
            floor=None if floor is None else floor.value,
            ahead=plain.ahead,
        )


def _places(points: Sequence[Measured]) -> list[tuple[float, float, str]]:
    return [(one.size, one.loss, one.name) for one in points]


def _told(found: Sequence[Foretold], name: str) -> list[Told]:
    return [
        Told(f"{short(one.size)}, {name}", one.size, one.loss.value, one.loss.low, one.loss.high)
        for one in found
        if one.loss is not None
    ]
