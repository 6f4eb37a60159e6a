"""Crossed bootstrap of contrasts and their ratio: the cross-check of the Fieller set.

Items and seeds are reweighted at the same time, each with its own factor (product weights); arms
that share draws share the weights of those draws. All resamples of a chunk are one matrix product.

Source: A. B. Owen and D. Eckles, "Bootstrapping data arrays of arbitrary order", Ann. Appl. Stat.
6 (2012) 895-927 (arXiv 1106.2125): mildly conservative; no exact bootstrap of a crossed array
exists. Percentile intervals of a ratio mean something only far from a zero gap (g < 0.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.statistics.arms import ArmScores, JoinedArms, draw_groups, join_arms
from study.statistics.differences import check_level
from study.statistics.influences import Clusters, Contrast, cluster_labels
from study.statistics.marginal_means import FloatArray

_CHUNK_BYTES = 32_000_000
"""Size of one chunk of item weights; bounds the memory whatever the number of resamples."""

_ROUNDING = 1e-6
"""Resampled gaps below this are rounding of 0: item sums are kept in single precision, which is
1,000 times finer than any bootstrap spread and twice as fast."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replicates:
    """Resampled values of a ratio's numerator and denominator."""

    numerator: FloatArray
    """[resamples]; without the resamples that are undefined."""
    denominator: FloatArray
    num_undefined: int
    """Resamples in which an arm got no weight at all (few, partly shared draws only)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapInterval:
    """Percentile interval of a resampled ratio."""

    low: float | None
    """None where a resample has denominator 0: its ratio has no place among the others."""
    high: float | None
    median: float | None
    level: float
    num_resamples: int
    num_undefined: int
    """Resamples without a ratio; never dropped silently."""


def crossed_replicates(
    arms: Mapping[str, ArmScores],
    *,
    numerator: Contrast,
    denominator: Contrast,
    num_resamples: int,
    rng: np.random.Generator,
    clusters: Clusters | None = None,
) -> Replicates:
    """Resamples items and seeds together.

    Items get weight 0 or 2 ("double or nothing": least kurtosis, one random bit an item); seeds
    of each group of arms with common draws multinomial counts, since with 5 seeds independent
    weights are all 0 too often.

    Args:
        arms: Name -> arm. A missing score is filled in from its additive item + seed model.
        numerator: Arm name -> weight.
        denominator: Arm name -> weight.
        num_resamples: Resamples, at least 1.
        rng: Source of all randomness.
        clusters: Cluster of each item, where items were sampled in groups: they are resampled.

    Returns:
        The resampled contrasts.

    Raises:
        ValueError: If num_resamples is below 1 or the arms cannot be joined.
    """
    _check_count(num_resamples)
    joined = join_arms(arms)
    item_means = _resampled_means(joined, clusters, num_resamples, rng)
    seed_weights = _seed_weights(joined, num_resamples, rng)
    means = {name: np.einsum("bs,bs->b", item_means[name], seed_weights[name]) for name in arms}
    x = np.sum([weight * means[name] for name, weight in numerator.items()], axis=0)
    y = np.sum([weight * means[name] for name, weight in denominator.items()], axis=0)
    is_defined = np.isfinite(x) & np.isfinite(y)
    lost = int(np.count_nonzero(~is_defined))
    return Replicates(numerator=x[is_defined], denominator=y[is_defined], num_undefined=lost)


def percentile_interval(replicates: Replicates, *, level: float = 0.95) -> BootstrapInterval:
    """Percentile interval of the resampled ratios.

    Args:
        replicates: Resampled numerators and denominators.
        level: Coverage, in (0, 1).

    Returns:
        The interval; None for its ends if any resample has no ratio.

    Raises:
        ValueError: If level is no coverage.
    """
    check_level(level)
    is_zero = np.abs(replicates.denominator) <= _ROUNDING
    num_undefined = replicates.num_undefined + int(np.count_nonzero(is_zero))
    total = len(is_zero) + replicates.num_undefined
    if num_undefined:
        low = median = high = None
    else:
        tails = [0.5 - 0.5 * level, 0.5, 0.5 + 0.5 * level]
        ratios = replicates.numerator / replicates.denominator
        low, median, high = (float(q) for q in np.quantile(ratios, tails))
    return BootstrapInterval(
        low=low,
        high=high,
        median=median,
        level=level,
        num_resamples=total,
        num_undefined=num_undefined,
    )


def bootstrap_sgr(
    *,
    zero_shot: ArmScores,
    easy: ArmScores,
    hard: ArmScores,
    rng: np.random.Generator,
    num_resamples: int = 10_000,
    level: float = 0.95,
) -> BootstrapInterval:
    """Percentile interval of SGR from the crossed bootstrap.

    Args:
        zero_shot: The untrained model.
        easy: The source condition.
        hard: Trained on the band that holds the test level.
        rng: Source of all randomness.
        num_resamples: Resamples.
        level: Coverage, in (0, 1).

    Returns:
        The interval, to be shown beside the Fieller set, not instead of it.

    Raises:
        ValueError: As `crossed_replicates`.
    """
    replicates = crossed_replicates(
        {"zero_shot": zero_shot, "easy": easy, "hard": hard},
        numerator={"easy": 1.0, "zero_shot": -1.0},
        denominator={"hard": 1.0, "zero_shot": -1.0},
        num_resamples=num_resamples,
        rng=rng,
    )
    return percentile_interval(replicates, level=level)


def _check_count(num_resamples: int) -> None:
    """Raises ValueError unless there is something to draw."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")


