"""What must hold for every input of the SGR core."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from study.statistics.arms import ArmScores
from study.statistics.ratio import RatioEstimate, estimate_ratio
from study.statistics.sgr import SgrEstimate, estimate_sgr

Scores = NDArray[np.float64]

GAIN = {"easy": 1.0, "zero_shot": -1.0}
GAP = {"hard": 1.0, "zero_shot": -1.0}


@st.composite
def points(draw: st.DrawFn) -> tuple[Scores, Scores, Scores]:
    """Three arms of one point: 0 / 1 scores, fractions, or nearly constant ones."""
    num_items = draw(st.integers(1, 12))
    value = draw(
        st.sampled_from(
            [st.sampled_from([0.0, 1.0]), st.floats(0, 1), st.sampled_from([0.3, 0.3 + 1e-13])]
        )
    )
    easy_seeds, hard_seeds = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return (
        draw(hnp.arrays(np.float64, num_items, elements=value)),
        draw(hnp.arrays(np.float64, (num_items, easy_seeds), elements=value)),
        draw(hnp.arrays(np.float64, (num_items, hard_seeds), elements=value)),
    )


def _check(found: SgrEstimate) -> None:
    has_interval = found.gap_low is not None and found.gap_high is not None
    positive = found.gap_low is not None and found.gap_low > 0
    negative = found.gap_high is not None and found.gap_high < 0
    assert found.verdict.startswith("resolved") == positive
    if positive and found.low is not None and found.high is not None:
        is_wide = found.high - found.low > 1.0
        assert found.verdict == ("resolved, imprecise" if is_wide else "resolved")
    assert (found.verdict == "hard labels hurt") == negative
    g, fieller = found.ratio.g, found.ratio.fieller
    assert (fieller is not None) == has_interval
    bounded = fieller is not None and fieller.kind == "interval"
    assert bounded == (positive or negative)
    assert (g is not None and g < 1) == bounded
    shown = (found.value, found.low, found.high)
    if positive:
        assert None not in shown
        assert found.low <= found.value <= found.high  # type: ignore[operator]
    else:
        assert shown == (None, None, None)
        assert found.verdict_note
    for number in (*shown, found.gap, found.gap_low, found.gap_high, g, found.ratio.nu):
        assert number is None or np.isfinite(number)


@given(points(), st.sampled_from([0.5, 0.8, 0.95, 0.999]))
def test_verdict_set_and_gap_interval_say_one_thing(
    point: tuple[Scores, Scores, Scores], level: float
) -> None:
    _check(estimate_sgr(*point, level=level))


@given(points(), st.randoms(use_true_random=False))
def test_missing_scores_keep_the_logic(
    point: tuple[Scores, Scores, Scores], random: np.random.Generator
) -> None:
    zero_shot, easy, hard = point
    holes = np.array([[random.random() < 0.2 for _ in row] for row in easy])
    easy = np.where(holes, np.nan, easy)
    try:
        found = estimate_sgr(zero_shot, easy, hard)
    except ValueError as error:
        # Refused with the reason, never answered with nonsense.
        assert any(word in str(error) for word in ("only NaN", "do not link", "no item"))
        return
    _check(found)


def _arms(seed: int = 0, num_items: int = 60) -> dict[str, ArmScores]:
    rng = np.random.default_rng(seed)
    base = rng.random((num_items, 1))
    ids = tuple(f"item-{i}" for i in range(num_items))

    def arm(name: str, shift: float, num_seeds: int) -> ArmScores:
        noise = rng.normal(scale=0.3, size=(num_items, num_seeds))
        bias = rng.normal(scale=0.05, size=num_seeds)
        draws = tuple(f"{name}/{s}" for s in range(num_seeds)) if name != "zero_shot" else ()
        return ArmScores(scores=base + shift + noise + bias, draw_ids=draws, item_ids=ids)

    return {"zero_shot": arm("zero_shot", 0, 1), "easy": arm("e", 0.5, 4), "hard": arm("h", 0.8, 3)}


def _core(arms: dict[str, ArmScores], clusters: dict[str, str] | None = None) -> RatioEstimate:
    return estimate_ratio(arms, numerator=GAIN, denominator=GAP, clusters=clusters)


def _same_ratio(one: RatioEstimate, other: RatioEstimate) -> None:
    assert one.fieller is not None and other.fieller is not None
    assert one.fieller.kind == other.fieller.kind
    assert other.ratio == pytest.approx(one.ratio)
    assert other.fieller.low == pytest.approx(one.fieller.low)
    assert other.fieller.high == pytest.approx(one.fieller.high)
    assert other.g == pytest.approx(one.g)
    assert other.nu == pytest.approx(one.nu)


@pytest.mark.parametrize("factor", [0.01, 3.0, -1.0, -250.0])
def test_scale_and_sign_leave_the_ratio(factor: float) -> None:
    arms = _arms()
    scaled = {n: replace(a, scores=a.scores * factor) for n, a in arms.items()}
    one, other = _core(arms), _core(scaled)
    _same_ratio(one, other)
    assert other.denominator.estimate == pytest.approx(factor * one.denominator.estimate)


@pytest.mark.parametrize("shift", [0.5, -4.0])
def test_a_shift_of_all_arms_leaves_the_ratio(shift: float) -> None:
    arms = _arms()
    # Items may even shift by different amounts: only differences between arms count.
    per_item = shift * np.arange(60)[:, None] / 60
    shifted = {n: replace(a, scores=a.scores + per_item) for n, a in arms.items()}
    _same_ratio(_core(arms), _core(shifted))


def test_order_of_items_and_seeds_does_not_matter() -> None:
    arms, rng = _arms(), np.random.default_rng(1)
    moved = {}
    for name, arm in arms.items():
        assert arm.item_ids is not None
        rows, columns = rng.permutation(60), rng.permutation(arm.scores.shape[1])
        moved[name] = ArmScores(
            scores=arm.scores[rows][:, columns],
            draw_ids=tuple(arm.draw_ids[c] for c in columns) if arm.draw_ids else (),
            item_ids=tuple(arm.item_ids[r] for r in rows),
        )
    _same_ratio(_core(arms), _core(moved))


def test_items_are_joined_by_id() -> None:
    arms = _arms()
    hard = arms["hard"]
    assert hard.item_ids is not None
    fewer = replace(hard, scores=hard.scores[10:], item_ids=hard.item_ids[10:])
    found = _core({**arms, "hard": fewer})
    wanted = _core(
        {n: replace(a, scores=a.scores[10:], item_ids=hard.item_ids[10:]) for n, a in arms.items()}
    )
    _same_ratio(wanted, found)
    assert found.sample.num_items == 50
    assert found.sample.missing_share == pytest.approx(10 * 3 / (60 * 8))


def test_singleton_clusters_are_items() -> None:
    arms = _arms()
    ids = arms["easy"].item_ids
    assert ids is not None
    _same_ratio(_core(arms), _core(arms, {item: item for item in ids}))


def test_cluster_covariance_is_the_sum_over_clusters() -> None:
    arms = _arms()
    ids = arms["easy"].item_ids
    assert ids is not None
    label = {item: f"c{k % 7}" for k, item in enumerate(ids)}
    found = _core(arms, label)
    gap = arms["hard"].scores.mean(1) - arms["zero_shot"].scores[:, 0]
    deviation = gap - gap.mean()
    sums = [sum(deviation[k] for k in range(60) if k % 7 == c) for c in range(7)]
    seeds = arms["hard"].scores.mean(0).var(ddof=1) / 3
    assert found.covariance.yy == pytest.approx(7 / 6 * sum(s * s for s in sums) / 3600 + seeds)
    assert found.sample.num_units == 7


def test_few_clusters_are_warned_about() -> None:
    zero_shot, easy, hard = (np.random.default_rng(0).random(s) for s in (60, (60, 2), (60, 2)))
    few = estimate_sgr(zero_shot, easy, hard, clusters=[str(i % 5) for i in range(60)])
    assert "only 5 clusters" in few.verdict_note
    assert few.num_clusters == 5
    many = estimate_sgr(zero_shot, easy, hard, clusters=[str(i % 20) for i in range(60)])
    assert "clusters" not in many.verdict_note
    one = estimate_sgr(zero_shot, easy, hard, clusters=["x"] * 60)
    assert one.verdict_note.startswith("one cluster")
    with pytest.raises(ValueError, match="clusters must have one entry an item"):
        estimate_sgr(zero_shot, easy, hard, clusters=["x"] * 59)
