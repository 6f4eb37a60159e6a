"""The crossed bootstrap and the paper's, against independent oracles."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.crossed_bootstrap import (
    Replicates,
    bootstrap_sgr,
    crossed_replicates,
    percentile_interval,
)
from benchmarks.simulated_points import draw_points
from study.analysis.published.papers import PAPERS
from study.statistics.arms import ArmScores
from study.statistics.power.logit_model import Population
from study.statistics.ratio import estimate_ratio
from study.statistics.resampling.legacy_bootstrap import legacy_bootstrap_sgr, resampled_ratios
from study.statistics.sgr import estimate_sgr

Scores = NDArray[np.float64]
GAIN = {"easy": 1.0, "zero_shot": -1.0}
GAP = {"hard": 1.0, "zero_shot": -1.0}


def _point(num_items: int, num_seeds: int, seed: int = 0) -> dict[str, ArmScores]:
    drawn = draw_points(
        Population(gap=0.25, seed_sd=0.03),
        num_items=num_items,
        num_seeds=num_seeds,
        num_draws=1,
        rng=np.random.default_rng(seed),
    )
    ids = {name: tuple(f"{name}/{s}" for s in range(num_seeds)) for name in ("easy", "hard")}
    return {
        "zero_shot": ArmScores(scores=drawn.zero_shot[0][:, None].astype(float), draw_ids=()),
        "easy": ArmScores(scores=drawn.easy[0].astype(float), draw_ids=ids["easy"]),
        "hard": ArmScores(scores=drawn.hard[0].astype(float), draw_ids=ids["hard"]),
    }


def test_one_seed_agrees_with_scipy() -> None:
    arms = _point(600, 1)
    zero_shot, easy, hard = (arm.scores[:, 0] for arm in arms.values())

    def sgr(z: Scores, e: Scores, h: Scores, axis: int = -1) -> Scores:
        gap = h.mean(axis=axis) - z.mean(axis=axis)
        return np.asarray((e.mean(axis=axis) - z.mean(axis=axis)) / gap)

    oracle = stats.bootstrap(
        (zero_shot, easy, hard),
        sgr,
        paired=True,
        n_resamples=9999,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = bootstrap_sgr(**arms, rng=np.random.default_rng(2))
    assert found.low == pytest.approx(oracle.low, abs=0.02)
    assert found.high == pytest.approx(oracle.high, abs=0.02)
    # And the Fieller set, which needs no resamples, says the same here (g is small).
    ours = estimate_sgr(zero_shot, easy[:, None], hard[:, None])
    assert ours.ratio.g is not None and ours.ratio.g < 0.1
    assert ours.low == pytest.approx(oracle.low, abs=0.03)
    assert ours.high == pytest.approx(oracle.high, abs=0.03)


def test_covariance_is_that_of_the_definition() -> None:
    arms = _point(400, 8)
    found = crossed_replicates(
        arms,
        numerator=GAIN,
        denominator=GAP,
        num_resamples=20_000,
        rng=np.random.default_rng(0),
    )
    wanted = estimate_ratio(arms, numerator=GAIN, denominator=GAP).covariance
    resampled = np.cov(found.numerator, found.denominator)
    # Seeds: (S - 1) / S of the sample variance; items x seeds on top: mildly conservative.
    assert resampled[0, 0] == pytest.approx(wanted.xx, rel=0.2)
    assert resampled[1, 1] == pytest.approx(wanted.yy, rel=0.2)
    assert resampled[0, 1] == pytest.approx(wanted.xy, rel=0.2)


def test_shared_draws_move_together() -> None:
    arms = _point(200, 6)
    easy = arms["easy"]
    twin = ArmScores(scores=easy.scores[:, ::-1], draw_ids=easy.draw_ids[::-1])
    replicates = crossed_replicates(
        {"easy": easy, "twin": twin},
        numerator={"easy": 1.0, "twin": -1.0},
        denominator={"easy": 1.0},
        num_resamples=500,
        rng=np.random.default_rng(0),
    )
    assert np.abs(replicates.numerator).max() < 1e-6
    assert replicates.denominator.std() > 0.01


def test_clusters_are_resampled_whole() -> None:
    rng = np.random.default_rng(0)
    effect = np.repeat(rng.normal(size=40), 10)
    arm = ArmScores(scores=effect[:, None], draw_ids=())
    labels = [str(i // 10) for i in range(400)]
    spread = {}
    for name, clusters in (("items", None), ("clusters", labels)):
        found = crossed_replicates(
            {"a": arm},
            numerator={"a": 1.0},
            denominator={"a": 1.0},
            num_resamples=4000,
            rng=np.random.default_rng(1),
            clusters=clusters,
        )
        spread[name] = found.numerator.std()
    assert spread["clusters"] == pytest.approx(spread["items"] * np.sqrt(10), rel=0.1)


def test_missing_scores_are_filled_from_the_additive_model() -> None:
    items, seeds = np.linspace(0, 1, 100), np.array([0.0, 0.1, 0.3])
    full = items[:, None] + seeds
    holes = full.copy()
    holes[:30, 0] = np.nan
    draws = ("a", "b", "c")
    found = [
        crossed_replicates(
            {"easy": ArmScores(scores=scores, draw_ids=draws)},
            numerator={"easy": 1.0},
            denominator={"easy": 1.0},
            num_resamples=50,
            rng=np.random.default_rng(0),
        ).numerator
        for scores in (full, holes)
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-5)


def test_same_generator_same_answer() -> None:
    arms = _point(50, 3)
    one, other = (
        bootstrap_sgr(**arms, rng=np.random.default_rng(7), num_resamples=200) for _ in range(2)
    )
    assert one == other


def test_a_resample_without_ratio_is_not_dropped() -> None:
    interval = percentile_interval(
        Replicates(
            numerator=np.array([1.0, 2.0, 1.0]),
            denominator=np.array([1.0, 0.0, 2.0]),
            num_undefined=1,
        )
    )
    assert (interval.low, interval.median, interval.high) == (None, None, None)
    assert (interval.num_undefined, interval.num_resamples) == (2, 4)
    with pytest.raises(ValueError, match="num_resamples"):
        bootstrap_sgr(**_point(20, 2), rng=np.random.default_rng(0), num_resamples=0)


def test_legacy_is_the_papers_loop() -> None:
    rng = np.random.default_rng(0)
    zero_shot = rng.integers(0, 2, 30).astype(float)
    easy, hard = (rng.integers(0, 2, (30, s)).astype(float) for s in (4, 5))
    easy[rng.random(easy.shape) < 0.2] = np.nan
    rows = rng.integers(0, 30, (200, 30))
    easy_columns, hard_columns = rng.integers(0, 4, (200, 4)), rng.integers(0, 5, (200, 5))
    with np.errstate(invalid="ignore", divide="ignore"):
        loop = [
            np.nanmean(easy[r][:, c] - zero_shot[r][:, None])
            / np.nanmean(hard[r][:, d] - zero_shot[r][:, None])
            for r, c, d in zip(rows, easy_columns, hard_columns, strict=True)
        ]

    def counts(drawn: NDArray[np.int64], size: int) -> Scores:
        return np.array([np.bincount(row, minlength=size) for row in drawn], dtype=float)

    found = resampled_ratios(
        easy - zero_shot[:, None],
        hard - zero_shot[:, None],
        item_counts=counts(rows, 30),
        easy_counts=counts(easy_columns, 4),
        hard_counts=counts(hard_columns, 5),
    )
    is_finite = np.isfinite(loop)
    assert (np.isfinite(found) == is_finite).all()
    assert found[is_finite] == pytest.approx(np.array(loop)[is_finite])


def test_legacy_prints_mean_and_half_width() -> None:
    arms = _point(500, 5)
    zero_shot, easy, hard = arms["zero_shot"].scores[:, 0], arms["easy"].scores, arms["hard"].scores
    found = legacy_bootstrap_sgr(zero_shot, easy, hard, rng=np.random.default_rng(0))
    crossed = bootstrap_sgr(**arms, rng=np.random.default_rng(1))
    assert crossed.high is not None and crossed.low is not None
    assert found.mean == pytest.approx(crossed.median, abs=0.03)
    assert found.half_width == pytest.approx((crossed.high - crossed.low) / 2, rel=0.1)
    assert found.p_value is not None and found.p_value < 0.001
    none = legacy_bootstrap_sgr(
        zero_shot, easy, easy * 0 + zero_shot[:, None], rng=np.random.default_rng(0)
    )
    assert (none.mean, none.half_width, none.p_value) == (None, None, None)
    assert none.num_dropped == none.num_resamples == 10_000


def _scores_with_means(*percent: float) -> list[Scores]:
    """0 / 1 scores of 1,000 items with exactly these accuracies; one nested in the other."""
    ranks = np.arange(1000)
    return [(ranks < round(10 * p)).astype(float) for p in percent]


# Figure 15, arXiv 2401.06751 v1: SGR of in-context learning on hard test items.
BARS = {
    ("arc", "grade"): 0.97,
    ("arc", "difficulty"): 0.98,
    ("arc", "bloom"): 1.00,
    ("mmlu_stem5", "education"): 0.98,
    ("strategyqa", "steps"): 0.72,
    ("gsm8k", "steps"): 0.80,
}


@pytest.mark.parametrize("axis", BARS, ids=" ".join)
def test_paper_figure_15_follows_from_figure_5(axis: tuple[str, str]) -> None:
    """Through the estimator and the paper's bootstrap, on scores with exactly its accuracies."""
    published = {
        (row.source, row.condition): row.value
        for row in PAPERS["hase2024"].results
        if (row.task, row.measure, row.test) == (*axis, "hard")
    }
    zero_shot, easy, hard = _scores_with_means(
        *(100 * published["Figure 5", condition] for condition in ("zero-shot", "easy", "hard"))
    )
    found = estimate_sgr(zero_shot, easy[:, None], hard[:, None])
    assert found.value == pytest.approx(BARS[axis], abs=0.01)
    legacy = legacy_bootstrap_sgr(
        zero_shot, easy[:, None], hard[:, None], rng=np.random.default_rng(0)
    )
    assert legacy.mean == pytest.approx(BARS[axis], abs=0.012)
    assert published["Table 2", "easy"] == pytest.approx(BARS[axis], abs=0.011)
