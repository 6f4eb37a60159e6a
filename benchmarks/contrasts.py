"""How often do intervals hold the truth: pooled SGR, difference of SGRs, calibration?

Run from the repository root: `python -m benchmarks.contrasts` (a few minutes). Coverage is
unconditional: an unbounded set holds the truth.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from study.statistics.across_points.pooled_sgr import pooled_p_value
from study.statistics.arms import ArmScores
from study.statistics.calibration import equal_width_bins
from study.statistics.differences import Difference, t_difference
from study.statistics.influences import influences
from study.statistics.marginal_means import FloatArray
from study.statistics.means import ratio_of_means
from study.statistics.moments import independent, moments
from study.statistics.recovery import Roles
from study.statistics.resampling.calibration_intervals import (
    CalibrationError,
    bin_accuracies,
    ece_interval,
    selective_interval,
)
from study.statistics.sgr_difference import difference_p_value

ALPHA = 0.05
POOLED_DRAWS, DIFFERENCE_DRAWS, MEANS_DRAWS, CALIBRATION_DRAWS = 2000, 600, 2000, 1200
SGR = 0.7

Design = Literal["shared", "separate", "two studies"]
DESIGNS: tuple[Design, ...] = ("shared", "separate", "two studies")


def ece(sure: FloatArray, right: FloatArray, rng: np.random.Generator) -> CalibrationError:
    """The interval of the expected calibration error."""
    return ece_interval(sure, right, rng=rng)


def selective_area(sure: FloatArray, right: FloatArray, rng: np.random.Generator) -> Difference:
    """The interval of the area under selective accuracy."""
    draws = tuple(str(seed) for seed in range(right.shape[1]))
    return selective_interval(sure, ArmScores(scores=right, draw_ids=draws))


def pooled_coverage(
    count: int, *, between: float, gap: float, num_draws: int, rng: np.random.Generator
) -> float:
    """Coverage for points with gaps of 0.6 to 1.4 times `gap` and sampling SDs of 0.9 to 2.4 %.

    Args:
        count: Points to pool.
        between: SD of X - theta Y between points.
        gap: Mean gap.
        num_draws: Simulated studies.
        rng: Source of all randomness.
    """
    held = 0
    for _ in range(num_draws):
        sds = 0.015 * rng.uniform(0.6, 1.6, size=count)
        gaps = gap * rng.uniform(0.6, 1.4, size=count)
        gains = SGR * gaps + between * rng.normal(size=count)
        square = np.diag(sds**2)
        covariance = np.block([[square, 0.5 * square], [0.5 * square, square]])
        values = rng.multivariate_normal(np.concatenate([gains, gaps]), covariance)
        held += pooled_p_value(values[:count], values[count:], covariance, SGR) >= ALPHA
    return held / num_draws


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Shares of simulated studies."""

    held: float
    """Whose interval has the truth; an unbounded interval has it."""
    resolved: float
    """Whose gaps are both resolved, so that a difference is reported."""
    held_if_resolved: float


def difference_coverage(
    *, gap: float, num_seeds: int, design: Design, num_draws: int, rng: np.random.Generator
) -> Coverage:
    """Coverage of SGR 0.5 - SGR 0.7 on 400 items with seed SDs of 2 %.

    Args:
        gap: Both gaps.
        num_seeds: Seeds of every trained arm.
        design: `shared`: floor and ceiling are the same in both SGRs. `separate`: they are not.
            `two studies`: also the items are other ones, 400 and 250.
        num_draws: Simulated studies.
        rng: Source of all randomness.
    """
    first, second = Roles("zero", "easy 1", "hard"), Roles("zero 2", "easy 2", "hard 2")
    if design == "shared":
        second = Roles("zero", "easy 2", "hard")
    means = [_sgr_means(roles, share, gap) for roles, share in ((first, 0.5), (second, 0.7))]
    contrasts = [[roles.numerator, roles.denominator] for roles in (first, second)]
    held = resolved = both = 0
    for _ in range(num_draws):
        if design == "two studies":
            arms = [
                _arms(each, size, num_seeds, rng)
                for each, size in zip(means, (400, 250), strict=True)
            ]
            spread = independent(
                *(moments(influences(a, c)) for a, c in zip(arms, contrasts, strict=True))
            )
        else:
            one_sample = _arms(means[0] | means[1], 400, num_seeds, rng)
            spread = moments(influences(one_sample, contrasts[0] + contrasts[1]))
        holds = difference_p_value(spread, -0.2) >= ALPHA
        gaps = [
            t_difference(spread.combine([float(i == place) for i in range(4)]), level=1 - ALPHA)
            for place in (1, 3)
        ]
        is_resolved = all((each.low or 0.0) > 0.0 for each in gaps)
        held += holds
        resolved += is_resolved
        both += holds and is_resolved
    return Coverage(
        held=held / num_draws,
        resolved=resolved / num_draws,
        held_if_resolved=both / max(resolved, 1),
    )


