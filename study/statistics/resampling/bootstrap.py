"""Bootstrap of means over items and seeds, for statistics that are no linear function of them.

Means of scores themselves have exact intervals instead (`study.statistics.differences`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.statistics.marginal_means import FloatArray

NUM_RESAMPLES = 200
"""Enough for a standard deviation (within 5 %), which is all that the intervals need."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResampledPart:
    """Means when one source of their error is resampled."""

    means: FloatArray
    """[resamples, values]."""
    df: int
    """Items (clusters, seeds) - 1."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resampled:
    """Means with their resamples over items, then over seeds."""

    means: FloatArray
    """[values]."""
    parts: tuple[ResampledPart, ...]
    """Items alone with one seed; none with a single item (cluster)."""


def resample(
    values: FloatArray,
    seen: NDArray[np.bool_],
    *,
    clusters: Sequence[str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    rng: np.random.Generator,
) -> Resampled:
    """Resamples the items (or their clusters), and apart from them the seeds.

    Args:
        values: [answers, values] whose means are wanted.
        seen: [items, seeds] whether there is an answer. Answers are in row-major order.
        clusters: Cluster of each item, where items were sampled in groups.
        num_resamples: Resamples of each source.
        rng: Source of all randomness.

    Returns:
        The means and their resamples. Both draw one item (seed) fewer than there are, which makes
        the variance of a mean unbiased. Both contain the item x seed interaction, so the sum of
        their variances is conservative.

    Raises:
        ValueError: If clusters do not name every item.

    Source: Rao and Wu, J. Am. Stat. Assoc. 83 (1988) 231-241 (one fewer).
    """
    if clusters is not None and len(clusters) != len(seen):
        raise ValueError(f"clusters must name every item, got {len(clusters)} for {len(seen)}")
    items, seeds = np.nonzero(seen)
    units = items if clusters is None else np.asarray(clusters)[items]
    parts: list[ResampledPart] = []
    for labels in (units, seeds):
        names, index = np.unique(labels, return_inverse=True)
        if len(names) == 1:
            break  # A single item has no interval; a single seed is the last part.
        sums = np.column_stack([np.bincount(index, weights=column) for column in values.T])
        drawn = _times_drawn(len(names), num_resamples, rng)
        means = drawn @ sums / (drawn @ np.bincount(index))[:, None]
        parts.append(ResampledPart(means=means, df=len(names) - 1))
    return Resampled(means=values.mean(axis=0), parts=tuple(parts))


def _times_drawn(count: int, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    """[resamples, count] how often each is among count - 1 draws with replacement."""
    drawn = rng.integers(count, size=(num_resamples, count - 1))
    drawn += count * np.arange(num_resamples)[:, None]
    times = np.bincount(drawn.ravel(), minlength=count * num_resamples)
    return times.reshape(num_resamples, count).astype(np.float64)
