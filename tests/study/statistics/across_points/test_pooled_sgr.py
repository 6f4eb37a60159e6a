"""Pooled SGR: textbook meta-analysis, its coverage, and when there is none."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from study.statistics.across_points.pooled_sgr import PooledSgr, pool, pooled_sgr
from study.statistics.across_points.pooling import PointArms
from study.statistics.arms import ArmScores
from study.statistics.marginal_means import FloatArray


def sampling_covariance(sds: FloatArray, correlation: float) -> FloatArray:
    """Independent points; numerator and denominator of a point share the floor."""
    square = np.diag(sds**2)
    return np.block([[square, correlation * square], [correlation * square, square]])


def textbook_p(x: FloatArray, y: FloatArray, sds: FloatArray, rho: float, theta: float) -> float:
    """Paule-Mandel and Hartung-Knapp for independent effects, as the papers write them."""
    effects = x - theta * y
    within = sds**2 * (1 - 2 * theta * rho + theta**2)

    def excess(between: float) -> float:
        weights = 1 / (within + between)
        mean = np.sum(weights * effects) / np.sum(weights)
        return float(np.sum(weights * (effects - mean) ** 2) - (len(x) - 1))

    between = 0.0 if excess(0.0) <= 0 else float(optimize.brentq(excess, 0.0, 10.0))
    weights = 1 / (within + between)
    mean = np.sum(weights * effects) / np.sum(weights)
    factor = max(1.0, (excess(between) + len(x) - 1) / (len(x) - 1))
    error = np.sqrt(factor / np.sum(weights))
    return float(2 * stats.t.sf(abs(mean / error), len(x) - 1))


def drawn(
    rng: np.random.Generator, count: int, *, between: float, theta: float = 0.7
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Numerators, denominators and sampling SDs of points with different gaps."""
    sds = 0.015 * rng.uniform(0.6, 1.6, size=count)
    gaps = rng.uniform(0.08, 0.2, size=count)
    gains = theta * gaps + between * rng.normal(size=count)
    values = rng.multivariate_normal(np.concatenate([gains, gaps]), sampling_covariance(sds, 0.5))
    return values[:count], values[count:], sds


@pytest.mark.parametrize("between", [0.0, 0.05])
def test_it_is_the_textbook_meta_analysis_at_each_theta(between: float) -> None:
    rng = np.random.default_rng(0)
    for count in (3, 6):
        x, y, sds = drawn(rng, count, between=between)
        found = pool(x, y, sampling_covariance(sds, 0.5), level=0.9)
        assert found.value is not None and found.low is not None and found.high is not None
        assert textbook_p(x, y, sds, 0.5, found.value) == pytest.approx(1.0, abs=1e-6)
        for end in (found.low, found.high):
            assert textbook_p(x, y, sds, 0.5, end) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_coverage(count: int) -> None:
    """benchmarks/contrasts.py has more draws and populations."""
    rng, num_draws, covered = np.random.default_rng(count), 150, 0
    for number in range(num_draws):
        x, y, sds = drawn(rng, count, between=0.03 * (number % 2))
        found = pool(x, y, sampling_covariance(sds, 0.5), level=0.95)
        # An unresolved pooled SGR excludes nothing.
        covered += found.low is None or found.low <= 0.7 <= (found.high or 0.0)
    # 0.93 of many draws; of 150 it may fall short by two standard errors.
    assert covered / num_draws >= 0.89


def point(rng: np.random.Generator, task: str, gap: float = 0.2, num_items: int = 200) -> PointArms:
    """A point whose arms have the items and draws of its task."""
    means = {"zero_shot": 0.4, "easy": 0.4 + 0.5 * gap, "hard": 0.4 + gap}
    item = 0.2 * rng.normal(size=(num_items, 1))
    return PointArms(
        arms={
            name: ArmScores(
                scores=mean + item + 0.2 * rng.normal(size=(num_items, 1 if name[0] == "z" else 3)),
                draw_ids=() if name[0] == "z" else tuple(f"{task}/{name}/{s}" for s in range(3)),
                item_ids=tuple(f"{task}/{i}" for i in range(num_items)),
            )
            for name, mean in means.items()
        }
    )


def test_one_point_three_times_is_no_more_than_one_point() -> None:
    """Points on the same items and draws have one sampling error, not three."""
    one = point(np.random.default_rng(1), "a")
    with_noise = [
        replace(
            one,
            arms={
                name: replace(arm, scores=arm.scores + 1e-5 * number)
                for name, arm in one.arms.items()
            },
        )
        for number in range(3)
    ]
    same = pooled_sgr(with_noise)
    others = pooled_sgr([point(np.random.default_rng(1), task) for task in "abc"])

    def width(found: PooledSgr) -> float:
        assert found.low is not None and found.high is not None, found.reason
        return found.high - found.low

    assert width(same) == pytest.approx(3**0.5 * width(others), rel=0.05)


def test_no_value_without_three_points_or_a_gap() -> None:
    rng = np.random.default_rng(2)
    few = pooled_sgr([point(rng, task) for task in "ab"])
    assert (few.value, few.low, few.high, few.reason) == (
        *(None, None, None),
        "2 of at least 3 points to pool",
    )
    flat = pooled_sgr([point(rng, task, gap=0.0) for task in "abcd"])
    assert flat.value is None and "gap" in flat.reason


def test_unresolved_points_enter() -> None:
    rng = np.random.default_rng(3)
    points = [point(rng, task, num_items=400) for task in "abcd"]
    without = pooled_sgr(points)
    found = pooled_sgr([*points, point(rng, "e", gap=0.01, num_items=400)])
    assert (without.num_points, found.num_points) == (4, 5)
    assert found.value != without.value
