"""Block bootstrap of the easy-to-hard paper, for comparing its tables with ours only.

Near a zero gap its percentile interval is far too wide, and its mean +/- half-width hides that the
set is not symmetric. `study.statistics.sgr` has the estimate to report.

Source: Hase et al. 2024 (arXiv:2401.06751), appendix E and the released analysis: rows (items) and
columns (seeds) are drawn with replacement, the same rows in all arms and independent columns in
each arm; the statistic is nanmean(easy - zero_shot) / nanmean(hard - zero_shot); values that are
not finite are dropped; the paper prints the mean of the rest +/- (q97.5 - q2.5) / 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.statistics.marginal_means import FloatArray

_CHUNK = 2_000_000
"""Row draws in memory at a time, whatever the number of resamples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyEstimate:
    """One SGR as the paper prints it."""

    mean: float | None
    """Mean of the resampled ratios, the paper's point estimate; None if none is finite."""
    half_width: float | None
    """(q97.5 - q2.5) / 2, the paper's "+/-"."""
    p_value: float | None
    """Two-sided, of the null that SGR is 0: share of the ratios, centred on 0, beyond +/- mean."""
    num_resamples: int
    num_dropped: int
    """Resamples whose ratio was not finite."""


def legacy_bootstrap_sgr(
    zero_shot: ArrayLike,
    easy: ArrayLike,
    hard: ArrayLike,
    *,
    rng: np.random.Generator,
    num_resamples: int = 10_000,
) -> LegacyEstimate:
    """Estimates SGR by the paper's bootstrap.

    Args:
        zero_shot: [items] scores.
        easy: [items, seeds] scores; NaN = the item was trained on with this seed.
        hard: [items, seeds] likewise.
        rng: Source of all randomness.
        num_resamples: Resamples (the paper: 100,000).

    Returns:
        Mean, half-width and p-value by the paper's rules.

    Raises:
        ValueError: If the arms do not have the same items (numpy's message).
    """
    zero = np.asarray(zero_shot, dtype=np.float64)
    gains = [np.asarray(arm, dtype=np.float64) - zero[:, None] for arm in (easy, hard)]
    num_items, parts = len(zero), []
    step = max(1, _CHUNK // num_items)
    for start in range(0, num_resamples, step):
        count = min(step, num_resamples - start)
        columns = [_counts(gain.shape[1], count, rng) for gain in gains]
        parts.append(
            resampled_ratios(
                gains[0],
                gains[1],
                item_counts=_counts(num_items, count, rng),
                easy_counts=columns[0],
                hard_counts=columns[1],
            )
        )
    return _summarize(np.concatenate(parts))


def resampled_ratios(
    easy_gain: FloatArray,
    hard_gain: FloatArray,
    *,
    item_counts: FloatArray,
    easy_counts: FloatArray,
    hard_counts: FloatArray,
) -> FloatArray:
    """Ratios of the resampled mean gains.

    Args:
        easy_gain: [items, seeds] easy - zero_shot; NaN = missing.
        hard_gain: [items, seeds] hard - zero_shot; NaN = missing.
        item_counts: [resamples, items] how often each item was drawn.
        easy_counts: [resamples, seeds] how often each seed of easy was drawn.
        hard_counts: [resamples, seeds] how often each seed of hard was drawn.

    Returns:
        [resamples]; infinite or NaN for values that the paper drops.
    """
    means = []
    for gain, counts in ((easy_gain, easy_counts), (hard_gain, hard_counts)):
        is_seen = ~np.isnan(gain)
        totals = np.einsum("bs,bs->b", item_counts @ np.where(is_seen, gain, 0.0), counts)
        weights = np.einsum("bs,bs->b", item_counts @ is_seen.astype(np.float64), counts)
        with np.errstate(invalid="ignore"):
            means.append(totals / weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(means[0] / means[1], dtype=np.float64)


def _counts(size: int, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    """[resamples, size] counts of `size` draws with replacement."""
    drawn: NDArray[np.int64] = rng.integers(0, size, size=(num_resamples, size))
    drawn += size * np.arange(num_resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * size)
    return counts.reshape(num_resamples, size).astype(np.float64)


def _summarize(ratios: FloatArray) -> LegacyEstimate:
    """Summarizes the resampled ratios as the paper does."""
    finite = ratios[np.isfinite(ratios)]
    num_dropped = len(ratios) - len(finite)
    if len(finite) == 0:
        return LegacyEstimate(
            mean=None,
            half_width=None,
            p_value=None,
            num_resamples=len(ratios),
            num_dropped=num_dropped,
        )
    mean = float(finite.mean())
    low, high = np.quantile(finite, [0.025, 0.975])
    return LegacyEstimate(
        mean=mean,
        half_width=float(high - low) / 2,
        p_value=float(np.mean(np.abs(finite - mean) > abs(mean))),
        num_resamples=len(ratios),
        num_dropped=num_dropped,
    )