def _sgr_means(roles: Roles, share: float, gap: float) -> dict[str, float]:
    return {roles.floor: 0.4, roles.source: 0.4 + share * gap, roles.ceiling: 0.4 + gap}


def _arms(
    means: Mapping[str, float], num_items: int, num_seeds: int, rng: np.random.Generator
) -> dict[str, ArmScores]:
    """Arms on common items, whose difficulty they share."""
    ability = rng.normal(size=(num_items, 1))
    arms = {}
    for name, mean in means.items():
        seeds = 1 if name.startswith("zero") else num_seeds
        shift = 0.02 * rng.normal(size=seeds) * (seeds > 1)
        chance = np.clip(mean + shift + 0.15 * ability, 0.0, 1.0)
        arms[name] = ArmScores(
            scores=(rng.random((num_items, seeds)) < chance).astype(float),
            draw_ids=() if seeds == 1 else tuple(f"{name}/{s}" for s in range(seeds)),
        )
    return arms


def means_coverage(
    sizes: tuple[int, int, int], *, num_draws: int, rng: np.random.Generator
) -> float:
    """Coverage from means alone, seed SDs of 1, 2 and 2 %; it does not depend on the gap."""
    held = 0
    for _ in range(num_draws):
        zero, easy, hard = (
            0.4 + share * 0.1 + sd * rng.normal(size=size)
            for share, sd, size in zip((0.0, SGR, 1.0), (0.01, 0.02, 0.02), sizes, strict=True)
        )
        found = ratio_of_means(
            {"zero": zero, "easy": easy, "hard": hard},
            numerator={"easy": 1.0, "zero": -1.0},
            denominator={"hard": 1.0, "zero": -1.0},
        )
        held += (found.p_value(SGR) or 0.0) >= ALPHA
    return held / num_draws


def calibration_coverage(
    interval: Callable[..., CalibrationError | Difference],
    *,
    slope: float,
    num_seeds: int,
    num_draws: int,
    rng: np.random.Generator,
    num_items: int = 300,
) -> float:
    """Coverage of the interval of a calibration statistic.

    Args:
        interval: `ece` or `selective_area`.
        slope: Logits of the confidences over those of the probabilities; 1 is calibrated.
        num_seeds: Seeds; a single one is the only one there is. Items, seeds and answers vary with
            SDs of 1.2, 0.2 and 0.5 in logits.
        num_draws: Simulated studies.
        rng: Source of all randomness.
        num_items: Items.
    """
    seed_sd = 0.2 * (num_seeds > 1)
    truth = interval(*_answers(slope, 5000, 40, seed_sd, rng), rng).estimate
    held = 0
    for _ in range(num_draws):
        found = interval(*_answers(slope, num_items, num_seeds, seed_sd, rng), rng)
        held += (found.low or 0.0) <= truth <= (1.0 if found.high is None else found.high)
    return held / num_draws


