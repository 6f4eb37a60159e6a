"""Estimates with variance: contrasts of arms and the components of their joint covariance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.statistics.influences import Influences
from study.statistics.marginal_means import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Component:
    """One independent part of the covariance of the contrasts."""

    covariance: FloatArray
    """[contrasts, contrasts] covariance of the estimates (already divided by N or S)."""
    df: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearEstimate:
    """A linear combination of contrasts with its variance."""

    estimate: float
    variance: float
    nu: float | None
    """Satterthwaite degrees of freedom; None without variance."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moments:
    """Contrasts and the components of their joint covariance."""

    values: FloatArray
    components: tuple[Component, ...]

    @property
    def covariance(self) -> FloatArray:
        """[contrasts, contrasts] total covariance."""
        total = np.zeros((len(self.values), len(self.values)))
        for component in self.components:
            total = total + component.covariance
        return total

    def combine(self, weights: Sequence[float]) -> LinearEstimate:
        """Estimate, variance and degrees of freedom of a weighted sum of the contrasts.

        Args:
            weights: One weight a contrast.

        Returns:
            nu = (sum c_k)^2 / sum(c_k^2 / df_k) over the components' variances c_k.

        Source: F. E. Satterthwaite, "An approximate distribution of estimates of variance
        components", Biometrics Bulletin 2 (1946) 110-114.
        """
        parts = [(_quadratic(c.covariance, weights), c.df) for c in self.components]
        return LinearEstimate(
            estimate=float(np.dot(weights, self.values)),
            variance=sum(part for part, _ in parts),
            nu=satterthwaite(parts),
        )


def satterthwaite(parts: Sequence[tuple[float, int]]) -> float | None:
    """Degrees of freedom of a sum of variances, each given with its own degrees of freedom.

    Args:
        parts: (variance >= 0, df >= 1) of each component.

    Returns:
        (sum c)^2 / sum(c^2 / df); None where all variances are 0.
    """
    largest = max((part for part, _ in parts), default=0.0)
    if largest == 0.0:
        return None
    # Relative to the largest part, so that the square of a small variance does not underflow.
    shares = [(part / largest, df) for part, df in parts]
    total = sum(share for share, _ in shares)
    return total * total / sum(share * share / df for share, df in shares)


def moments(parts: Influences) -> Moments:
    """Covariance components of the contrasts of one set of arms.

    Args:
        parts: Influences with at least two units.

    Returns:
        The item component (df = units - 1), then a component for each group of arms with common
        draws (df = seeds - 1). Both contain the item x seed interaction, which is conservative.

    Raises:
        ValueError: If there is only one unit.
    """
    if parts.unit_weights is None:
        raise ValueError("one item (or one cluster) has no variance over items")
    units = parts.unit_weights
    item = Component(covariance=units.T @ units, df=len(units) - 1)
    seeds = (Component(covariance=d.weights.T @ d.weights, df=d.df) for d in parts.draws)
    return Moments(values=parts.values, components=(item, *seeds))


def independent(first: Moments, second: Moments) -> Moments:
    """Joint moments of the contrasts of two samples without common items and draws.

    Args:
        first: Its contrasts come first.
        second: Of the other sample.

    Returns:
        The covariance between the samples is 0; each component keeps its degrees of freedom, so
        that a difference has those of Welch's test.

    Source: B. L. Welch, "The generalization of 'Student's' problem when several different
    population variances are involved", Biometrika 34 (1947) 28-35.
    """
    before, after = len(first.values), len(second.values)
    padded = [(component, (0, after)) for component in first.components]
    padded += [(component, (before, 0)) for component in second.components]
    return Moments(
        values=np.concatenate([first.values, second.values]),
        components=tuple(
            Component(covariance=np.pad(component.covariance, widths), df=component.df)
            for component, widths in padded
        ),
    )


def _quadratic(matrix: FloatArray, w: Sequence[float]) -> float:
    """Quadratic form w' matrix w of a covariance matrix; rounding errors become exactly 0."""
    value = size = 0.0
    # Plain floats: on a 2 x 2 matrix numpy's overhead is ten times the work.
    for left, row in zip(w, matrix.tolist(), strict=True):
        for right, entry in zip(w, row, strict=True):
            term = left * entry * right
            value += term
            size += abs(term)
    return value if value > 1e-13 * size else 0.0