def _resampled_means(
    joined: JoinedArms, clusters: Clusters | None, num_resamples: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Item-weighted mean of every seed, [resamples, seeds] by arm; NaN without any weight."""
    sizes = np.ones((joined.num_items, 1))
    columns = np.concatenate([*(_filled(joined, name) for name in joined.means), sizes], axis=1)
    if clusters is not None:
        names, index = np.unique(cluster_labels(joined, clusters), return_inverse=True)
        sums = np.zeros((len(names), columns.shape[1]))
        np.add.at(sums, index, columns)
        columns = sums
    columns32 = columns.astype(np.float32)
    num_units = len(columns32)
    chunk = max(1, _CHUNK_BYTES // (4 * num_units))
    means = np.empty((num_resamples, columns.shape[1] - 1), dtype=np.float32)
    for start in range(0, num_resamples, chunk):
        stop = min(start + chunk, num_resamples)
        octets = rng.integers(0, 256, size=(stop - start, -(-num_units // 8)), dtype=np.uint8)
        # 0 or 1 instead of 0 or 2: the factor cancels in the mean.
        weights = np.unpackbits(octets, axis=1, count=num_units).astype(np.float32)
        totals = weights @ columns32
        with np.errstate(invalid="ignore"):
            means[start:stop] = totals[:, :-1] / totals[:, -1:]
    ends = np.cumsum([scores.shape[1] for scores in joined.scores.values()])
    return dict(zip(joined.means, np.split(means, ends[:-1], axis=1), strict=True))


def _filled(joined: JoinedArms, name: str) -> FloatArray:
    """[items, seeds] scores of an arm; missing ones are the fit of its additive model."""
    scores, means = joined.scores[name], joined.means[name]
    is_missing = np.isnan(scores)
    if not is_missing.any():
        return scores
    fitted = means.item_means[:, None] + means.seed_means - means.mean
    return np.where(is_missing, fitted, scores)


def _seed_weights(
    joined: JoinedArms, num_resamples: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """[resamples, seeds] weights by arm, each row summing to 1; NaN without any weight."""
    weights = {name: np.ones((num_resamples, 1)) for name in joined.means}
    for group in draw_groups({name: means.draw_ids for name, means in joined.means.items()}):
        draws = sorted({draw for name in group for draw in joined.means[name].draw_ids})
        column = {draw: index for index, draw in enumerate(draws)}
        chances = np.full(len(draws), 1.0 / len(draws))
        counts = rng.multinomial(len(draws), chances, size=num_resamples)
        for name in group:
            own = counts[:, [column[draw] for draw in joined.means[name].draw_ids]]
            with np.errstate(invalid="ignore"):
                weights[name] = own / own.sum(axis=1, keepdims=True)
    return weights
