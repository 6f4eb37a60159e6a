"""Intervals of calibration error and selective area: simulated coverage, and slower ways."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.contrasts import bin_coverage, calibration_coverage, ece, selective_area
from study.statistics.arms import ArmScores
from study.statistics.calibration import (
    bin_residuals,
    calibrate,
    selective_accuracy,
    selective_scores,
)
from study.statistics.differences import critical_value
from study.statistics.marginal_means import FloatArray
from study.statistics.resampling.calibration_intervals import (
    bin_accuracies,
    ece_interval,
    selective_interval,
)


@pytest.mark.parametrize(
    ("interval", "slope", "num_seeds"),
    [
        (ece, 1.0, 1),
        (ece, 1.0, 3),
        (ece, 1.3, 2),
        (ece, 2.0, 3),
        (selective_area, 1.0, 2),
        (selective_area, 1.0, 4),
    ],
)
def test_coverage(interval: Callable[..., object], slope: float, num_seeds: int) -> None:
    covered = calibration_coverage(
        interval, slope=slope, num_seeds=num_seeds, num_draws=100, rng=np.random.default_rng(3)
    )
    assert covered >= 0.93 - 0.05  # two standard errors of 100 draws; the benchmark has 300


@pytest.mark.parametrize(("slope", "num_seeds"), [(1.0, 1), (1.0, 3), (2.0, 2)])
def test_coverage_of_the_bins(slope: float, num_seeds: int) -> None:
    covered = bin_coverage(
        slope=slope, num_seeds=num_seeds, num_draws=60, rng=np.random.default_rng(3)
    )
    assert covered >= 0.93


def test_a_bin_of_independent_answers_has_wilsons_interval() -> None:
    """One seed, items of their own: the effective number of answers is theirs but one."""
    sure = np.full((40, 1), 0.75)
    right = np.array([1.0] * 28 + [0.0] * 12)[:, None]
    (found,) = bin_accuracies(sure, right)
    exact = binomtest(28, 39).proportion_ci(method="wilson")
    p, t2 = 0.7, critical_value(39, 0.95) ** 2
    centre, half = (
        (p + t2 / 78) / (1 + t2 / 39),
        np.sqrt(t2 * p * 0.3 / 39 + (t2 / 78) ** 2) / (1 + t2 / 39),
    )
    assert (found.accuracy, found.confidence, found.count) == (0.7, 0.75, 40)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert found.high == pytest.approx(exact.high, abs=0.03)


def test_repeated_answers_of_one_item_or_group_count_once() -> None:
    rng = np.random.default_rng(1)
    sure = np.full((30, 1), 0.75)
    right = rng.choice([0.0, 1.0], (30, 1), p=[0.3, 0.7])
    (once,) = bin_accuracies(sure, right)
    (seeds,) = bin_accuracies(np.tile(sure, (1, 4)), np.tile(right, (1, 4)))
    (groups,) = bin_accuracies(
        np.repeat(sure, 4, axis=0),
        np.repeat(right, 4, axis=0),
        clusters=[f"group {n // 4}" for n in range(120)],
    )
    for repeated in (seeds, groups):
        assert repeated.count == 120
        assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_a_bin_without_a_wrong_answer_is_not_certain() -> None:
    (found,) = bin_accuracies(np.full((10, 3), 0.95), np.ones((10, 3)))
    exact = binomtest(10, 10).proportion_ci(method="wilson")
    assert (found.accuracy, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(exact.low, abs=1e-6), "ten items, not thirty answers"


def answers(num_items: int, num_seeds: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(4)
    sure = np.round(rng.uniform(0.25, 1.0, (num_items, num_seeds)), 2)  # with ties
    return sure, rng.choice([0.0, 0.5, 1.0], size=sure.shape)


def three_seeds(right: FloatArray) -> ArmScores:
    return ArmScores(scores=right, draw_ids=("a", "b", "c"))


def test_column_means_of_residuals_add_up_to_the_error() -> None:
    sure, right = (values.ravel() for values in answers(20, 2))
    means = bin_residuals(sure, right).mean(axis=0)
    assert np.abs(means).sum() == pytest.approx(calibrate(sure, right).ece)


def test_contributions_to_the_area_are_its_derivatives() -> None:
    """With ties: repeating one answer moves the area by its contribution, to first order."""
    sure, right = (np.tile(values.ravel(), 50) for values in answers(10, 2))
    scores, area = selective_scores(sure, right), selective_accuracy(sure, right).area
    order = np.argsort(-sure, kind="stable")
    means = {c: right[sure == c].mean() for c in sure}
    expected = np.cumsum([means[c] for c in sure[order]])
    assert area == pytest.approx((expected / np.arange(1, len(sure) + 1)).mean())
    for answer in range(20):
        more = selective_scores(np.append(sure, sure[answer]), np.append(right, right[answer]))
        change = (more.mean() - area) * (len(sure) + 1)
        assert change == pytest.approx(scores[answer] - area, abs=0.01)


def test_the_interval_of_the_area_is_that_of_a_bootstrap_over_items_and_seeds() -> None:
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(150, 1)) + 0.5 * rng.normal(size=3) + 0.3 * rng.normal(size=(150, 3))
    sure = 1 / (1 + np.exp(-logits))
    right = (rng.random(sure.shape) < sure).astype(float)
    found = selective_interval(sure, three_seeds(right))

    def area(rows: FloatArray, columns: FloatArray) -> float:
        chosen = np.ix_(rows, columns)
        return float(selective_scores(sure[chosen].ravel(), right[chosen].ravel()).mean())

    items, seeds = np.arange(150), np.arange(3)
    by_item = [area(rng.integers(150, size=149), seeds) for _ in range(400)]
    by_seed = [area(items, rng.integers(3, size=2)) for _ in range(400)]
    error = (np.var(by_item) + np.var(by_seed)) ** 0.5
    assert found.high is not None and found.nu is not None
    half = critical_value(found.nu, 0.95) * error
    assert found.high - found.estimate == pytest.approx(half, rel=0.12)


def test_estimates_are_those_of_all_answers_and_repeat() -> None:
    sure, right = answers(30, 3)
    found = ece_interval(sure, right, rng=np.random.default_rng(0))
    assert found.estimate == pytest.approx(calibrate(sure.ravel(), right.ravel()).ece)
    assert found == ece_interval(sure, right, rng=np.random.default_rng(0))
    area = selective_interval(sure, three_seeds(right))
    assert area.estimate == pytest.approx(selective_accuracy(sure.ravel(), right.ravel()).area)


def test_a_calibrated_model_is_not_called_miscalibrated_and_a_boastful_one_is() -> None:
    rng = np.random.default_rng(6)
    sure = rng.uniform(0.25, 1.0, (400, 1))
    right = (rng.random(sure.shape) < sure).astype(float)
    assert ece_interval(sure, right, rng=rng).low == 0.0
    boastful = ece_interval(sure**0.25, right, rng=rng)
    assert boastful.low is not None and boastful.low > 0.1


def test_answers_that_are_missing_do_not_count() -> None:
    sure, right = answers(30, 2)
    right[3, 1] = np.nan
    found = ece_interval(sure, right, rng=np.random.default_rng(0))
    seen = ~np.isnan(right)
    assert found.estimate == pytest.approx(calibrate(sure[seen], right[seen]).ece)
    assert ece_interval(sure[:1], right[:1], rng=np.random.default_rng(0)).low is None
