"""The law of size and data, L = E + A / N^alpha + B / D^beta, as Chinchilla's was. No torch.

Approach 3 of Hoffmann et al. 2022 (arXiv:2203.15556, equation 10): with e = log E, a = log A,
b = log B, the sum over the points of

    Huber(LSE(a - alpha log N, b - beta log D, e) - log L),  delta = 1e-3

is minimised from a grid of starts. Besiroglu et al. 2024 (arXiv:2404.10102) found that the first
authors' minimiser had stopped early; here it is Levenberg and Marquardt's with Huber's weights,
which runs until nothing changes, for all starts or replicates at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from ... import InputError
from .estimate import HIGHEST, SEED, Array, Estimate, Foretold, exponent_estimate, interval

PARAMETERS = 5
FEWEST = PARAMETERS + 1
DELTA = 1e-3
"""Where Huber's loss turns from squares to sizes, in nats of log L."""
REPLICATES = 200
_TURNS = 400
_STARTS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2])
_KEPT = 12
"""Starts that are followed to the end, of all pairs of exponents in `_STARTS`."""


@dataclass(frozen=True)
class Runs:
    """Measured models: sizes, tokens they were trained on, losses, [n] each."""

    sizes: Array
    tokens: Array
    losses: Array

    @classmethod
    def of(cls, sizes: Sequence[float], tokens: Sequence[float], losses: Sequence[float]) -> Runs:
        """Runs of plain figures."""
        return cls(*(np.array(one, dtype=np.float64) for one in (sizes, tokens, losses)))

    def check(self) -> None:
        """Raise `InputError` for runs that no law can be fitted to."""
        if len(self.losses) < FEWEST:
            raise InputError(
                f"a law of five figures needs {FEWEST} points or more: there are {len(self.losses)}"
            )
        for name, values in (("N", self.sizes), ("D", self.tokens)):
            if len(np.unique(values)) < 3:
                raise InputError(
                    f"there are only {len(np.unique(values))} different values of {name}",
                    hint="a power of it needs 3 or more",
                )
        together = _correlation(np.log(self.sizes), np.log(self.tokens))
        if abs(together) > 0.9999:
            raise InputError(
                "D is one power of N in all points, so what each does can't be told apart",
                hint="leave the column D out to fit a law of size alone",
            )


@dataclass(frozen=True)
class Surfaces:
    """R laws, [R, 5] in all: e, a, b, alpha, beta, with a and b at `middle`, a size and tokens."""

    figures: Array
    middle: tuple[float, float]

    @property
    def floor(self) -> Array:
        """E of each law, [R]."""
        return np.exp(self.figures[:, 0])

    @property
    def size_scale(self) -> Array:
        """A of each law, [R]."""
        return np.exp(self.figures[:, 1]) * self.middle[0] ** self.size_exponent

    @property
    def token_scale(self) -> Array:
        """B of each law, [R]."""
        return np.exp(self.figures[:, 2]) * self.middle[1] ** self.token_exponent

    @property
    def size_exponent(self) -> Array:
        """alpha of each law, [R]."""
        return self.figures[:, 3]

    @property
    def token_exponent(self) -> Array:
        """beta of each law, [R]."""
        return self.figures[:, 4]

    def loss(self, sizes: Array, tokens: Array) -> Array:
        """Losses at `sizes` and `tokens` [S], as [R, S]."""
        logs = np.stack([np.log(sizes / self.middle[0]), np.log(tokens / self.middle[1])])
        return np.exp(_terms(self.figures, logs)[1])


@dataclass(frozen=True)
class DataFit:
    """A law of size and data fitted to runs, with replicates from runs drawn anew."""

    runs: Runs
    surface: Surfaces
    replicates: Surfaces
    left: Array
    """What the law leaves of each loss, [n], in nats of log L."""

    @property
    def estimates(self) -> dict[str, Estimate]:
        """E, A, alpha, B, beta, and `split`: compute-optimal N grows with compute to that power."""
        best, drawn = self.surface, self.replicates
        split = [
            one.token_exponent / np.maximum(one.size_exponent + one.token_exponent, 1e-9)
            for one in (best, drawn)
        ]
        return {
            "E": Estimate(float(best.floor[0]), *interval(drawn.floor)),
            "A": Estimate(float(best.size_scale[0]), *interval(drawn.size_scale)),
            "alpha": exponent_estimate(float(best.size_exponent[0]), drawn.size_exponent),
            "B": Estimate(float(best.token_scale[0]), *interval(drawn.token_scale)),
            "beta": exponent_estimate(float(best.token_exponent[0]), drawn.token_exponent),
            "split": Estimate(float(split[0][0]), *interval(split[1])),
        }

    def curve(self, sizes: Sequence[float], tokens: float) -> list[float]:
        """The losses of models of these sizes that have read `tokens`."""
        at = np.array(sizes)
        return [float(loss) for loss in self.surface.loss(at, np.full(len(at), tokens))[0]]

    def foretell(self, size: float, tokens: float, measured: float | None = None) -> Foretold:
        """The loss of a model of `size` that reads `tokens`, with the scatter of single runs."""
        at = np.array([size]), np.array([tokens])
        drawn = self.replicates.loss(*at)[:, 0]
        off = np.random.default_rng(SEED + 1).choice(self.left, len(drawn))
        value = Estimate(float(self.surface.loss(*at)[0, 0]), *interval(drawn * np.exp(-off)))
        return Foretold(size, tokens, value, measured)


