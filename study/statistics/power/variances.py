"""Variance components of one point: estimated from a pilot, or assumed by a stated model."""

from dataclasses import dataclass

import numpy as np

from study.statistics.arms import ArmScores, join_arms
from study.statistics.marginal_means import FloatArray
from study.statistics.power.logit_model import Population, arm_law, standard_normal, success

DEFAULT_SEED_SD = 0.02
"""Seed standard deviation of an accuracy (fraction), with infinitely many items. Cautious: observed
values of about 2 points include the noise of 500 answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PointVariances:
    """Variances of the scores behind one SGR; all in squared fractions."""

    item_easy: float
    """Over items, of easy - zero_shot, each item's expectation over seeds."""
    item_hard: float
    """Likewise of hard - zero_shot."""
    item_covariance: float
    """Covariance of the two over items."""
    answer_easy: float
    """Of one answer around the item and seed means (item x seed interaction)."""
    answer_hard: float
    seed_easy: float
    """Over seeds, of the arm's mean over infinitely many items."""
    seed_hard: float
    source: str
    """Origin of the numbers, as the plan prints it."""


def variances_of_pilot(
    *,
    zero_shot: ArmScores,
    easy: ArmScores,
    hard: ArmScores,
    assumed_seed_sd: float = DEFAULT_SEED_SD,
) -> PointVariances:
    """Estimates the variance components from a pilot.

    Args:
        zero_shot: Arm of the pilot; the arms are joined by item id if they have ids.
        easy: Another one, which shares no draw with hard.
        hard: The third one.
        assumed_seed_sd: For an arm with one seed, whose seed variance is unknown. Its answer
            variance is then part of the item variance.

    Returns:
        Method-of-moments estimates of the two-way layout items x seeds, at least 0.

    Raises:
        ValueError: If the arms cannot be joined or have only one item.

    Source: expected mean squares of the two-way random-effects layout, e.g. Searle, Casella and
    McCulloch, "Variance Components" (1992), chapter 4.
    """
    joined = join_arms({"zero_shot": zero_shot, "easy": easy, "hard": hard})
    if joined.num_items < 2:
        raise ValueError("a pilot needs at least two items to have a variance over items")
    parts = {
        name: _arm_parts(joined.scores[name], assumed_seed_sd=assumed_seed_sd)
        for name in ("easy", "hard")
    }
    floor = joined.means["zero_shot"].item_means
    between = np.cov([joined.means[name].item_means - floor for name in ("easy", "hard")])
    return PointVariances(
        item_easy=max(0.0, float(between[0, 0]) - parts["easy"].answer_of_means),
        item_hard=max(0.0, float(between[1, 1]) - parts["hard"].answer_of_means),
        item_covariance=float(between[0, 1]),
        answer_easy=parts["easy"].answer,
        answer_hard=parts["hard"].answer,
        seed_easy=parts["easy"].seed,
        seed_hard=parts["hard"].seed,
        source=f"pilot of {joined.num_items} items",
    )


def assumed_variances(population: Population) -> PointVariances:
    """Variance components of the logit model, for a plan without a pilot.

    Args:
        population: Assumed arm means, item SD (logits; default 1.0) and seed SD.

    Returns:
        The components of the model, by quadrature over the items.
    """
    q = standard_normal()
    ability = population.item_sd * q.nodes

    def chances(mean: float, seed_sd: float) -> FloatArray:
        law = arm_law(mean=mean, item_sd=population.item_sd, seed_sd=seed_sd)
        return success(ability[:, None] + law.shift + law.seed_sd * q.nodes) @ q.weights

    zero = chances(population.zero_shot, 0.0)
    easy = chances(population.easy, population.seed_sd)
    hard = chances(population.hard, population.seed_sd)
    # The zero-shot answer is drawn once an item, so its variance is part of the item variance.
    coin = float(q.weights @ (zero * (1.0 - zero)))
    gain, gap = easy - zero, hard - zero
    seed = population.seed_sd**2
    return PointVariances(
        item_easy=_covariance(gain, gain, q.weights) + coin,
        item_hard=_covariance(gap, gap, q.weights) + coin,
        item_covariance=_covariance(gain, gap, q.weights) + coin,
        answer_easy=max(0.0, float(q.weights @ (easy * (1.0 - easy))) - seed),
        answer_hard=max(0.0, float(q.weights @ (hard * (1.0 - hard))) - seed),
        seed_easy=seed,
        seed_hard=seed,
        source=(
            f"assumed: logit model, item SD {population.item_sd:g} logits, seed SD "
            f"{100 * population.seed_sd:g} points"
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _ArmParts:
    """Variance components of one arm."""

    answer: float
    answer_of_means: float
    """Contribution of the answers to the variance of the item means."""
    seed: float


def _arm_parts(scores: FloatArray, *, assumed_seed_sd: float) -> _ArmParts:
    """Answer and seed variance of [items, seeds] scores; NaN = missing."""
    if scores.shape[1] == 1:
        return _ArmParts(answer=0.0, answer_of_means=0.0, seed=assumed_seed_sd**2)
    is_seen = ~np.isnan(scores)
    item_means = np.nanmean(scores, axis=1)
    seed_means = np.nanmean(scores, axis=0)
    residual = scores - item_means[:, None] - seed_means + np.nanmean(scores)
    num_items, num_seeds = scores.shape
    # Free residuals: observed answers less one mean an item and one a seed.
    free = max(1, int(is_seen.sum()) - num_items - num_seeds + 1)
    answer = float(np.nansum(residual**2)) / free
    return _ArmParts(
        answer=answer,
        answer_of_means=answer * float(np.mean(1.0 / is_seen.sum(axis=1))),
        seed=max(0.0, float(seed_means.var(ddof=1)) - answer / num_items),
    )


def _covariance(a: FloatArray, b: FloatArray, weights: FloatArray) -> float:
    """Covariance of two functions of the ability under quadrature weights."""
    return float(weights @ (a * b)) - float(weights @ a) * float(weights @ b)
