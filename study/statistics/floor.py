"""Whether zero-shot accuracy can be the zero of SGR: compares it with chance.

SGR counts zero-shot as 0. If the base model fails at the answer format rather than at the
questions, that zero is too low and SGR too high, although the gap may be resolved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import special

from study.statistics.arms import ArmScores
from study.statistics.differences import paired_difference
from study.statistics.influences import Clusters
from study.statistics.marginal_means import FloatArray

FloorVerdict = Literal["floor below chance", "floor not readable"]
FLOOR_BELOW_CHANCE: Final = "floor below chance"
FLOOR_NOT_READABLE: Final = "floor not readable"

MAX_UNREADABLE = 0.1
"""Largest share of unreadable zero-shot answers at which SGR is reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """Zero-shot accuracy compared with chance; fractions, not points."""

    chance: float
    """Accuracy of guessing: the mean over items of 1 / choices, 0 for free answers."""
    above_chance: float
    """Zero-shot accuracy - chance."""
    low: float
    """Ends of its interval."""
    high: float
    verdict: FloorVerdict | None
    """Why zero-shot cannot be the zero of SGR; None if it can."""
    verdict_note: str
    """The numbers behind the verdict; empty without one."""

    @property
    def at_chance(self) -> bool:
        """Whether the interval contains chance: the base may not know the answer format."""
        return self.low <= 0.0 <= self.high


def judge_floor(
    zero_shot: ArmScores,
    chance: FloatArray,
    *,
    unreadable: float | None = None,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> Floor:
    """Compares the zero-shot arm with chance on the items of one test level.

    The interval is that of the paired difference, from its variance over items or clusters. If the
    difference is the same for every item, the interval is that of random guesses.

    Args:
        zero_shot: The untrained model.
        chance: [items] probability that a guess is right, in the order of the arm's items.
        unreadable: Share of the arm's generated answers that could not be read, in [0, 1]; None
            if choices were scored.
        level: Coverage of the interval, in (0, 1).
        clusters: Cluster of each item, where items were sampled in groups.

    Raises:
        ValueError: If chance is not one probability an item, or level is not in (0, 1).
    """
    chance = np.asarray(chance, dtype=np.float64)
    if chance.shape != zero_shot.scores.shape[:1] or not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(
            f"chance must be a probability for each of {len(zero_shot.scores)} items, got shape "
            f"{chance.shape}"
        )
    guesses = ArmScores(scores=chance[:, None], draw_ids=(), item_ids=zero_shot.item_ids)
    difference = paired_difference(zero_shot, guesses, level=level, clusters=clusters)
    low, high = difference.low, difference.high
    if low is None or high is None:
        half_width = _half_width_of_guesses(chance, level)
        low, high = difference.estimate - half_width, difference.estimate + half_width
    verdict, note = _judge(difference.estimate, low, high, float(chance.mean()), unreadable, level)
    return Floor(
        chance=float(chance.mean()),
        above_chance=difference.estimate,
        low=low,
        high=high,
        verdict=verdict,
        verdict_note=note,
    )


def _half_width_of_guesses(chance: FloatArray, level: float) -> float:
    """Half-width of a normal interval of the mean of independent guesses."""
    variance = float((chance * (1.0 - chance)).mean()) / len(chance)
    return float(special.ndtri(0.5 + 0.5 * level)) * math.sqrt(variance)


def _judge(
    above: float, low: float, high: float, chance: float, unreadable: float | None, level: float
) -> tuple[FloorVerdict | None, str]:
    if unreadable is not None and unreadable > MAX_UNREADABLE:
        return FLOOR_NOT_READABLE, (
            f"{100 * unreadable:.1f} % of zero-shot answers could not be read, more than "
            f"{100 * MAX_UNREADABLE:g} %"
        )
    if high < 0.0:
        return FLOOR_BELOW_CHANCE, (
            f"zero_shot is below chance, {100 * chance:.1f} %: {100 * low:+.1f} to "
            f"{100 * high:+.1f} points at level {level:g}"
        )
    return None, ""
