"""The law of size, L = E + A / N^alpha, fitted to a few models that differ in size. No torch.

Residuals are shares of the loss, which is what residuals of log L are while they are small. For a
given alpha the law is linear in E and A, so these are solved for and the search is over alpha
alone (variable projection, Golub and Pereyra 1973): from a grid over all exponents, hence the same
result always, and the best one. The form is that of Kaplan et al. 2020 (arXiv:2001.08361) with the
floor E of Hoffmann et al. 2022 (arXiv:2203.15556). These use a Huber loss of many runs; of half a
dozen, each has to count in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ... import InputError
from .estimate import (
    HIGHEST,
    LEVEL,
    LOWEST,
    SEED,
    Array,
    Estimate,
    Foretold,
    exponent_estimate,
    interval,
)

PARAMETERS = 3
FEWEST = PARAMETERS + 1
"""Different sizes that a fit needs: three always lie on some law, and say nothing of it."""
REPLICATES = 1000
MOST_LEFT_OUT = 16
"""Sizes of which each is left out in turn; of more, only the largest."""
_GRID = np.geomspace(LOWEST, HIGHEST, 61)
_ZOOM = np.linspace(0.0, 1.0, 9)
_HELD = 1 << 21
"""Numbers of one array that are worked on together."""

Doubt = Literal["flat", "unsure", "slow", "step", "no floor"]
"""What keeps a fit from being one: the loss doesn't fall with size; by its scatter it might not;
it hardly falls; all of the fall is behind the smallest size; it falls with no floor in sight, so
E is 0."""


@dataclass(frozen=True)
class Points:
    """Measured models: sizes and losses, [n] each.

    `errors` are standard errors that the losses have independently of one another. `text` [R, n]
    are deviations, as shares of the loss, that all losses have together on other text.
    """

    sizes: Array
    losses: Array
    errors: Array | None = None
    text: Array | None = None

    @classmethod
    def of(
        cls,
        sizes: Sequence[float],
        losses: Sequence[float],
        errors: Sequence[float] | None = None,
        text: Array | None = None,
    ) -> Points:
        """Points of plain figures."""
        return cls(
            np.array(sizes, dtype=np.float64),
            np.array(losses, dtype=np.float64),
            None if errors is None else np.array(errors, dtype=np.float64),
            text,
        )

    def check(self) -> None:
        """Raise `InputError` for points that no law can be fitted to."""
        if len(np.unique(self.sizes)) == 1 and len(self.sizes) > 1:
            raise InputError(
                f"all {len(self.sizes)} models have the same size, {self.sizes[0]:,.0f} parameters",
                hint="a law of size needs models that differ in it",
            )
        if len(np.unique(self.sizes)) < FEWEST:
            raise InputError(
                f"a law of three figures needs {FEWEST} sizes or more: there "
                f"{'is' if len(self.sizes) == 1 else 'are'} {len(np.unique(self.sizes))}",
                hint="with 6 or more the intervals say something",
            )

    def without(self, size: float) -> Points:
        """The points of the other sizes; what other text would change is left out."""
        kept = self.sizes != size
        errors = None if self.errors is None else self.errors[kept]
        return Points(self.sizes[kept], self.losses[kept], errors)


@dataclass(frozen=True)
class Curves:
    """R laws: `floor` is E, `rise` how far above it the loss is at `reference`, [R] each."""

    floor: Array
    rise: Array
    exponent: Array
    reference: float

    @property
    def scale(self) -> Array:
        """A of each law, [R]."""
        return self.rise * self.reference**self.exponent

    def loss(self, sizes: Array) -> Array:
        """Losses at `sizes` [S], as [R, S]."""
        logs = np.log(sizes / self.reference)
        return self.floor[:, None] + self.rise[:, None] * np.exp(-self.exponent[:, None] * logs)


def fit_curves(sizes: Array, losses: Array, weights: Array, rounds: int = 24) -> Curves:
    """The law nearest to each row of `losses` [R, n], with `weights` [n].

    Each of the rounds makes alpha four times as exact.
    """
    reference = float(np.exp(np.log(sizes).mean()))
    logs = np.log(sizes / reference)
    step = max(1, _HELD // (len(_GRID) * len(sizes)))
    parts = [
        _fit(logs, losses[begin : begin + step], weights, rounds)
        for begin in range(0, len(losses), step)
    ]
    floor, rise, exponent = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Curves(floor, rise, exponent, reference)


def _fit(logs: Array, losses: Array, weights: Array, rounds: int) -> tuple[Array, Array, Array]:
    rows = np.arange(len(losses))
    exponents = np.broadcast_to(_GRID, (len(losses), len(_GRID)))
    for _ in range(rounds):
        best = _project(logs, losses, weights, exponents)[2].argmin(axis=1)
        low = exponents[rows, np.maximum(best - 1, 0)]
        high = exponents[rows, np.minimum(best + 1, exponents.shape[1] - 1)]
        exponents = low[:, None] + (high - low)[:, None] * _ZOOM
    floor, rise, misfit = _project(logs, losses, weights, exponents)
    best = misfit.argmin(axis=1)
    return floor[rows, best], rise[rows, best], exponents[rows, best]


def _project(
    logs: Array, losses: Array, weights: Array, exponents: Array
) -> tuple[Array, Array, Array]:
    """Floor, rise and misfit at each exponent [R, G]; neither figure is let below 0."""
    roots = np.sqrt(weights)
    ones = np.broadcast_to((roots / losses)[:, None], (*exponents.shape, len(logs)))
    powers = np.exp(-exponents[..., None] * logs) * ones
    squares = (ones * ones).sum(-1)
    share = (ones * powers).sum(-1) / squares
    apart = powers - share[..., None] * ones
    # All sizes at one power leave nothing apart from the floor.
    rise: Array = (apart @ roots) / np.maximum((apart * apart).sum(-1), 1e-300)
    rise = np.maximum(rise, 0.0)
    floor: Array = (ones @ roots) / squares - rise * share
    alone: Array = (powers @ roots) / (powers * powers).sum(-1)
    rise = np.where(floor < 0, alone, rise)
    floor = np.maximum(floor, 0.0)
    left = floor[..., None] * ones + rise[..., None] * powers - roots
    return floor, rise, (left * left).sum(-1)


@dataclass(frozen=True)
class SizeFit:
    """A law fitted to points: its figures with intervals, and what it foretells.

    `scatter` is how far models lie off the law, as a share of their loss, beyond their errors.
    """

    points: Points
    curve: Curves
    replicates: Curves
    scatter: float
    doubts: tuple[Doubt, ...]
    _scatters: Array

    @property
    def floor(self) -> Estimate:
        """E."""
        return Estimate(float(self.curve.floor[0]), *interval(self.replicates.floor))

    @property
    def scale(self) -> Estimate:
        """A."""
        return Estimate(float(self.curve.scale[0]), *interval(self.replicates.scale))

    @property
    def exponent(self) -> Estimate:
        """alpha."""
        return exponent_estimate(float(self.curve.exponent[0]), self.replicates.exponent)

    def band(self, sizes: Sequence[float]) -> list[tuple[float, float, float]]:
        """The curve at each size, and the ends of the interval that it lies in."""
        at = np.array(sizes)
        ends = [interval(column) for column in np.transpose(self.replicates.loss(at))]
        curve = self.curve.loss(at)[0]
        return [(float(loss), *pair) for loss, pair in zip(curve, ends, strict=True)]

    def foretell(self, size: float, measured: float | None = None) -> Foretold:
        """The loss of a model of `size`; its interval has the scatter of single models in it."""
        at = np.array([size])
        value = float(self.curve.loss(at)[0, 0])
        if not len(self._scatters):
            return Foretold(size, None, Estimate(value), measured)
        drawn = self.replicates.loss(at)[:, 0]
        off = np.random.default_rng(SEED + 1).standard_normal(len(drawn)) * self._scatters
        ends = interval(np.maximum(drawn * (1 + off), 0.0))
        return Foretold(size, None, Estimate(value, *ends), measured)


def fit_size_law(points: Points, replicates: int = REPLICATES) -> SizeFit:
    """The law of the points, with intervals from a parametric bootstrap.

    A replicate is the law with new noise on each point: its own error, what other text changes for
    all of them, and the scatter of models about the law. That scatter is known from n - 3 degrees
    of freedom only, so each replicate draws how large it is as well: with few sizes, intervals
    widen as Student's do. Raises `InputError` by `Points.check`.
    """
    points.check()
    return _with_replicates(points, replicates)


def _with_replicates(points: Points, replicates: int) -> SizeFit:
    curve, weights, scatter = _fit_weighted(points)
    free = len(points.sizes) - PARAMETERS
    count = replicates if free > 0 else 0
    random = np.random.default_rng(SEED)
    scatters = scatter * np.sqrt(free / random.chisquare(max(free, 1), count))
    errors = _relative_errors(points)
    noise = np.sqrt(scatters[:, None] ** 2 + errors**2)
    noise = noise * random.standard_normal((count, len(points.sizes)))
    if points.text is not None:
        noise = noise + points.text[random.integers(len(points.text), size=count)]
    drawn = curve.loss(points.sizes) * np.maximum(1 + noise, 0.05)
    redrawn = fit_curves(points.sizes, drawn, weights, rounds=12) if count else curve
    return SizeFit(points, curve, redrawn, scatter, _doubts(curve, redrawn), scatters)


def _fit_weighted(points: Points) -> tuple[Curves, Array, float]:
    """The law, its weights, and the scatter, which each need the other: three turns settle them."""
    errors = _relative_errors(points)
    weights = np.ones(len(points.sizes))
    curve, scatter = fit_curves(points.sizes, points.losses[None], weights), 0.0
    for _ in range(3 if errors.any() else 1):
        left = curve.loss(points.sizes)[0] / points.losses - 1
        scatter = _scatter(left, errors)
        if errors.any():
            weights = 1 / np.maximum(errors**2 + scatter**2, 1e-16)
            weights = weights / weights.mean()
            curve = fit_curves(points.sizes, points.losses[None], weights)
    return curve, weights, scatter


def _scatter(left: Array, errors: Array) -> float:
    """What residuals `left` [n] need beside `errors` [n] to be as large as they are.

    The s with sum(left^2 / (errors^2 + s^2)) = n - 3 (Paule and Mandel 1982); 0 where the errors
    alone explain them.
    """
    free = len(left) - PARAMETERS
    if free < 1:
        return 0.0
    low, high = 0.0, float((left**2).sum() / free)
    if (left**2).sum() <= free * 1e-30 or (errors.all() and (left**2 / errors**2).sum() <= free):
        return 0.0
    for _ in range(100 if errors.any() else 0):
        middle = (low + high) / 2
        if (left**2 / np.maximum(errors**2 + middle, 1e-300)).sum() > free:
            low = middle
        else:
            high = middle
    return float(np.sqrt(high))


def _relative_errors(points: Points) -> Array:
    if points.errors is None:
        return np.zeros(len(points.sizes))
    return points.errors / points.losses


def _doubts(curve: Curves, replicates: Curves) -> tuple[Doubt, ...]:
    if _is_flat(curve)[0]:
        return ("flat",)
    found: list[Doubt] = []
    if _is_flat(replicates).mean() > (1 - LEVEL) / 2:
        found.append("unsure")
    if curve.exponent[0] <= LOWEST * 1.001:
        found.append("slow")
    if curve.exponent[0] >= HIGHEST * 0.999:
        found.append("step")
    if curve.floor[0] <= 1e-9 * curve.rise[0]:
        found.append("no floor")
    return tuple(found)


def _is_flat(curves: Curves) -> npt.NDArray[np.bool_]:
    """Which of the curves don't fall, [R]: a rise of a millionth is rounding."""
    return curves.rise <= 1e-6 * (curves.floor + curves.rise)