def bin_coverage(
    *, slope: float, num_seeds: int, num_draws: int, rng: np.random.Generator, num_items: int = 300
) -> float:
    """Coverage of the intervals of the accuracies in bins of confidence, over all bins.

    Args:
        slope: This and the following arguments: see `calibration_coverage`.
        num_seeds: Seeds.
        num_draws: Simulated studies.
        rng: Source of all randomness.
        num_items: Items.
    """
    seed_sd = 0.2 * (num_seeds > 1)
    sure, right = (values.ravel() for values in _answers(slope, 5000, 40, seed_sd, rng))
    bins = equal_width_bins(sure)
    truth = {number: right[bins == number].mean() for number in np.unique(bins).tolist()}
    holds = [
        bin_.low <= truth[int(equal_width_bins([bin_.confidence])[0])] <= bin_.high
        for _ in range(num_draws)
        for bin_ in bin_accuracies(*_answers(slope, num_items, num_seeds, seed_sd, rng))
    ]
    return sum(holds) / len(holds)


def _answers(
    slope: float, num_items: int, num_seeds: int, seed_sd: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Confidences and scores, [items, seeds]."""
    logits = 0.5 + 1.2 * rng.normal(size=(num_items, 1)) + seed_sd * rng.normal(size=num_seeds)
    logits = logits + 0.5 * rng.normal(size=(num_items, num_seeds))
    right = rng.random(logits.shape) < special.expit(logits)
    return special.expit(slope * logits), right.astype(float)


def main() -> int:
    """Prints every coverage; status 1 if one is below 93 %."""
    rng, lowest = np.random.default_rng(16), 1.0
    print("pooled SGR: points, SD between points, mean gap, coverage %")
    for count, between, gap in itertools.product((3, 5, 10), (0.0, 0.03), (0.05, 0.1, 0.2)):
        found = pooled_coverage(count, between=between, gap=gap, num_draws=POOLED_DRAWS, rng=rng)
        lowest = min(lowest, found)
        print(f"{count:6d} {100 * between:6.0f} {100 * gap:6.0f} {100 * found:8.1f}", flush=True)
    print("difference of SGRs: seeds, gaps, arms, coverage %, resolved %, coverage % if resolved")
    for seeds, gap, design in itertools.product((3, 5), (0.05, 0.1, 0.2), DESIGNS):
        share = difference_coverage(
            gap=gap, num_seeds=seeds, design=design, num_draws=DIFFERENCE_DRAWS, rng=rng
        )
        lowest = min(lowest, share.held)
        numbers = (share.held, share.resolved, share.held_if_resolved)
        text = "".join(f"{100 * number:8.1f}" for number in numbers)
        print(f"{seeds:6d} {100 * gap:6.0f} {design:>12} {text}", flush=True)
    print("means alone: seeds of zero-shot, easy and hard, coverage %")
    for sizes in ((16, 5, 16), (5, 5, 5), (3, 3, 3)):
        found = means_coverage(sizes, num_draws=MEANS_DRAWS, rng=rng)
        lowest = min(lowest, found)
        print(f"{sizes!s:>12} {100 * found:8.1f}", flush=True)
    print("calibration: statistic, slope of the logits, seeds, coverage %")
    intervals: tuple[Callable[..., CalibrationError | Difference], ...] = (ece, selective_area)
    for interval, slope, seeds in itertools.product(intervals, (1.0, 1.15, 1.3, 2.0), (1, 2, 3, 5)):
        if interval is selective_area and slope != 1.0:
            continue  # it depends on the order of the confidences alone
        found = calibration_coverage(
            interval, slope=slope, num_seeds=seeds, num_draws=CALIBRATION_DRAWS, rng=rng
        )
        lowest = min(lowest, found)
        name = interval.__name__.replace("_", " ")
        print(f"{name:>15} {slope:6.2f} {seeds:6d} {100 * found:8.1f}", flush=True)
    print("accuracy in a bin of confidence: slope of the logits, seeds, coverage %")
    for slope, seeds in itertools.product((1.0, 2.0), (1, 2, 3, 5)):
        found = bin_coverage(slope=slope, num_seeds=seeds, num_draws=MEANS_DRAWS // 4, rng=rng)
        lowest = min(lowest, found)
        print(f"{slope:6.2f} {seeds:6d} {100 * found:8.1f}", flush=True)
    print(f"lowest coverage: {100 * lowest:.1f} %")
    return 0 if lowest >= 0.93 else 1


if __name__ == "__main__":
    sys.exit(main())
