"""Trends over points that share cells, against single estimates and simulation."""

import numpy as np
import pytest

from study.statistics.across_points.pooling import PointArms, PooledSums
from study.statistics.across_points.trend import EASY_GAIN, HARD_GAIN, sgr_trend, trend
from study.statistics.arms import ArmScores
from study.statistics.differences import Difference, critical_value, estimate_contrast
from study.statistics.influences import Contrast
from study.statistics.moments import Moments
from study.statistics.sgr import estimate_sgr_of_arms


def _arm(
    rng: np.random.Generator,
    *,
    name: str,
    mean: float,
    items: range = range(120),
    num_seeds: int = 4,
    base: np.ndarray | None = None,
) -> ArmScores:
    difficulty = 0.3 * np.random.default_rng(99).normal(size=1000)[list(items)]
    noise = 0.3 * rng.normal(size=(len(items), max(1, num_seeds)))
    seeds = 0.05 * rng.normal(size=max(1, num_seeds)) if base is None else base
    return ArmScores(
        scores=mean + difficulty[:, None] + noise + seeds,
        draw_ids=tuple(f"{name}/{s}" for s in range(num_seeds)),
        item_ids=tuple(f"item-{i}" for i in items),
    )


def _points(rng: np.random.Generator, sgr: tuple[float, ...]) -> list[PointArms]:
    """Models of growing size on the same items; easy draws are shared between the models."""
    easy_draws, hard_draws = 0.05 * rng.normal(size=4), 0.05 * rng.normal(size=4)
    points = []
    for size, share in enumerate(sgr):
        gap = 0.2 + 0.1 * size
        points.append(
            PointArms(
                covariate=float(size),
                arms={
                    "zero_shot": _arm(rng, name="", mean=0.2, num_seeds=0),
                    "easy": _arm(rng, name="easy", mean=0.2 + share * gap, base=easy_draws),
                    "hard": _arm(rng, name="hard", mean=0.2 + gap, base=hard_draws),
                },
            )
        )
    return points


def _jointly(points: list[PointArms], contrast: Contrast) -> Moments:
    """Returns one contrast at each point, with the covariance between the points."""
    sums = PooledSums(len(points))
    for index, point in enumerate(points):
        sums.add(point, [contrast], np.eye(len(points))[index : index + 1])
    return sums.moments()


def test_slope_of_shared_cells_is_one_contrast_of_all_arms() -> None:
    points = _points(np.random.default_rng(0), (0.5, 0.6, 0.9))
    found = trend(points, EASY_GAIN)
    # Covariates 0, 1, 2: the slope is (gain at 2 - gain at 0) / 2, one contrast of four arms.
    arms = {
        f"{name}-{k}": points[k].arms[name] for k in (0, 1, 2) for name in ("easy", "zero_shot")
    }
    weights = {"easy-2": 0.5, "zero_shot-2": -0.5, "easy-0": -0.5, "zero_shot-0": 0.5}
    wanted = estimate_contrast(arms, weights)
    assert found.slope is not None and wanted.low is not None
    assert found.slope.estimate == pytest.approx(wanted.estimate)
    assert found.slope.low == pytest.approx(wanted.low)
    assert found.slope.high == pytest.approx(wanted.high)
    assert found.slope.nu == pytest.approx(wanted.nu)
    assert found.slope.p_value == pytest.approx(wanted.p_value)


def test_points_without_common_items_or_draws_are_independent() -> None:
    rng = np.random.default_rng(1)
    points = []
    for k in range(4):
        items = range(100 * k, 100 * k + 80)
        arms = {
            "zero_shot": _arm(rng, name="", mean=0.2, items=items, num_seeds=0),
            "easy": _arm(rng, name=f"easy-{k}", mean=0.4, items=items, num_seeds=3),
            "hard": _arm(rng, name=f"hard-{k}", mean=0.5, items=items),
        }
        points.append(PointArms(arms=arms, covariate=[0.0, 1.0, 3.0, 4.0][k]))
    joint = _jointly(points, EASY_GAIN)
    alone = [estimate_sgr_of_arms(**point.arms).ratio.covariance.xx for point in points]
    assert joint.covariance == pytest.approx(np.diag(alone), abs=1e-15)
    slope = trend(points, EASY_GAIN).slope
    weights = (np.array([0, 1, 3, 4]) - 2) / 10
    assert slope is not None and slope.low is not None and slope.high is not None
    assert slope.estimate == pytest.approx(float(weights @ joint.values))
    single = _jointly(points[:1], EASY_GAIN)
    assert single.covariance[0, 0] == pytest.approx(alone[0])


def test_shared_zero_shot_makes_points_dependent() -> None:
    rng = np.random.default_rng(2)
    zero_shot = _arm(rng, name="", mean=0.2, num_seeds=0)
    points = [
        PointArms(arms={"zero_shot": zero_shot, "easy": _arm(rng, name=f"easy-{k}", mean=0.4)})
        for k in range(2)
    ]
    joint = _jointly(points, EASY_GAIN)
    gains = [p.arms["easy"].scores.mean(1) - zero_shot.scores[:, 0] for p in points]
    assert joint.covariance[0, 1] == pytest.approx(np.cov(gains)[0, 1] / 120)
    assert joint.covariance[0, 1] > 0


