"""Intervals of calibration error and selective area: simulated coverage, and slower ways."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.contrasts import calibration_coverage, ece, selective_area
from study.statistics.arms import ArmScores
from study.statistics.calibration import (
    bin_residuals,
    calibrate,
    selective_accuracy,
    selective_scores,
)
from study.statistics.differences import critical_value
from study.statistics.marginal_means import FloatArray
from study.statistics.resampling.calibration_intervals import ece_interval, selective_interval


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
