"""Marginal means of items and seeds, with or without missing scores."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmMeans:
    """Marginal means of one arm over the items that all joined arms have."""

    item_means: FloatArray
    """[items] mean over seeds; least-squares marginal mean if scores are missing."""
    seed_means: FloatArray
    """[seeds] mean over items, by the same rule; [1] for a deterministic arm."""
    mean: float
    """Mean over items and seeds."""
    draw_ids: tuple[str, ...]


def arm_means(scores: FloatArray, *, draw_ids: tuple[str, ...], name: str) -> ArmMeans:
    """Marginal means of one arm under the additive item + seed model.

    Complete scores: plain row and column means. Missing scores: the least-squares fit
    y_is = a_i + b_s on the observed pairs, so that an item scored only by weak seeds does not
    appear hard.

    Args:
        scores: [items, seeds]; NaN = missing; every row has at least one score.
        draw_ids: One id a seed; empty for a deterministic arm.
        name: The arm's name, for messages.

    Returns:
        Item means a_i + mean(b) and seed means b_s + mean(a).

    Raises:
        ValueError: If a seed has no score, or no chain of items links two seeds, so that their
            effects cannot be compared.

    Source: least-squares (marginal) means of a two-way additive layout, e.g. Searle, Speed and
    Milliken, "Population marginal means in the linear model", Am. Stat. 34 (1980) 216-221.
    """
    if not math.isnan(float(scores.sum())):
        num_items, num_seeds = scores.shape
        # Products with ones: numpy's sum over a short axis is 10 x slower. Dividing last keeps
        # means of 0 / 1 scores exact.
        item_means = scores @ np.ones(num_seeds) / num_seeds
        seed_means = np.ones(num_items) @ scores / num_items
        return _arm_means(item_means, seed_means, draw_ids)
    seed_effects = _seed_effects(scores, name=name)
    item_effects = np.nanmean(scores - seed_effects, axis=1)
    return _arm_means(
        item_effects + seed_effects.mean(), seed_effects + item_effects.mean(), draw_ids
    )


def _arm_means(
    item_means: FloatArray, seed_means: FloatArray, draw_ids: tuple[str, ...]
) -> ArmMeans:
    """Puts the means together; the seeds are few, so theirs is the cheap grand mean."""
    return ArmMeans(
        item_means=item_means,
        seed_means=seed_means,
        mean=math.fsum(seed_means.tolist()) / len(seed_means),
        draw_ids=draw_ids,
    )


def _seed_effects(scores: FloatArray, *, name: str) -> FloatArray:
    """Solves the normal equations of the additive model for the seeds, items eliminated.

    [items, seeds] -> [seeds], with mean 0 (only differences between seeds are determined).
    """
    observed = ~np.isnan(scores)
    weights = observed.astype(np.float64)
    filled = np.where(observed, scores, 0.0)
    per_item = weights.sum(axis=1)
    within = weights / per_item[:, None]
    normal = np.diag(weights.sum(axis=0)) - weights.T @ within
    target = filled.sum(axis=0) - within.T @ filled.sum(axis=1)
    num_seeds = scores.shape[1]
    # The all-ones direction is free by construction; any second free direction is a real gap.
    if np.linalg.matrix_rank(normal, hermitian=True) < num_seeds - 1:
        raise ValueError(
            f"{name}: the observed scores do not link all {num_seeds} seeds (a seed without "
            "scores, or groups of seeds without a common item), so their means cannot be compared"
        )
    effects = np.linalg.lstsq(normal, target, rcond=None)[0]
    return np.asarray(effects - effects.mean(), dtype=np.float64)
