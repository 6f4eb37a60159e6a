"""SGR from means alone: a slow reading of its definition, a published table, and its coverage."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from study.statistics.means import ratio_of_means
from study.statistics.sgr import estimate_sgr_from_means

PUBLISHED = {
    "weak": (16, 0.52796, 0.01199),
    "ceiling": (16, 0.73253, 0.00848),
    "vanilla": (5, 0.56960, 0.02089),
    "confident": (5, 0.57577, 0.02453),
    "critic": (5, 0.52019, 0.01960),
}
"""Seeds, mean and SD of the chat pairs of safety-research/automated-w2s-research (MIT licence)."""


def with_moments(num: int, mean: float, sd: float) -> NDArray[np.float64]:
    """Any sample with this size, mean and SD: the estimate depends on nothing else."""
    raw = np.arange(num) ** 1.5
    return mean + sd * (raw - raw.mean()) / raw.std(ddof=1)


def published(name: str) -> NDArray[np.float64]:
    return with_moments(*PUBLISHED[name])


def kept(
    z: NDArray[np.float64],
    e: NDArray[np.float64],
    h: NDArray[np.float64],
    theta: float,
    num_items: int | None = None,
) -> bool:
    """Whether theta is in the set, term by term."""
    parts = []
    for arm, weight in ((z, 1 - theta), (e, 1.0), (h, -theta)):
        parts.append((weight**2 * float(np.var(arm, ddof=1)) / len(arm), len(arm) - 1))
        if num_items:
            mean = float(arm.mean())
            parts.append((weight**2 * mean * (1 - mean) / num_items, num_items - 1))
    variance = sum(c for c, _ in parts)
    nu = variance**2 / sum(c * c / df for c, df in parts)
    residual = e.mean() - z.mean() - theta * (h.mean() - z.mean())
    return bool(abs(residual) <= special.stdtrit(nu, 0.975) * math.sqrt(variance))


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("vanilla", (0.204, 0.079, 0.329)),
        ("confident", (0.234, 0.087, 0.381)),
        ("critic", (-0.038, -0.154, 0.079)),
    ],
)
def test_published_table(source: str, wanted: tuple[float, float, float]) -> None:
    found = estimate_sgr_from_means(published("weak"), published(source), published("ceiling"))
    assert found.verdict == "resolved"
    assert (found.value, found.low, found.high) == pytest.approx(wanted, abs=0.001)


def test_the_worked_example_of_the_docs_follows_from_its_means_and_deviations() -> None:
    page = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    shown = {row[0]: row[1:] for row in rows if len(row) == 6 and row[0] in PUBLISHED}
    assert shown.keys() == PUBLISHED.keys()
    arms = {k: with_moments(int(v[0]), float(v[1]), float(v[2])) for k, v in shown.items()}
    weak, ceiling = arms["weak"], arms["ceiling"]
    for name in ("vanilla", "confident", "critic"):
        found = estimate_sgr_from_means(weak, arms[name], ceiling)
        value, low, high = (float(text) for text in re.findall(r"-?\d+\.\d+", shown[name][4]))
        assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=0.002)
        shares = (arms[name] - weak.mean()) / (ceiling.mean() - weak.mean())
        as_published = f"{shares.mean():.2f} +- {shares.std(ddof=1):.2f}"
        assert shown[name][3] == as_published
    for first, second, text in (
        ("confident", "vanilla", "0.03 [-0.13, 0.19], p = 0.68"),
        ("vanilla", "critic", "0.24\n[0.10, 0.39]"),
    ):
        assert text in page
        ratio = ratio_of_means(
            arms,
            numerator={first: 1.0, second: -1.0},
            denominator={"ceiling": 1.0, "weak": -1.0},
        )
        assert ratio.fieller is not None
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", text)]
        ends = (ratio.fieller.low, ratio.fieller.high)
        assert ends == pytest.approx(tuple(numbers[1:3]), abs=0.006)


def test_two_published_sources_are_not_told_apart() -> None:
    """Published means and SDs suggest an order; the test of Welch has p = 0.68."""
    arms = {name: published(name) for name in PUBLISHED}
    found = ratio_of_means(
        arms,
        numerator={"confident": 1.0, "vanilla": -1.0},
        denominator={"ceiling": 1.0, "weak": -1.0},
    )
    welch = stats.ttest_ind(arms["confident"], arms["vanilla"], equal_var=False)
    assert found.p_value(0.0) == pytest.approx(welch.pvalue)
    assert found.fieller is not None
    assert found.fieller.contains(0.0)


@pytest.mark.parametrize("num_items", [None, 300])
def test_limits_are_those_of_the_definition(num_items: int | None) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        z, e, h = (
            mean + 0.02 * rng.normal(size=size)
            for mean, size in ((0.5, 3), (0.56, 5), (0.65, 2 + int(rng.integers(4))))
        )
        found = estimate_sgr_from_means(z, e, h, num_items=num_items).ratio.fieller
        assert found is not None
        for end in (found.low, found.high):
            if end is not None:
                around = [kept(z, e, h, end + shift, num_items) for shift in (-1e-6, 1e-6)]
                assert sorted(around) == [False, True]
        for theta in rng.normal(0.4, 2.0, size=20):
            # Gaps of a set are filled, so membership is only required in one direction.
            if kept(z, e, h, float(theta), num_items):
                assert found.contains(float(theta))


def test_deterministic_floor_has_no_seed_variance() -> None:
    easy, hard = [0.55, 0.57, 0.56], [0.66, 0.68, 0.64]
    number = estimate_sgr_from_means(0.5, easy, hard)
    sample = estimate_sgr_from_means([0.5, 0.5, 0.5], easy, hard)
    assert (number.low, number.high) == pytest.approx((sample.low, sample.high))
    assert number.num_items is None


def test_items_widen_the_set_of_a_table_that_states_them() -> None:
    arms = (published("weak"), published("vanilla"), published("ceiling"))
    seeds_only, both = estimate_sgr_from_means(*arms), estimate_sgr_from_means(*arms, num_items=500)
    assert seeds_only.low is not None and seeds_only.high is not None
    assert both.low is not None and both.high is not None
    assert both.low < seeds_only.low and seeds_only.high < both.high
    assert both.num_items == 500


@pytest.mark.parametrize(
    ("arms", "verdict", "note"),
    [
        (
            (0.5, [0.55, 0.6], [0.46, 0.55]),
            "gap not resolvable",
            "the interval of hard - zero_shot",
        ),
        ((0.7, [0.6, 0.61], [0.5, 0.51, 0.49]), "hard labels hurt", "is below 0"),
        ((0.5, 0.6, 0.7), "gap not resolvable", "needs two seeds, or num_items"),
    ],
)
def test_no_share_without_a_resolved_gap(
    arms: tuple[float, list[float], list[float]], verdict: str, note: str
) -> None:
    found = estimate_sgr_from_means(*arms)
    assert (found.verdict, found.value, found.low, found.high) == (verdict, None, None, None)
    assert note in found.verdict_note


def test_one_seed_is_labelled() -> None:
    found = estimate_sgr_from_means(0.5, [0.55], [0.66, 0.68, 0.64])
    assert found.verdict == "resolved"
    assert "without the seed variance of easy (one seed)" in found.verdict_note


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ((50.0, [0.5], [0.6]), "zero_shot must hold mean scores in"),
        ((0.5, [[0.5]], [0.6]), "easy must be one mean score a seed"),
        ((0.5, [0.5], []), "hard must be one mean score a seed"),
        ((0.5, ["x"], [0.6]), "easy must be an array of numbers"),
        ((0.5, [math.nan], [0.6]), "easy must hold mean scores"),
    ],
)
def test_bad_means_are_refused(arms: tuple[float, list[float], list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_sgr_from_means(*arms)


def test_coverage_with_arms_of_different_sizes_and_spreads() -> None:
    """The published design: 16, 5 and 16 seeds; also three seeds each, and a small gap."""
    rng, num_draws, theta = np.random.default_rng(5), 250, 0.6
    for sizes, sds, gap in (
        ((16, 5, 16), (0.012, 0.022, 0.008), 0.2),
        ((3, 3, 3), (0.01, 0.02, 0.02), 0.1),
        ((5, 3, 5), (0.02, 0.01, 0.02), 0.02),
    ):
        covered, means = 0, (0.4, 0.4 + theta * gap, 0.4 + gap)
        for _ in range(num_draws):
            arms = [
                mean + sd * rng.normal(size=size)
                for mean, sd, size in zip(means, sds, sizes, strict=True)
            ]
            found = estimate_sgr_from_means(*arms).ratio.fieller
            covered += found is not None and found.contains(theta)
        # 0.93 of many draws; of 250 it may fall short by two standard errors.
        assert covered / num_draws >= 0.90, (sizes, gap)
