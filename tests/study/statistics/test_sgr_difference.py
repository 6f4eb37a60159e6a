"""Difference of two SGRs: Fieller's interval where there is one, and its coverage."""

import numpy as np
import pytest
from scipy import stats

from study.statistics.arms import ArmScores
from study.statistics.differences import inferiority_p, paired_difference
from study.statistics.ratio import estimate_ratio
from study.statistics.recovery import Roles
from study.statistics.sgr_difference import estimate_sgr_difference


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
    rng, covered, num_draws = np.random.default_rng(3), 0, 120
    means = {"zero": 0.3, "hard": 0.5, "zero 2": 0.35, "hard 2": 0.5}
    second = ("zero", "hard") if is_shared else ("zero 2", "hard 2")
    means["easy 1"] = 0.3 + 0.5 * 0.2
    means["easy 2"] = means[second[0]] + 0.7 * (means[second[1]] - means[second[0]])
    for _ in range(num_draws):
        found = estimate_sgr_difference(
            drawn(rng, means),
            Roles("zero", "easy 1", "hard"),
            Roles(second[0], "easy 2", second[1]),
        )
        # An unresolved difference excludes nothing.
        covered += found.low is None or (found.low <= -0.2 <= (found.high or 0.0))
    # 0.93 of many draws; of 120 it may fall short by two standard errors.
    assert covered / num_draws >= 0.885


def test_non_inferiority_is_the_one_sided_t_test() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random((50, 1)), rng.random((50, 1))
    arms = [ArmScores(scores=scores, draw_ids=()) for scores in (first, second)]
    found = paired_difference(*arms)
    for margin in (0.02, 0.3):
        wanted = stats.ttest_1samp((first - second)[:, 0], -margin, alternative="greater").pvalue
        assert inferiority_p(found, margin) == pytest.approx(wanted)
    assert inferiority_p(paired_difference(arms[0], arms[0]), 0.1) is None