def fit_data_law(runs: Runs, replicates: int = REPLICATES) -> DataFit:
    """The law of the runs, with intervals from a bootstrap that draws the runs anew.

    Raises `InputError` by `Runs.check`.
    """
    runs.check()
    middle = float(np.exp(np.log(runs.sizes).mean())), float(np.exp(np.log(runs.tokens).mean()))
    logs = np.stack([np.log(runs.sizes / middle[0]), np.log(runs.tokens / middle[1])])
    target = np.log(runs.losses)
    starts = _starts(logs, runs.losses)
    every = np.ones((len(starts), len(target)))
    figures, misfit = _descend(starts, logs, target, every, turns=40)
    kept = figures[misfit.argsort(kind="stable")[:_KEPT]]
    figures, misfit = _descend(kept, logs, target, every[:_KEPT])
    best = figures[misfit.argmin()][None]
    random = np.random.default_rng(SEED)
    count = len(target)
    counts = random.multinomial(count, np.full(count, 1 / count), size=replicates).astype(float)
    drawn, _ = _descend(np.repeat(best, replicates, axis=0), logs, target, counts)
    left = target - _terms(best, logs)[1][0]
    return DataFit(runs, Surfaces(best, middle), Surfaces(drawn, middle), left)


def leave_largest_out(runs: Runs, replicates: int = REPLICATES) -> list[Foretold]:
    """The runs of the largest size foretold from all others; empty if these make no law."""
    largest = runs.sizes == runs.sizes.max()
    rest = Runs(*(values[~largest] for values in (runs.sizes, runs.tokens, runs.losses)))
    try:
        fit = fit_data_law(rest, replicates)
    except InputError:
        return []
    rows = zip(runs.tokens[largest], runs.losses[largest], strict=True)
    size = float(runs.sizes.max())
    return [fit.foretell(size, float(tokens), float(loss)) for tokens, loss in rows]


def _starts(logs: Array, losses: Array) -> Array:
    """A start for each pair of exponents: for these E, A and B are a linear matter, [S, 5]."""
    found: list[list[float]] = []
    least = 1e-3 * losses.min()
    for alpha in _STARTS:
        for beta in _STARTS:
            powers = np.exp(-np.stack([0 * logs[0], alpha * logs[0], beta * logs[1]]))
            solved = np.linalg.lstsq(
                np.transpose(powers / losses), np.ones(len(losses)), rcond=None
            )[0]
            found.append([*np.log(np.maximum(solved, least)), alpha, beta])
    return np.array(found)


def _terms(figures: Array, logs: Array) -> tuple[Array, Array]:
    """Shares of the three terms in the loss [R, n, 3], and the log of their sum [R, n]."""
    e, a, b, alpha, beta = (figures[:, place, None] for place in range(PARAMETERS))
    terms = np.stack([e + 0 * logs[0], a - alpha * logs[0], b - beta * logs[1]], axis=-1)
    highest = terms.max(-1, keepdims=True)
    powers = np.exp(terms - highest)
    total = powers.sum(-1, keepdims=True)
    return powers / total, (np.log(total) + highest)[..., 0]


def _misfit(left: Array, counts: Array) -> Array:
    """Huber's loss of residuals [R, n], each run counted so often, as [R]."""
    size = np.abs(left)
    return (counts * np.where(size < DELTA, left**2 / 2, DELTA * (size - DELTA / 2))).sum(-1)


def _descend(
    figures: Array, logs: Array, target: Array, counts: Array, turns: int = _TURNS
) -> tuple[Array, Array]:
    """The minima below `figures` [R, 5] for runs counted by `counts` [R, n], and their misfits."""
    figures, damping = np.array(figures), np.full(len(figures), 1e-3)
    misfit = _misfit(_terms(figures, logs)[1] - target, counts)
    going = np.arange(len(figures))
    still = np.zeros(len(figures), dtype=int)
    for _ in range(turns):
        tried = _limited(
            figures[going] - _step(figures[going], logs, target, counts[going], damping[going])
        )
        found = _misfit(_terms(tried, logs)[1] - target, counts[going])
        better = found < misfit[going]
        gain = np.where(better, 1 - found / np.maximum(misfit[going], 1e-300), 0.0)
        figures[going[better]], misfit[going[better]] = tried[better], found[better]
        damping[going] = np.minimum(
            np.maximum(damping[going] * np.where(better, 0.2, 5.0), 1e-12), 1e6
        )
        still[going] = np.where(gain < 1e-9, still[going] + 1, 0)
        going = going[still[going] < 8]
        if not len(going):
            break
    return figures, misfit


def _step(figures: Array, logs: Array, target: Array, counts: Array, damping: Array) -> Array:
    """What Levenberg and Marquardt would take off the figures, [R, 5]."""
    shares, total = _terms(figures, logs)
    left = total - target
    slopes = np.concatenate([shares, -shares[..., 1:] * np.transpose(logs)], axis=-1)
    robust = np.minimum(1.0, DELTA / np.maximum(np.abs(left), 1e-300))
    weighted = slopes * (counts * robust)[..., None]
    normal = np.einsum("rni,rnj->rij", weighted, slopes)
    slope = np.einsum("rni,rn->ri", weighted, left)
    spread = np.einsum("rii->ri", normal)
    added = damping[:, None] * spread + 1e-12 * spread.max(-1, keepdims=True)
    normal = normal + added[:, None, :] * np.eye(PARAMETERS)
    solved = cast("Array", np.linalg.solve(normal, slope[..., None]))
    return solved[..., 0]


def _limited(figures: Array) -> Array:
    """Figures within what a loss can be made of."""
    low, high = np.array([-20.0] * 3 + [0.0] * 2), np.array([20.0] * 3 + [HIGHEST] * 2)
    return np.minimum(np.maximum(figures, low), high)


def _correlation(one: Array, other: Array) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))
