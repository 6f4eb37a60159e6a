"""Difference of two SGRs: Fieller's interval where there is one, and its coverage."""

import numpy as np
import pytest
from scipy import stats

from study.statistics.arms import ArmScores
from study.statistics.differences import inferiority_p, paired_difference, t_difference
from study.statistics.influences import influences
from study.statistics.moments import independent, moments
from study.statistics.ratio import estimate_ratio
from study.statistics.recovery import Roles
from study.statistics.sgr_difference import difference_p_value, estimate_sgr_difference


def drawn(
    rng: np.random.Generator, means: dict[str, float], *, num_items: int = 300, num_seeds: int = 4
) -> dict[str, ArmScores]:
    """Arms on common items: item effects in part common to all, and seed effects of 1 point."""
    common = rng.normal(size=(num_items, 1))
    arms = {}
    for name, mean in means.items():
        seeds = 1 if name.startswith("zero") else num_seeds
        own = rng.normal(size=(num_items, 1)) + rng.normal(size=(num_items, seeds))
        shift = 0.01 * rng.normal(size=seeds) * (seeds > 1)
        arms[name] = ArmScores(
            scores=mean + shift + 0.3 * common + 0.2 * own,
            draw_ids=() if seeds == 1 else tuple(f"{name}/{s}" for s in range(seeds)),
        )
    return arms


MEANS = {"zero": 0.3, "easy 1": 0.45, "easy 2": 0.5, "hard": 0.6, "zero 2": 0.35, "hard 2": 0.65}


def test_with_one_gap_it_is_fiellers_interval() -> None:
    arms = drawn(np.random.default_rng(0), MEANS, num_items=500, num_seeds=60)
    found = estimate_sgr_difference(
        arms, Roles("zero", "easy 1", "hard"), Roles("zero", "easy 2", "hard")
    )
    ratio = estimate_ratio(
        {name: arms[name] for name in ("zero", "easy 1", "easy 2", "hard")},
        numerator={"easy 1": 1.0, "easy 2": -1.0},
        denominator={"hard": 1.0, "zero": -1.0},
    )
    assert ratio.fieller is not None
    assert found.estimate == pytest.approx(ratio.ratio)
    # The degrees of freedom are above 200 in both, so the quantiles differ by under 0.2 %.
    assert (found.low, found.high) == pytest.approx(
        (ratio.fieller.low, ratio.fieller.high), abs=0.001
    )
    assert found.p_value == pytest.approx(ratio.p_value(0.0), abs=0.001)


def test_exchanging_the_arms_changes_the_sign() -> None:
    arms = drawn(np.random.default_rng(1), MEANS)
    one, two = Roles("zero", "easy 1", "hard"), Roles("zero 2", "easy 2", "hard 2")
    found, other = (estimate_sgr_difference(arms, *pair) for pair in ((one, two), (two, one)))
    assert found.low is not None and found.high is not None and found.estimate is not None
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=1e-4)
    assert other.p_value == pytest.approx(found.p_value, abs=1e-4)


def test_no_difference_without_resolved_gaps() -> None:
    arms = drawn(np.random.default_rng(2), MEANS | {"hard 2": 0.35})
    one, two = Roles("zero", "easy 1", "hard"), Roles("zero 2", "easy 2", "hard 2")
    found = estimate_sgr_difference(arms, one, two)
    assert (found.estimate, found.low, found.high, found.p_value) == (None,) * 4
    assert found.reason == "hard 2 - zero 2 is not resolved"
    same = estimate_sgr_difference(arms, one, one)
    assert same.estimate is None and "the same arms" in same.reason


