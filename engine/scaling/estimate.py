"""What a fit says: figures with their intervals, and losses foretold. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SEED = 20200123
"""Of every bootstrap: the same points give the same intervals."""
LEVEL = 0.95
"""How much of a bootstrap lies within an interval."""
_SLACK = 1e-6
"""Share of a loss that is rounding: points without noise have intervals of no width."""
LOWEST, HIGHEST = 0.01, 4.0
"""Exponents that are looked at. Below, a power can't be told from a straight line in log N, and
above, from a step down after the smallest size."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; an end that the points don't set is None."""

    value: float
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Foretold:
    """A loss that a law foretells for a size, and the one measured there, if there is one.

    `tokens` None: the law has no part for them. `loss` has an interval if the fit leaves a degree
    of freedom to judge the scatter by. None: the points without this size make no law.
    """

    size: float
    tokens: float | None
    loss: Estimate | None
    measured: float | None = None

    @property
    def off(self) -> float | None:
        """By what share of the measured loss the foretold one is too high."""
        if self.measured is None or self.loss is None:
            return None
        return self.loss.value / self.measured - 1

    @property
    def within(self) -> bool | None:
        """Whether what was measured lies in the interval; None without either."""
        if self.loss is None or self.loss.low is None or self.loss.high is None:
            return None
        if self.measured is None:
            return None
        slack = _SLACK * self.measured
        return self.loss.low - slack <= self.measured <= self.loss.high + slack

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "size": self.size,
            "tokens": self.tokens,
            "loss": None if self.loss is None else self.loss.as_json(),
            "measured": self.measured,
            "off": self.off,
            "within": self.within,
        }


def interval(values: Array) -> tuple[float, float]:
    """The ends between which `LEVEL` of `values` [R] lie."""
    rest = (1 - LEVEL) / 2
    low, high = np.quantile(values, [rest, 1 - rest])
    return float(low), float(high)


def exponent_estimate(value: float, values: Array) -> Estimate:
    """An exponent with its interval, open where that reaches the end of what is looked at."""
    low, high = interval(values)
    return Estimate(
        value,
        None if low <= LOWEST * 1.001 else low,
        None if high >= HIGHEST * 0.999 else high,
    )
