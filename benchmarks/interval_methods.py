"""Interval methods of SGR over many simulated points at once, for `benchmarks.coverage`.

The estimator of `study.statistics.sgr` is written here a second time, in arrays over draws;
`check_batch` compares it with the real one. The bootstrap is the paper's: rows and columns
resampled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.simulated_points import DrawnPoints
from study.statistics.sgr import estimate_sgr

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Estimates of many draws; every array is [draws]."""

    x: FloatArray
    y: FloatArray
    vxx: FloatArray
    vxy: FloatArray
    vyy: FloatArray
    critical: FloatArray

    def holds(self, theta: float) -> BoolArray:
        """Whether the Fieller set of each draw holds theta."""
        variance = self.vxx - 2 * theta * self.vxy + theta**2 * self.vyy
        return (self.x - theta * self.y) ** 2 <= self.critical**2 * variance

    @property
    def widths(self) -> FloatArray:
        """Width of the bounded sets; NaN for the others."""
        a, root = self._roots()
        return np.divide(2 * root, a, out=np.full_like(a, np.nan), where=a > 0)

    def _roots(self) -> tuple[FloatArray, FloatArray]:
        """Leading coefficient and half the distance of the roots times it."""
        a = self.y**2 - self.critical**2 * self.vyy
        b = self.x * self.y - self.critical**2 * self.vxy
        c = self.x**2 - self.critical**2 * self.vxx
        return a, np.sqrt(np.maximum(b * b - a * c, 0.0))

    @property
    def resolved(self) -> BoolArray:
        """Whether the gap interval lies above 0."""
        return self.y - self.critical * np.sqrt(self.vyy) > 0

    def below_upper_end(self, theta: float) -> BoolArray:
        """Whether theta is at most the upper end of a bounded set; True without one."""
        a, root = self._roots()
        b = self.x * self.y - self.critical**2 * self.vxy
        return (a <= 0) | (theta <= (b + root) / np.where(a > 0, a, 1.0))

    def delta_holds(self, theta: float) -> BoolArray:
        """Whether ratio +/- t standard errors of the linearised ratio holds theta."""
        # Without a gap there is no ratio and no delta interval: counted as a miss.
        ratio = np.divide(self.x, self.y, out=np.full_like(self.x, np.nan), where=self.y != 0)
        variance = self.vxx - 2 * ratio * self.vxy + ratio**2 * self.vyy
        return np.abs(ratio - theta) * np.abs(self.y) <= self.critical * np.sqrt(variance)


def estimate_batch(drawn: DrawnPoints) -> Batch:
    """The definition of `study.statistics.sgr` over many complete points at once."""
    num_items, num_seeds = drawn.easy.shape[1:]
    zero = drawn.zero_shot.astype(np.float64)
    x_items = drawn.easy.mean(axis=2, dtype=np.float64) - zero
    y_items = drawn.hard.mean(axis=2, dtype=np.float64) - zero
    x, y = x_items.mean(axis=1), y_items.mean(axis=1)
    dx, dy = x_items - x[:, None], y_items - y[:, None]
    scale = 1.0 / (num_items * (num_items - 1))
    item_xx, item_xy, item_yy = (
        np.einsum("ri,ri->r", a, b) * scale for a, b in ((dx, dx), (dx, dy), (dy, dy))
    )
    seed_x, seed_y = (_seed_variance(arm) for arm in (drawn.easy, drawn.hard))
    ratio = np.divide(x, y, out=np.zeros_like(x), where=y != 0)
    item_ratio = item_xx - 2 * ratio * item_xy + ratio**2 * item_yy
    nu_ratio = _satterthwaite([item_ratio, seed_x, ratio**2 * seed_y], num_items, num_seeds)
    nu_gap = _satterthwaite([item_yy, seed_y], num_items, num_seeds)
    nu = np.minimum(np.where(y != 0, nu_ratio, np.inf), nu_gap)
    return Batch(
        x=x,
        y=y,
        vxx=item_xx + seed_x,
        vxy=item_xy,
        vyy=item_yy + seed_y,
        critical=np.asarray(special.stdtrit(nu, 0.5 + 0.5 * LEVEL), dtype=np.float64),
    )


def _seed_variance(arm: NDArray[np.float32]) -> FloatArray:
    """Variance [draws] of an arm's mean over its seeds; one seed has none."""
    num_seeds = arm.shape[2]
    if num_seeds == 1:
        return np.zeros(len(arm))
    means = arm.mean(axis=1, dtype=np.float64)
    return np.asarray(means.var(axis=1, ddof=1) / num_seeds, dtype=np.float64)


