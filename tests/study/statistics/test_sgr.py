"""estimate_sgr against a literal, slow reading of its definition, and its verdicts."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from study.statistics.arms import ArmScores
from study.statistics.fieller import FiellerSet
from study.statistics.sgr import estimate_over_trivial, estimate_residual_recovery, estimate_sgr

Scores = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Literal:
    """What the definition says, computed item by item."""

    nu: float
    g: float
    gap_low: float
    gap_high: float
    low: float
    high: float


def _literal(zero_shot: Scores, easy: Scores, hard: Scores) -> Literal:
    """The definition in plain sums, for independent draws and complete scores."""
    n = len(zero_shot)
    x_i = [sum(easy[i]) / len(easy[i]) - zero_shot[i] for i in range(n)]
    y_i = [sum(hard[i]) / len(hard[i]) - zero_shot[i] for i in range(n)]
    x, y = sum(x_i) / n, sum(y_i) / n

    def cov(a: list[float], b: list[float]) -> float:
        mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
        pairs = zip(a, b, strict=True)
        return sum((p - mean_a) * (q - mean_b) for p, q in pairs) / (len(a) - 1)

    e_s = [sum(easy[:, s]) / n for s in range(easy.shape[1])]
    h_s = [sum(hard[:, s]) / n for s in range(hard.shape[1])]
    item = {"xx": cov(x_i, x_i) / n, "xy": cov(x_i, y_i) / n, "yy": cov(y_i, y_i) / n}
    seed_e, seed_h = cov(e_s, e_s) / len(e_s), cov(h_s, h_s) / len(h_s)

    def nu_of(parts: list[tuple[float, int]]) -> float:
        return sum(c for c, _ in parts) ** 2 / sum(c * c / df for c, df in parts)

    ratio = x / y
    residual = item["xx"] - 2 * ratio * item["xy"] + ratio**2 * item["yy"]
    easy_part, hard_part = (seed_e, len(e_s) - 1), (seed_h, len(h_s) - 1)
    nu = min(
        nu_of([(residual, n - 1), easy_part, (ratio**2 * seed_h, hard_part[1])]),
        nu_of([(item["yy"], n - 1), hard_part]),
    )
    t = float(stats.t.ppf(0.975, nu))
    vxx, vxy, vyy = item["xx"] + seed_e, item["xy"], item["yy"] + seed_h
    a, b, c = y * y - t * t * vyy, x * y - t * t * vxy, x * x - t * t * vxx
    root = math.sqrt(max(b * b - a * c, 0.0))
    half = t * math.sqrt(vyy)
    return Literal(
        nu=nu,
        g=t * t * vyy / y**2,
        gap_low=y - half,
        gap_high=y + half,
        low=min((b - root) / a, (b + root) / a),
        high=max((b - root) / a, (b + root) / a),
    )


def scores(
    rng: np.random.Generator, num_items: int, seeds: tuple[int, int], gain: tuple[float, float]
) -> tuple[Scores, Scores, Scores]:
    """Correlated 0 / 1 scores of three arms."""
    ability = rng.normal(size=num_items)

    def arm(shift: float, num_seeds: int) -> Scores:
        logit = ability[:, None] + shift + 0.1 * rng.normal(size=num_seeds)
        return (rng.random((num_items, num_seeds)) < 1 / (1 + np.exp(-logit))).astype(float)

    return arm(0.0, 1)[:, 0], arm(gain[0], seeds[0]), arm(gain[1], seeds[1])


@pytest.mark.parametrize("seeds", [(2, 2), (5, 3), (3, 7)])
@pytest.mark.parametrize("gain", [(0.8, 1.2), (0.1, 0.2), (1.0, -1.0)])
def test_agrees_with_the_definition(seeds: tuple[int, int], gain: tuple[float, float]) -> None:
    zero_shot, easy, hard = scores(np.random.default_rng(3), 120, seeds, gain)
    found, wanted = estimate_sgr(zero_shot, easy, hard), _literal(zero_shot, easy, hard)
    assert found.ratio.nu == pytest.approx(wanted.nu, rel=1e-9)
    assert found.ratio.g == pytest.approx(wanted.g, rel=1e-9)
    assert found.gap_low == pytest.approx(wanted.gap_low, rel=1e-9, abs=1e-12)
    assert found.gap_high == pytest.approx(wanted.gap_high, rel=1e-9, abs=1e-12)
    fieller = found.ratio.fieller
    assert fieller is not None
    if wanted.g < 1:
        assert fieller.kind == "interval"
    if fieller.kind in ("interval", "exterior"):
        assert fieller.low == pytest.approx(wanted.low, rel=1e-8)
        assert fieller.high == pytest.approx(wanted.high, rel=1e-8)
    if found.value is not None:
        assert (found.low, found.high) == (fieller.low, fieller.high)
        assert found.value == pytest.approx((found.easy - found.zero_shot) / found.gap)
    assert found.num_seeds == min(seeds)


def test_verdicts() -> None:
    rng = np.random.default_rng(0)
    resolved = estimate_sgr(*scores(rng, 800, (5, 5), (0.8, 1.2)))
    assert resolved.verdict == "resolved"
    assert resolved.verdict_note == ""
    assert None not in (resolved.value, resolved.low, resolved.high)
    unresolved = estimate_sgr(*scores(rng, 100, (3, 3), (0.0, 0.0)))
    assert unresolved.verdict == "gap not resolvable"
    assert "holds 0" in unresolved.verdict_note
    hurt = estimate_sgr(*scores(rng, 800, (5, 5), (0.8, -1.2)))
    assert hurt.verdict == "hard labels hurt"
    assert "below 0" in hurt.verdict_note
    for point in (unresolved, hurt):
        assert (point.value, point.low, point.high) == (None, None, None)
        assert point.easy_gain.low is not None
        assert point.hard_gain.low == point.gap_low


@pytest.mark.parametrize(
    ("zero_shot", "easy", "hard", "reason"),
    [
        ([0.0], [[1.0, 0.0]], [[1.0, 1.0]], "one item"),
        ([0.0] * 9, [[0.0, 1.0]] * 9, [[1.0, 1.0]] * 9, "zero variance"),
        ([0.3] * 9, [[0.4]] * 9, [[0.7]] * 9, "zero variance"),
        ([0.1, 0.2, 0.3] * 3, [[0.5]] * 9, [[0.3], [0.4], [0.5]] * 3, "zero variance"),
        ([0.0, 1.0] * 4, [[1.0, 1.0]] * 8, [[1.0, 1.0], [0.0, 0.0]] * 4, "exactly 0"),
        ([0.5] * 9, [[0.5, 0.5]] * 9, [[0.5, 0.5]] * 9, "zero variance"),
    ],
)
def test_degenerate_data_are_not_resolvable(
    zero_shot: list[float], easy: list[list[float]], hard: list[list[float]], reason: str
) -> None:
    found = estimate_sgr(zero_shot, easy, hard)
    assert found.verdict == "gap not resolvable"
    assert reason in found.verdict_note
    assert (found.value, found.low, found.high) == (None, None, None)


def test_easy_that_changes_nothing_recovers_nothing() -> None:
    zero_shot, _, hard = scores(np.random.default_rng(1), 400, (5, 5), (1.0, 1.5))
    same = estimate_sgr(zero_shot, np.repeat(zero_shot[:, None], 5, axis=1), hard)
    assert same.verdict == "resolved"
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert "zero-width" in same.verdict_note
    assert same.easy_gain.low is None


def test_one_seed_gives_an_item_only_interval() -> None:
    zero_shot, easy, hard = scores(np.random.default_rng(1), 400, (5, 5), (1.0, 1.5))
    one = estimate_sgr(zero_shot, easy[:, :1], hard[:, :1])
    assert one.verdict == "resolved"
    assert "one seed: this draw only" in one.verdict_note
    assert one.ratio.nu == pytest.approx(399)
    half = estimate_sgr(zero_shot, easy, hard[:, :1])
    assert "seed variance of hard" in half.verdict_note
    assert half.num_seeds == 1


def test_nulls() -> None:
    zero_shot, easy, hard = scores(np.random.default_rng(5), 300, (4, 4), (0.5, 0.9))
    found = estimate_sgr(zero_shot, easy, hard)
    assert found.p_full_recovery is not None and found.ratio.fieller is not None
    # Duality with the set: the p-value at its ends is 1 - level.
    assert found.low is not None and found.high is not None
    assert found.ratio.p_value(found.low) == pytest.approx(0.05)
    assert found.ratio.p_value(found.high) == pytest.approx(0.05)
    assert (found.p_full_recovery > 0.05) == found.ratio.fieller.contains(1.0)
    for difference in (found.easy_gain, found.hard_minus_easy, found.hard_gain):
        assert difference.low is not None and difference.high is not None
        assert difference.p_value is not None
        assert (difference.p_value < 0.05) == (difference.low > 0 or difference.high < 0)
    # One seed: Z = E is the paired t test.
    one = estimate_sgr(zero_shot, easy[:, :1], hard[:, :1])
    oracle = stats.ttest_rel(easy[:, 0], zero_shot)
    assert one.easy_gain.p_value == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval(0.95)
    assert one.easy_gain.low == pytest.approx(interval.low)
    assert one.easy_gain.high == pytest.approx(interval.high)


def test_residual_recovery_subtracts_what_the_draws_share() -> None:
    rng = np.random.default_rng(2)
    _, easy, hard = scores(rng, 500, (5, 5), (0.2, 1.4))
    ssrm = np.where(rng.random(easy.shape) < 0.3, np.maximum(easy, hard), easy)
    draws = tuple(f"easy/{s}" for s in range(5))
    hard_arm = ArmScores(scores=hard, draw_ids=tuple(f"hard/{s}" for s in range(5)))
    found = estimate_residual_recovery(
        easy=ArmScores(scores=easy, draw_ids=draws),
        ssrm=ArmScores(scores=ssrm, draw_ids=draws),
        hard=hard_arm,
    )
    gain = ssrm.mean(0) - easy.mean(0)
    item = (ssrm.mean(1) - easy.mean(1)).var(ddof=1) / 500
    assert found.ratio.covariance.xx == pytest.approx(item + gain.var(ddof=1) / 5)
    # Cov(S - E, H - E): items, and the shared draws through -E.
    item_xy = np.cov(ssrm.mean(1) - easy.mean(1), hard.mean(1) - easy.mean(1))[0, 1] / 500
    seed_xy = np.cov(gain, -easy.mean(0))[0, 1] / 5
    assert found.ratio.covariance.xy == pytest.approx(item_xy + seed_xy)
    # By id, never by order: the same draws in another column order change nothing.
    order = [3, 0, 4, 1, 2]
    moved = estimate_residual_recovery(
        easy=ArmScores(scores=easy, draw_ids=draws),
        ssrm=ArmScores(scores=ssrm[:, order], draw_ids=tuple(draws[s] for s in order)),
        hard=hard_arm,
    )
    assert moved.low == pytest.approx(found.low)
    assert moved.high == pytest.approx(found.high)
    assert found.ratio.numerator.estimate == pytest.approx(ssrm.mean() - easy.mean())
    # Intervals are of 95 % unless another level is asked for.
    arms = {
        "easy": ArmScores(scores=easy, draw_ids=draws),
        "ssrm": ArmScores(scores=ssrm, draw_ids=draws),
        "hard": hard_arm,
    }
    assert estimate_residual_recovery(**arms, level=0.95).low == found.low
    assert estimate_residual_recovery(**arms, level=0.9).low != found.low


def test_raw_set_of_a_point_that_is_not_resolved_is_kept() -> None:
    found = estimate_sgr(*scores(np.random.default_rng(4), 100, (3, 3), (0.6, -0.1)))
    assert found.verdict == "gap not resolvable"
    assert isinstance(found.ratio.fieller, FiellerSet)
    assert found.ratio.fieller.kind != "interval"


@pytest.mark.parametrize(
    ("changed", "value", "message"),
    [
        ("zero_shot", [[0.0], [1.0]], "zero_shot must be"),
        ("zero_shot", [0.0, float("nan")], "zero_shot must score"),
        ("zero_shot", [0.0, 1.5], "zero_shot must hold"),
        ("zero_shot", [0.0, float("inf")], "zero_shot must hold"),
        ("zero_shot", [], "zero_shot must be"),
        ("zero_shot", ["a", "b"], "zero_shot must be"),
        ("easy", [0.0, 1.0], "easy must be"),
        ("easy", [[0.0], [-0.1]], "easy must hold"),
        ("easy", [[0.0], [1.0], [1.0]], "easy must have the items"),
        ("hard", [[], []], "hard must be"),
        ("hard", [[0.0, float("nan")], [1.0, float("nan")]], "hard must have a score"),
        ("hard", [[0.0], [2.0]], "hard must hold"),
        ("level", 1.0, "level must be"),
        ("level", 0.0, "level must be"),
    ],
)
def test_bad_arguments_are_named(changed: str, value: object, message: str) -> None:
    arguments: dict[str, object] = {
        "zero_shot": [0.0, 1.0],
        "easy": [[0.0, 1.0], [1.0, 1.0]],
        "hard": [[1.0, 1.0], [1.0, 0.0]],
    }
    with pytest.raises(ValueError, match=message):
        estimate_sgr(**{**arguments, changed: value})  # type: ignore[arg-type]


def test_every_contrast_of_a_point_is_its_own_difference() -> None:
    zero_shot, easy, hard = scores(np.random.default_rng(3), 120, (4, 4), (0.8, 1.2))
    found = estimate_sgr(zero_shot, easy, hard).ratio
    x, y = easy.mean(axis=1) - zero_shot, hard.mean(axis=1) - zero_shot
    assert found.numerator.estimate == pytest.approx(x.mean())
    assert found.denominator.estimate == pytest.approx(y.mean())
    assert found.denominator_minus_numerator.estimate == pytest.approx((y - x).mean())
    low, high = found.numerator.low, found.numerator.high
    assert low is not None and high is not None
    seeds = easy.mean(axis=0).var(ddof=1) / 4
    error = math.sqrt(x.var(ddof=1) / 120 + seeds)
    df = error**4 / ((x.var(ddof=1) / 120) ** 2 / 119 + seeds**2 / 3)
    assert (high - low) / 2 == pytest.approx(error * float(stats.t.ppf(0.975, df)))


def test_one_item_keeps_its_differences() -> None:
    found = estimate_sgr([0.25], [[1.0, 0.5]], [[1.0, 1.0]]).ratio
    assert found.numerator.estimate == 0.5
    assert found.denominator.estimate == 0.75
    assert found.denominator_minus_numerator.estimate == 0.25
    assert found.ratio == pytest.approx(0.5 / 0.75)


def test_full_recovery_is_tested_by_the_set_that_ends_at_one() -> None:
    zero_shot, easy, hard = scores(np.random.default_rng(5), 300, (4, 4), (0.5, 0.9))
    p_value = estimate_sgr(zero_shot, easy, hard).p_full_recovery
    assert p_value is not None
    ends_at_one = estimate_sgr(zero_shot, easy, hard, level=1.0 - p_value).ratio.fieller
    assert ends_at_one is not None
    assert ends_at_one.high == pytest.approx(1.0)


def test_the_trivial_control_is_the_floor_of_format_matched_sgr() -> None:
    rng = np.random.default_rng(12)
    trivial, easy, hard = scores(rng, 400, (3, 3), (0.8, 1.6))
    arms = {
        name: ArmScores(scores=values, draw_ids=tuple(f"{name}/{s}" for s in range(len(values[0]))))
        for name, values in (("easy", easy), ("hard", hard))
    }
    floor = ArmScores(scores=trivial[:, None], draw_ids=())
    found = estimate_over_trivial(trivial=floor, **arms)
    means = {name: float(arm.scores.mean()) for name, arm in {**arms, "trivial": floor}.items()}
    wanted = (means["easy"] - means["trivial"]) / (means["hard"] - means["trivial"])
    assert found.verdict == "resolved"
    assert found.value == pytest.approx(wanted)
    same = estimate_sgr(trivial, easy, hard)
    assert (found.low, found.high) == pytest.approx((same.low, same.high))
