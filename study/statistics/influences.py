"""Influence of each sampled item and each random draw on a contrast of arms.

A contrast is a weighted sum of arm means, such as easy - zero_shot. Its error comes from the
sampled items and from the random draws (seeds) of each arm. Sums of products of influences are
covariances, so these are always positive semidefinite, and contrasts that share items or draws get
their covariance by id.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.statistics.arms import ArmScores, JoinedArms, draw_groups, join_arms
from study.statistics.marginal_means import ArmMeans, FloatArray

Contrast = Mapping[str, float]
"""Arm name -> weight; other arms have weight 0."""

Clusters = Mapping[str, str] | Sequence[str]
"""Cluster of each item: by item id if the arms have ids, else one entry a row."""

_ROUNDING = 1e-12
"""Deviations below this share of the size (root sum of squares) of the largest arm are rounding
errors of a constant, so 0."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawInfluence:
    """Influence of the random draws of a group of arms that share draws."""

    draw_ids: tuple[str, ...]
    weights: FloatArray
    """[draws, contrasts]; the sum over draws of products is the covariance."""
    df: int
    """Degrees of freedom: seeds - 1 of the group's arm with the fewest seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Summary of the data behind an estimate."""

    means: Mapping[str, float]
    """Arm name -> mean score over the common items."""
    num_items: int | None
    """Items that all arms have scored; None if only means are known."""
    num_units: int
    """Sampled units: clusters if there are any, else items."""
    num_seeds: int
    """Seeds of the arm with the fewest, deterministic arms excluded; 0 if all are."""
    missing_share: float
    """Share of (item, seed) pairs without a score, over all arms and all items passed in."""
    num_seeded_arms: int
    """Arms that are not deterministic."""
    one_seed_arms: tuple[str, ...]
    """Arms with one seed, whose seed variance is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Influences:
    """Contrasts of one set of arms, with the influence of every item (cluster) and draw."""

    values: FloatArray
    """[contrasts] the contrasts of the arm means."""
    sample: Sample
    unit_ids: tuple[str, ...] | None
    """Ids of the sampled items or clusters. None without ids."""
    unit_weights: FloatArray | None
    """[units, contrasts]; None for a single unit, which has no variance over units."""
    draws: tuple[DrawInfluence, ...]


def influences(
    arms: Mapping[str, ArmScores],
    contrasts: Sequence[Contrast],
    clusters: Clusters | None = None,
) -> Influences:
    """Contrasts of arms and the influence of each item and each draw on them.

    Args:
        arms: Name -> arm; joined by item id if the arms have ids.
        contrasts: The contrasts to compute, of these arms.
        clusters: Cluster of each item, where items were sampled in groups. Fixed strata (MMLU
            subjects) are not clusters.

    Returns:
        The influences; those of a variance that cannot be estimated are absent, not 0.

    Raises:
        ValueError: If a contrast names an unknown arm, arms cannot be joined, or an item has no
            cluster.
    """
    _refuse_unknown(contrasts, arms)
    joined = join_arms(arms)
    coefficients = np.array([[c.get(name, 0.0) for c in contrasts] for name in arms])
    means = list(joined.means.values())
    per_item = np.column_stack([m.item_means for m in means]) @ coefficients
    values = np.array([m.mean for m in means]) @ coefficients
    tolerance = _ROUNDING * math.sqrt(max(float(m.item_means @ m.item_means) for m in means))
    deviations = _snap(per_item - values, tolerance)
    unit_ids, unit_weights = _unit_weights(deviations, joined, clusters)
    rows = dict(zip(arms, coefficients, strict=True))
    groups = _varying_groups(joined, rows)
    return Influences(
        values=np.where(np.abs(values) <= tolerance, 0.0, values),
        sample=_sample(joined, num_units=len(unit_weights)),
        unit_ids=unit_ids,
        unit_weights=unit_weights if len(unit_weights) > 1 else None,
        draws=tuple(_draw_influence(group, joined, rows, tolerance) for group in groups),
    )


def _refuse_unknown(contrasts: Sequence[Contrast], arms: Mapping[str, ArmScores]) -> None:
    """Raises ValueError naming the arms of a contrast that the data lack."""
    unknown = sorted({name for contrast in contrasts for name in contrast} - set(arms))
    if unknown:
        raise ValueError(f"contrasts must name given arms {sorted(arms)}, got {unknown}")


def _sample(joined: JoinedArms, *, num_units: int) -> Sample:
    """Summarizes the joined arms."""
    num_seeds = {name: len(m.draw_ids) for name, m in joined.means.items() if m.draw_ids}
    return Sample(
        means={name: m.mean for name, m in joined.means.items()},
        num_items=joined.num_items,
        num_units=num_units,
        num_seeds=min(num_seeds.values(), default=0),
        missing_share=joined.missing_share,
        num_seeded_arms=len(num_seeds),
        one_seed_arms=tuple(name for name, count in num_seeds.items() if count == 1),
    )


def _unit_weights(
    deviations: FloatArray, joined: JoinedArms, clusters: Clusters | None
) -> tuple[tuple[str, ...] | None, FloatArray]:
    """Influence [units, contrasts] of each item or cluster, from [items, contrasts] deviations.

    Their products sum to G / (G - 1) sum_g s_g s_g' / N^2 over the clusters' summed deviations
    s_g (Liang and Zeger 1986); with one item a cluster that is the sample covariance over N.
    """
    unit_ids, sums = joined.item_ids, deviations
    if clusters is not None:
        names, index = np.unique(cluster_labels(joined, clusters), return_inverse=True)
        sums = np.zeros((len(names), deviations.shape[1]))
        np.add.at(sums, index, deviations)
        unit_ids = tuple(names.tolist())
    num_units = len(sums)
    return unit_ids, sums * (np.sqrt(num_units / max(num_units - 1, 1)) / joined.num_items)


def cluster_labels(joined: JoinedArms, clusters: Clusters) -> NDArray[np.str_]:
    """Cluster of each common item, joined by id where there are ids.

    Args:
        joined: The arms' common items.
        clusters: Cluster by item id, or one entry a row if the arms have no ids.

    Returns:
        [items] cluster names.

    Raises:
        ValueError: If an item has no cluster, or clusters are given by row for items with ids.
    """
    if isinstance(clusters, Mapping):
        if joined.item_ids is None:
            raise ValueError("clusters by item id need arms with item_ids")
        absent = [item for item in joined.item_ids if item not in clusters]
        if absent:
            raise ValueError(f"clusters must name every item, {len(absent)} absent: {absent[:5]}")
        return np.array([clusters[item] for item in joined.item_ids], dtype=np.str_)
    if joined.item_ids is not None:
        raise ValueError("clusters must be given by item id where arms have item_ids")
    if len(clusters) != joined.num_rows:
        raise ValueError(
            f"clusters must have one entry an item, got {len(clusters)} for {joined.num_rows}"
        )
    return np.array([clusters[row] for row in joined.positions], dtype=np.str_)


def _varying_groups(joined: JoinedArms, coefficients: Mapping[str, FloatArray]) -> list[list[str]]:
    """Groups of arms with common draws, among the arms whose seed variance counts."""
    # With one seed the variance over draws is unknown; with weight 0 it is irrelevant.
    return draw_groups(
        {
            name: arm.draw_ids
            for name, arm in joined.means.items()
            if len(arm.draw_ids) > 1 and coefficients[name].any()
        }
    )


def _draw_influence(
    group: Sequence[str],
    joined: JoinedArms,
    coefficients: Mapping[str, FloatArray],
    tolerance: float,
) -> DrawInfluence:
    """Influence of each draw of a group of arms on the contrasts.

    A draw moves arm k by (its mean - the arm's mean) / sqrt(S_k (S_k - 1)): squares sum to
    s_k^2 / S_k, products over fully shared draws to the sample covariance / S.
    """
    arms = [joined.means[name] for name in group]
    position: dict[str, int] = {}
    for arm in arms:
        for draw in arm.draw_ids:
            position.setdefault(draw, len(position))
    weights = np.zeros((len(position), len(coefficients[group[0]])))
    for name, arm in zip(group, arms, strict=True):
        rows = [position[draw] for draw in arm.draw_ids]
        weights[rows] += _weights(arm, coefficients[name], tolerance)
    df = min(len(arm.draw_ids) for arm in arms) - 1
    return DrawInfluence(draw_ids=tuple(position), weights=weights, df=df)


def _weights(arm: ArmMeans, row: FloatArray, tolerance: float) -> FloatArray:
    """[draws, contrasts] influence of the draws of one arm."""
    num_seeds = len(arm.draw_ids)
    centred = arm.seed_means - arm.seed_means.mean()
    scaled = _snap(centred[:, None], tolerance) / np.sqrt(num_seeds * (num_seeds - 1))
    return np.asarray(scaled * row, dtype=np.float64)


def _snap(deviations: FloatArray, tolerance: float) -> FloatArray:
    """Sets columns that consist of rounding errors to exactly 0."""
    # Sums of squares first: nearly all columns are clearly not rounding errors.
    squares = np.einsum("ij,ij->j", deviations, deviations)
    if squares.min() > len(deviations) * tolerance**2:
        return deviations
    is_noise = np.abs(deviations).max(axis=0) <= tolerance
    return np.where(is_noise, 0.0, deviations)
