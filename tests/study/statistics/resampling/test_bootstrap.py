"""Bootstrap over items and seeds: a mean with a known variance, coverage, and bad input."""

from collections.abc import Callable

import numpy as np
import pytest

from study.statistics.arms import ArmScores
from study.statistics.calibration import calibrate, selective_accuracy
from study.statistics.differences import critical_value, estimate_contrast
from study.statistics.marginal_means import FloatArray
from study.statistics.resampling.bootstrap import bootstrap_interval

BOUNDS = (0.0, 1.0)


def drawn(rng: np.random.Generator, num_items: int, num_seeds: int) -> tuple[FloatArray, ...]:
    """Confidence and correctness of an overconfident model on items of its own difficulty."""
    logit = 1.2 * rng.normal(size=(num_items, 1)) + 0.1 * rng.normal(size=num_seeds)
    logit = logit + 0.5 * rng.normal(size=(num_items, num_seeds))
    right = rng.random((num_items, num_seeds)) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-2 * logit)), right.astype(float)


def ece(sure: FloatArray, right: FloatArray) -> float:
    return calibrate(sure.ravel(), right.ravel()).ece


def squared(sure: FloatArray, right: FloatArray) -> float:
    return float(((sure - right) ** 2).mean())


def area(sure: FloatArray, right: FloatArray) -> float:
    return selective_accuracy(sure.ravel(), right.ravel()).area


def test_the_interval_of_a_mean_is_about_that_of_its_variance_components() -> None:
    rng = np.random.default_rng(0)
    scores = 0.5 + 0.15 * rng.normal(size=(200, 1)) + 0.04 * rng.normal(size=3)
    arm = ArmScores(scores=scores, draw_ids=tuple("abc"))
    exact = estimate_contrast({"arm": arm}, {"arm": 1.0})
    found = bootstrap_interval(
        lambda values: float(values.mean()), scores, bounds=BOUNDS, num_resamples=2000, rng=rng
    )
    assert exact.low is not None and exact.high is not None and exact.nu is not None
    assert found.low is not None and found.high is not None
    # The exact interval uses t with few degrees of freedom; the bootstrap uses the normal.
    wanted = (exact.high - exact.low) * 1.96 / critical_value(exact.nu, 0.95)
    assert found.high - found.low == pytest.approx(wanted, rel=0.08)


@pytest.mark.parametrize("statistic", [ece, squared, area])
def test_coverage(statistic: Callable[..., float]) -> None:
    rng, covered, num_draws = np.random.default_rng(1), 0, 60
    population = [drawn(rng, 2000, 40) for _ in range(5)]
    truth = float(np.mean([statistic(*one) for one in population]))
    for _ in range(num_draws):
        found = bootstrap_interval(
            statistic, *drawn(rng, 200, 3), bounds=BOUNDS, num_resamples=50, rng=rng
        )
        covered += found.low is not None and found.low <= truth <= (found.high or 0.0)
    # 0.93 of many draws; of 60 it may fall short by two standard errors.
    assert covered / num_draws >= 0.87


def test_one_item_has_no_interval_and_shapes_must_agree() -> None:
    rng = np.random.default_rng(2)
    sure, right = drawn(rng, 1, 3)
    assert bootstrap_interval(squared, sure, right, bounds=BOUNDS, rng=rng).low is None
    with pytest.raises(ValueError, match="the same items and seeds"):
        bootstrap_interval(squared, sure, right[:, :2], bounds=BOUNDS, rng=rng)