def test_sgr_trend_holds_its_level_and_finds_a_trend() -> None:
    rng, rejected, found = np.random.default_rng(5), 0, 0
    for _ in range(150):
        slope = sgr_trend(_points(rng, (0.7, 0.7, 0.7))).slope
        assert slope is not None and slope.p_value is not None
        rejected += slope.p_value < 0.05
        steep = sgr_trend(_points(rng, (0.2, 0.6, 1.0))).slope
        assert steep is not None and steep.p_value is not None
        found += steep.p_value < 0.05
    assert rejected <= 15
    assert found >= 140


def test_sgr_trend_agrees_with_a_fixed_theta_where_that_is_the_pooled_one() -> None:
    points = _points(np.random.default_rng(6), (0.6, 0.7, 0.5))
    ratios = [estimate_sgr_of_arms(**point.arms).ratio for point in points]
    theta = sum(r.numerator.estimate for r in ratios) / sum(r.denominator.estimate for r in ratios)
    excess = {"easy": 1.0, "hard": -theta, "zero_shot": theta - 1.0}
    own, fixed = sgr_trend(points).slope, trend(points, excess).slope
    assert own is not None and fixed is not None
    assert own.estimate == pytest.approx(fixed.estimate)
    gain, gap = trend(points, EASY_GAIN).slope, trend(points, HARD_GAIN).slope
    assert gain is not None and gap is not None
    assert own.estimate == pytest.approx(gain.estimate - theta * gap.estimate)


def test_sgr_trend_counts_the_error_of_the_pooled_sgr() -> None:
    # Oracle: the jackknife over items of the whole statistic, pooled SGR and all.
    rng, num_items = np.random.default_rng(8), 60
    base = [(0.2, 0.25, 0.3), (0.2, 0.4, 0.5), (0.2, 0.6, 0.9)]
    effect = rng.normal(size=num_items)
    scores = [
        {
            name: mean + weight * effect + 0.2 * rng.normal(size=num_items)
            for name, mean, weight in zip(
                ("zero_shot", "easy", "hard"), means, (0, 0.1, 0.3), strict=True
            )
        }
        for means in base
    ]

    def slope_of(keep: list[int]) -> Difference:
        ids = tuple(f"item-{i}" for i in keep)
        points = [
            PointArms(
                covariate=float(k),
                arms={
                    name: ArmScores(scores=values[keep][:, None], draw_ids=(), item_ids=ids)
                    for name, values in point.items()
                },
            )
            for k, point in enumerate(scores)
        ]
        slope = sgr_trend(points).slope
        assert slope is not None
        return slope

    full = slope_of(list(range(num_items)))
    left_out = [
        slope_of([i for i in range(num_items) if i != k]).estimate for k in range(num_items)
    ]
    jackknife = np.sqrt((num_items - 1) * np.var(left_out))
    assert full.low is not None and full.high is not None and full.nu is not None
    error = (full.high - full.low) / 2 / critical_value(full.nu, 0.95)
    assert error == pytest.approx(jackknife, rel=0.02)


def test_no_trend_without_two_places_or_a_gap() -> None:
    points = _points(np.random.default_rng(7), (0.5, 0.5))
    same = [PointArms(arms=p.arms, covariate=1.0) for p in points]
    for found in (trend(same, EASY_GAIN), trend([], EASY_GAIN), sgr_trend(same)):
        assert found.slope is None
        assert "two different covariates" in found.reason
    flat = [
        PointArms(arms={**p.arms, "hard": p.arms["zero_shot"]}, covariate=p.covariate)
        for p in points
    ]
    assert "gap" in sgr_trend(flat).reason
    with pytest.raises(ValueError, match="finite"):
        trend([PointArms(arms=points[0].arms, covariate=float("nan"))], EASY_GAIN)
    with pytest.raises(ValueError, match="item_ids"):
        bare = {"easy": ArmScores(scores=np.zeros((3, 1)), draw_ids=())}
        trend([PointArms(arms=bare, covariate=float(k)) for k in range(2)], {"easy": 1.0})


def test_arms_that_share_draws_in_a_chain_add_up_draw_by_draw() -> None:
    # Arms trained on the draws a b, b c, c d, whose means are what the draws are worth.
    worth = {"a": 0.1, "b": 0.4, "c": 0.6, "d": 0.5}
    chain = ("ab", "bc", "cd")
    sums = PooledSums(1)
    for draws in chain:
        scores = np.tile([worth[draw] for draw in draws], (3, 1))
        arm = ArmScores(scores=scores, draw_ids=tuple(draws), item_ids=("i", "j", "k"))
        sums.add(PointArms(arms={"easy": arm}), [{"easy": 1.0}], np.array([[1.0]]))
    found = sums.moments()
    # A mean of two draws moves by half the distance of each from that mean.
    moved = dict.fromkeys(worth, 0.0)
    for one, two in chain:
        middle = (worth[one] + worth[two]) / 2
        moved[one] += (worth[one] - middle) / np.sqrt(2)
        moved[two] += (worth[two] - middle) / np.sqrt(2)
    assert found.values == pytest.approx([0.25 + 0.5 + 0.55])
    assert found.covariance[0, 0] == pytest.approx(sum(value**2 for value in moved.values()))
    assert [component.df for component in found.components] == [2, 1]
