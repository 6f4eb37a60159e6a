"""Simulated points of a known SGR: what coverage and power are checked against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.statistics.power.logit_model import Population, arm_law


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawnPoints:
    """Scores of many independent draws of one point; 0 or 1."""

    zero_shot: NDArray[np.float32]
    """[draws, items]"""
    easy: NDArray[np.float32]
    """[draws, items, seeds]"""
    hard: NDArray[np.float32]
    """[draws, items, seeds]"""


def draw_points(
    population: Population,
    *,
    num_items: int,
    num_seeds: int,
    num_draws: int,
    rng: np.random.Generator,
) -> DrawnPoints:
    """Draws independent points: new items and new seeds each time.

    Args:
        population: The true values.
        num_items: Test items of each point.
        num_seeds: Seeds of the easy and of the hard arm.
        num_draws: Points to draw.
        rng: Source of all randomness.

    Returns:
        The scores of every arm.
    """
    ability = population.item_sd * rng.standard_normal((num_draws, num_items), dtype=np.float32)

    def arm(mean: float, columns: int, seed_sd: float) -> NDArray[np.float32]:
        law = arm_law(mean=mean, item_sd=population.item_sd, seed_sd=seed_sd)
        seeds = law.seed_sd * rng.standard_normal((num_draws, 1, columns), dtype=np.float32)
        logits = ability[:, :, None] + (np.float32(law.shift) + seeds)
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        # u < 1 / (1 + e) without the division.
        uniform = rng.random(logits.shape, dtype=np.float32)
        return (uniform * (1 + logits) < 1).astype(np.float32)

    return DrawnPoints(
        zero_shot=arm(population.zero_shot, 1, 0.0)[:, :, 0],
        easy=arm(population.easy, num_seeds, population.seed_sd),
        hard=arm(population.hard, num_seeds, population.seed_sd),
    )