def leave_out(points: Points, replicates: int = REPLICATES) -> list[Foretold]:
    """Each size foretold from the others, on the same text, from the smallest size up.

    Of more than `MOST_LEFT_OUT` sizes only the largest. A size that several models have is
    foretold against their mean.
    """
    sizes: Sequence[float] = [float(size) for size in np.unique(points.sizes)]
    if len(sizes) > MOST_LEFT_OUT:
        sizes = sizes[-1:]
    found: list[Foretold] = []
    for size in sizes:
        measured = float(points.losses[points.sizes == size].mean())
        found.append(_with_replicates(points.without(size), replicates).foretell(size, measured))
    return found


def text_deviations(
    shares: Sequence[Sequence[tuple[float, int]]], count: int = REPLICATES
) -> Array | None:
    """How losses would differ together on other text of the kind: shares of the loss, [R, n].

    `shares` are what each of n models lost on the same parts of a text: (nats, tokens) each. The
    parts are drawn anew, the same for all models (a paired bootstrap). None of a single part.
    """
    nats = np.array([[one for one, _ in model] for model in shares])
    tokens = np.array([count for _, count in shares[0]], dtype=np.float64)
    if len(tokens) < 2:
        return None
    random = np.random.default_rng(SEED + 2)
    drawn = random.multinomial(len(tokens), np.full(len(tokens), 1 / len(tokens)), size=count)
    losses = drawn @ np.transpose(nats) / (drawn @ tokens)[:, None]
    return losses / (nats.sum(1) / tokens.sum()) - 1