def _satterthwaite(parts: Sequence[FloatArray], num_items: int, num_seeds: int) -> FloatArray:
    """Degrees of freedom [draws]; the first part is the items', the others are seeds'."""
    total = np.sum(parts, axis=0)
    item, *seeds = parts
    squares = np.sum([part**2 for part in seeds], axis=0)
    df_seeds = max(num_seeds - 1, 1)
    return np.asarray(total**2 / (item**2 / (num_items - 1) + squares / df_seeds))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resamples:
    """Row and column weights of the pigeonhole bootstrap; drawn once for many points."""

    items: NDArray[np.float32]
    """[resamples, items] counts / items"""
    easy: NDArray[np.float32]
    """[resamples, seeds] counts / seeds"""
    hard: NDArray[np.float32]


def draw_resamples(
    *, num_items: int, num_seeds: int, count: int, rng: np.random.Generator
) -> Resamples:
    """Draws multinomial counts of items and of each arm's seeds."""

    def weights(size: int) -> NDArray[np.float32]:
        counts = rng.multinomial(size, np.full(size, 1 / size), size=count)
        return (counts / size).astype(np.float32)

    return Resamples(items=weights(num_items), easy=weights(num_seeds), hard=weights(num_seeds))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bootstrapped:
    """What the two bootstrap intervals of each draw are made from; every array is [draws]."""

    low: FloatArray
    """2.5 % quantile of the resampled ratios."""
    high: FloatArray
    mean: FloatArray
    """Mean of the ratios, denominators of 0 dropped: the point the paper prints."""
    rounded_mean: FloatArray
    """The same mean where a denominator of 0 comes out as rounding error and so is kept."""

    def percentile_holds(self, theta: float) -> BoolArray:
        """Whether the percentile interval holds theta."""
        return (self.low <= theta) & (theta <= self.high)

    def symmetric_holds(self, theta: float, centre: FloatArray) -> BoolArray:
        """Whether centre +/- half the percentile width holds theta."""
        return np.abs(centre - theta) <= (self.high - self.low) / 2


def bootstrap(drawn: DrawnPoints, resamples: Resamples) -> Bootstrapped:
    """The paper's bootstrap of SGR for each draw."""
    num_draws, num_items, num_seeds = drawn.easy.shape
    columns = np.concatenate([drawn.zero_shot[:, :, None], drawn.easy, drawn.hard], axis=2)
    flat = columns.transpose(1, 0, 2).reshape(num_items, -1)
    means = (resamples.items @ flat).reshape(-1, num_draws, 1 + 2 * num_seeds)
    zero = means[:, :, 0]
    x = np.einsum("brs,bs->br", means[:, :, 1 : 1 + num_seeds], resamples.easy) - zero
    y = np.einsum("brs,bs->br", means[:, :, 1 + num_seeds :], resamples.hard) - zero
    rounded = _ratios(x, y, smallest=0.0)
    # Scores are 0 / 1, so y is a multiple of 1 / (items x seeds) >= 5e-5: less is rounding of 0.
    exact = _ratios(x, y, smallest=1e-6)
    low, high = np.nanquantile(exact, [0.025, 0.975], axis=0)
    return Bootstrapped(
        low=low,
        high=high,
        mean=np.nanmean(exact, axis=0),
        rounded_mean=np.nanmean(rounded, axis=0),
    )


def _ratios(x: NDArray[np.float32], y: NDArray[np.float32], *, smallest: float) -> FloatArray:
    """Quotients x / y where |y| is above `smallest`, else NaN."""
    out: FloatArray = np.full(x.shape, np.nan)
    np.divide(x, y, out=out, where=np.abs(y) > smallest, dtype=np.float64)
    return out


def check_batch(drawn: DrawnPoints, batch: Batch, *, count: int) -> None:
    """Raises if the batch and `estimate_sgr` disagree on the first draws."""
    for k in range(min(count, len(drawn.zero_shot))):
        one = estimate_sgr(drawn.zero_shot[k], drawn.easy[k], drawn.hard[k], level=LEVEL)
        pair = one.ratio.covariance
        half = batch.critical[k] * math.sqrt(batch.vyy[k])
        ours = [one.gap, one.gap_low or 0.0, pair.xx, pair.xy, pair.yy]
        theirs = [batch.y[k], batch.y[k] - half, batch.vxx[k], batch.vxy[k], batch.vyy[k]]
        same = np.allclose(ours, theirs, rtol=1e-6, atol=1e-9)
        if not same or (one.value is not None) != bool(batch.resolved[k]):
            raise AssertionError(f"the batch {theirs} is not the estimator {ours}")