@pytest.mark.parametrize("is_shared", [True, False])
def test_coverage(is_shared: bool) -> None:
    """True difference -0.2; benchmarks/contrasts.py has more draws and designs."""
    rng, covered, num_draws = np.random.default_rng(3), 0, 300
    means = {"zero": 0.3, "hard": 0.5, "zero 2": 0.35, "hard 2": 0.5}
    second = ("zero", "hard") if is_shared else ("zero 2", "hard 2")
    means["easy 1"] = 0.3 + 0.5 * 0.2
    means["easy 2"] = means[second[0]] + 0.7 * (means[second[1]] - means[second[0]])
    one, two = Roles("zero", "easy 1", "hard"), Roles(second[0], "easy 2", second[1])
    contrasts = [one.numerator, one.denominator, two.numerator, two.denominator]
    needed = {name for contrast in contrasts for name in contrast}
    for _ in range(num_draws):
        arms = {name: arm for name, arm in drawn(rng, means).items() if name in needed}
        # The interval has every difference that is not rejected.
        covered += difference_p_value(moments(influences(arms, contrasts)), -0.2) >= 0.05
    # 0.93 of many draws; of 300 it may fall short by two standard errors.
    assert covered / num_draws >= 0.93 - 2 * 0.0147


def test_the_interval_is_the_inverted_test() -> None:
    arms = drawn(np.random.default_rng(3), MEANS)
    found = estimate_sgr_difference(
        arms, Roles("zero", "easy 1", "hard"), Roles("zero 2", "easy 2", "hard 2")
    )
    contrasts = [
        {"easy 1": 1.0, "zero": -1.0},
        {"hard": 1.0, "zero": -1.0},
        {"easy 2": 1.0, "zero 2": -1.0},
        {"hard 2": 1.0, "zero 2": -1.0},
    ]
    spread = moments(influences(arms, contrasts))
    assert found.low is not None and found.high is not None
    for end in (found.low, found.high):
        assert difference_p_value(spread, end) == pytest.approx(0.05, abs=1e-6)
    assert difference_p_value(spread, found.low - 0.01) < 0.05 < difference_p_value(spread, 0.0)


def test_non_inferiority_is_the_one_sided_t_test() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random((50, 1)), rng.random((50, 1))
    arms = [ArmScores(scores=scores, draw_ids=()) for scores in (first, second)]
    found = paired_difference(*arms)
    for margin in (0.02, 0.3):
        wanted = stats.ttest_1samp((first - second)[:, 0], -margin, alternative="greater").pvalue
        assert inferiority_p(found, margin) == pytest.approx(wanted)
    assert inferiority_p(paired_difference(arms[0], arms[0]), 0.1) is None


@pytest.mark.parametrize("gap", [0.05, 0.2])
def test_coverage_on_independent_items(gap: float) -> None:
    """Two samples of other sizes and draws, SGR 0.5 and 0.7; an unresolved gap excludes nothing."""
    rng, held, num_draws = np.random.default_rng(5), 0, 300
    roles = Roles("zero", "easy", "hard")
    for _ in range(num_draws):
        spreads = [
            moments(
                influences(
                    drawn(
                        rng,
                        {"zero": 0.4, "easy": 0.4 + share * gap, "hard": 0.4 + gap},
                        num_items=size,
                        num_seeds=3,
                    ),
                    [roles.numerator, roles.denominator],
                )
            )
            for share, size in ((0.5, 200), (0.7, 400))
        ]
        held += difference_p_value(independent(*spreads), -0.2) >= 0.05
    assert held / num_draws >= 0.93 - 2 * 0.0147, "two standard errors of 300 draws"


def test_without_common_items_it_is_welchs_t_test() -> None:
    rng = np.random.default_rng(6)
    first, second = rng.random((40, 1)), rng.random((90, 1)) + 0.1
    spreads = [
        moments(influences({"arm": ArmScores(scores=scores, draw_ids=())}, [{"arm": 1.0}]))
        for scores in (first, second)
    ]
    joint = independent(*spreads)
    variances = [float(spread.covariance[0, 0]) for spread in spreads]
    assert joint.covariance == pytest.approx(np.diag(variances)), "in the order of the samples"
    found = t_difference(joint.combine([1.0, -1.0]), level=0.9)
    welch = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert found.p_value == pytest.approx(welch.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(welch.confidence_interval(0.9)))
