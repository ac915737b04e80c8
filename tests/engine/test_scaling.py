"""The laws of size, and of size and data, on points whose law is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import InputError
from lmtool.engine.scaling.data_law import Runs, fit_data_law, leave_largest_out
from lmtool.engine.scaling.size_law import (
    MOST_LEFT_OUT,
    Points,
    fit_size_law,
    leave_out,
    text_deviations,
)

SIZES = np.array([1.1e5, 3.6e5, 8.5e5, 1.9e6, 4.3e6, 8.0e6])
CHINCHILLA = Path(__file__).parents[1] / "reference" / "chinchilla.csv"


def points_of(floor, scale, exponent, sizes=SIZES, noise=0.0, seed=0) -> Points:
    losses = floor + scale * sizes**-exponent
    off = np.random.default_rng(seed).standard_normal(len(sizes))
    return Points(sizes, losses * (1 + noise * off))


@settings(max_examples=40, deadline=None)
@given(
    floor=st.floats(0.2, 3),
    rise=st.floats(0.1, 5),
    exponent=st.floats(0.05, 1.5),
    count=st.integers(4, 9),
    span=st.floats(8, 1e4),
)
def test_a_law_without_noise_comes_back(floor, rise, exponent, count, span) -> None:
    sizes = np.geomspace(1e5, 1e5 * span, count)
    scale = rise * 1e5**exponent
    found = fit_size_law(points_of(floor, scale, exponent, sizes), replicates=20)
    assert found.exponent.value == pytest.approx(exponent, rel=1e-3)
    assert found.floor.value == pytest.approx(floor, rel=1e-2, abs=1e-3)
    assert found.scale.value == pytest.approx(scale, rel=1e-2)
    assert found.scatter < 1e-6
    assert found.doubts == ()


def test_a_pure_power_has_no_floor() -> None:
    found = fit_size_law(points_of(0.0, 20.0, 0.2), replicates=50)
    assert found.floor.value == pytest.approx(0, abs=1e-6)
    assert found.exponent.value == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize("count", [4, 6, 10])
def test_intervals_hold_the_truth_about_as_often_as_they_say(count: int) -> None:
    sizes = np.geomspace(1e5, 1e7, count)
    inside = np.zeros(3)
    runs = 60
    for seed in range(runs):
        points = points_of(1.3, 60.0, 0.3, sizes, 0.003, seed)
        found = fit_size_law(points, replicates=200)
        for place, (one, true) in enumerate(
            [(found.floor, 1.3), (found.scale, 60.0), (found.exponent, 0.3)]
        ):
            inside[place] += (one.low or 0) <= true <= (one.high or np.inf)
    # Of 60 intervals at 95%, fewer than 50 hold the truth once in ten thousand times.
    assert (inside >= 50).all(), inside


def test_fewer_sizes_have_wider_intervals() -> None:
    widths: list[float] = []
    for count in (4, 12):
        sizes = np.geomspace(1e5, 1e7, count)
        found = [fit_size_law(points_of(1.3, 60.0, 0.3, sizes, 0.003, s), 200) for s in range(9)]
        widths.append(float(np.median([one.floor.high - one.floor.low for one in found])))
    assert widths[0] > 2 * widths[1]


def test_the_same_points_give_the_same_intervals() -> None:
    points = points_of(1.3, 60.0, 0.3, noise=0.01)
    assert fit_size_law(points).exponent == fit_size_law(points).exponent


def test_the_largest_is_foretold_from_the_smaller() -> None:
    *_, last = leave_out(points_of(1.3, 60.0, 0.3), 100)
    assert last.size == SIZES[-1]
    assert last.off == pytest.approx(0, abs=1e-9)
    assert last.within
    noisy = [points_of(1.3, 60.0, 0.3, noise=0.003, seed=seed) for seed in range(8)]
    inside = [leave_out(points, 200)[-1].within for points in noisy]
    assert sum(inside) >= 6


def test_a_size_that_leaves_no_scatter_to_judge_by_has_no_interval() -> None:
    found = leave_out(points_of(1.3, 60.0, 0.3, SIZES[:4]), 50)
    assert len(found) == 4
    assert all(one.loss.low is None and one.within is None for one in found)


def test_of_very_many_sizes_only_the_largest_is_left_out() -> None:
    sizes = np.geomspace(1e5, 1e8, MOST_LEFT_OUT + 1)
    (only,) = leave_out(points_of(1.3, 60.0, 0.3, sizes), 20)
    assert only.size == sizes[-1]


@pytest.mark.parametrize(
    ("losses", "doubts"),
    [
        ([2.0] * 6, ("flat",)),
        ([1.0, 1.1, 1.2, 1.3, 1.4, 1.5], ("flat",)),
        ([3.0, 2.0, 2.0, 2.0, 2.0, 2.0], ("step",)),
        (list(9 - 0.5 * np.log(SIZES)), ("no floor",)),
        ([2.0, 1.999, 1.997, 1.994, 1.99, 1.985], ("slow",)),
        ([2.0, 2.3, 1.8, 2.2, 1.9, 2.0], ("unsure",)),
    ],
)
def test_what_no_law_describes_is_doubted(losses: list[float], doubts: tuple[str, ...]) -> None:
    found = fit_size_law(Points.of(list(SIZES), losses), 300)
    assert set(doubts) <= set(found.doubts)


def test_a_loss_with_a_large_error_counts_for_less() -> None:
    points = points_of(1.3, 60.0, 0.3)
    points.losses[2] *= 1.2
    errors = np.full(6, 0.001)
    alike = fit_size_law(Points(points.sizes, points.losses, errors), 50)
    errors[2] = 1.0
    wary = fit_size_law(Points(points.sizes, points.losses, errors), 50)
    assert wary.exponent.value == pytest.approx(0.3, rel=1e-2)
    assert abs(alike.exponent.value - 0.3) > 0.02


def test_errors_larger_than_the_residuals_leave_no_scatter() -> None:
    points = points_of(1.3, 60.0, 0.3, noise=0.001)
    told = fit_size_law(Points(points.sizes, points.losses, np.full(6, 0.1)), 500)
    assert told.scatter == 0
    bare = fit_size_law(points, 500)
    assert told.floor.high - told.floor.low > bare.floor.high - bare.floor.low


def test_other_text_moves_all_losses_together() -> None:
    hard = np.random.default_rng(0).gamma(4, 0.5, size=200)
    shares = [
        [(loss * tokens * hard_one, tokens) for hard_one in hard]
        for loss, tokens in zip(points_of(1.3, 60.0, 0.3).losses, [64] * 6, strict=True)
    ]
    found = text_deviations(shares)
    assert found.shape == (1000, 6)
    assert found.std(0) == pytest.approx(hard.std() / hard.mean() / np.sqrt(200), rel=0.1)
    # All have the same text: they are as far off as one another.
    assert np.ptp(found, axis=1).max() < 1e-9
    points = points_of(1.3, 60.0, 0.3, noise=0.001)
    alone, moved = (
        fit_size_law(Points(SIZES, points.losses, text=text), 500) for text in (None, found)
    )
    assert moved.floor.high - moved.floor.low > alone.floor.high - alone.floor.low
    assert moved.exponent.low == pytest.approx(alone.exponent.low, rel=0.02)
    assert text_deviations([[(1.0, 64)]] * 6) is None


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([5e5] * 5, "all 5 models have the same size, 500,000 parameters"),
        ([1e5, 2e5, 3e5], "needs 4 sizes or more: there are 3"),
        ([1e5, 1e5, 2e5, 3e5], "there are 3"),
        ([1e5], "there is 1"),
    ],
)
def test_too_few_sizes(sizes: list[float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_size_law(Points.of(sizes, [2.0] * len(sizes)))


def chinchilla() -> Runs:
    columns = np.loadtxt(CHINCHILLA, delimiter=",", skiprows=5)
    return Runs(*np.transpose(columns))


def test_published_runs_give_their_published_law() -> None:
    """Besiroglu et al. 2024, table 1: figures and standard errors."""
    found = fit_data_law(chinchilla(), replicates=100).estimates
    published = {
        "E": (1.8172, 0.03),
        "A": (482.01, 124.58),
        "B": (2085.43, 1293.23),
        "alpha": (0.3478, 0.02),
        "beta": (0.3658, 0.02),
    }
    for name, (value, error) in published.items():
        # The points are rounded to 4 digits, which is nothing beside the errors.
        assert found[name].value == pytest.approx(value, abs=error / 10), name
        assert found[name].low < value < found[name].high
        width = found[name].high - found[name].low
        assert 0.5 < width / (2 * 1.96 * error) < 1.5, name
    assert found["split"].value == pytest.approx(0.513, abs=0.005)


def test_a_part_of_the_published_runs() -> None:
    """Those up to 3e20 FLOP, fitted by others with BFGS: 1.8877, 383.38, 0.334, 11200, 0.4492."""
    runs = chinchilla()
    kept = 6 * runs.sizes * runs.tokens < 4.243e20
    assert kept.sum() == 183
    part = Runs(runs.sizes[kept], runs.tokens[kept], runs.losses[kept])
    found = fit_data_law(part, replicates=2).estimates
    assert found["E"].value == pytest.approx(1.8877, abs=1e-3)
    assert found["alpha"].value == pytest.approx(0.334, abs=1e-3)
    assert found["beta"].value == pytest.approx(0.4492, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(alpha=st.floats(0.2, 0.6), beta=st.floats(0.2, 0.6), floor=st.floats(1, 2.5))
def test_a_law_of_data_without_noise_comes_back(alpha, beta, floor) -> None:
    sizes, tokens = (
        grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 1e12, 5))
    )
    losses = floor + (sizes / 3e7) ** -alpha + 1.5 * (tokens / 1e9) ** -beta
    fit = fit_data_law(Runs(sizes, tokens, losses), replicates=2)
    found = fit.estimates
    assert found["alpha"].value == pytest.approx(alpha, abs=2e-3)
    assert found["beta"].value == pytest.approx(beta, abs=2e-3)
    assert found["E"].value == pytest.approx(floor, abs=5e-3)
    assert fit.foretell(2e10, 1e12).loss.value == pytest.approx(
        floor + (2e10 / 3e7) ** -alpha + 1.5 * 1e3**-beta, abs=2e-3
    )


def test_the_largest_runs_are_foretold_with_their_tokens() -> None:
    (only,) = leave_largest_out(chinchilla(), replicates=20)
    assert (only.size, only.measured) == (1.618e10, 2.286)
    assert only.loss.value == pytest.approx(2.255, abs=0.005)
    assert only.off == pytest.approx(-0.0137, abs=0.002)


@pytest.mark.parametrize(
    ("sizes", "tokens", "says"),
    [
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], "needs 6 points or more: there are 5"),
        ([1, 1, 1, 2, 2, 2], [1, 2, 3, 4, 5, 6], "only 2 different values of N"),
        ([1, 2, 3, 4, 5, 6], [1, 1, 1, 2, 2, 2], "only 2 different values of D"),
        ([1, 2, 3, 4, 5, 6], [20, 40, 60, 80, 100, 120], "can't be told apart"),
    ],
)
def test_runs_that_make_no_law(sizes: list[float], tokens: list[float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_data_law(Runs.of(sizes, tokens, [2.0] * len(sizes)))
