"""Multiple contrasts: Holm for those declared beforehand, false discovery rate for the rest."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from study.statistics.differences import check_level
from study.statistics.marginal_means import FloatArray

PValues = Sequence[float | None]
"""One p-value in [0, 1] a contrast; None where it could not be tested, which does not count."""


def holm(p_values: PValues) -> list[float | None]:
    """Returns Holm-adjusted p-values in the same order; None stays None.

    Rejecting those of at most alpha makes any false rejection at most alpha likely, whatever the
    dependence between the contrasts.

    Args:
        p_values: Of the contrasts that were declared together.

    Raises:
        ValueError: If a p-value is outside [0, 1].

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6
    (1979) 65-70.
    """
    tested = _tested(p_values)
    order = np.argsort(tested, kind="stable")
    steps = np.arange(len(tested), 0, -1) * tested[order]
    adjusted = np.empty_like(tested)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return _filled(p_values, adjusted)


def false_discovery(p_values: PValues) -> list[float | None]:
    """Returns p-values adjusted for exploration, in the same order; None stays None.

    Of those that are at most q, an expected share of q is false. The tests must be independent or
    positively dependent, as points that share a zero-shot arm are.

    Args:
        p_values: Of all contrasts that are looked at.

    Raises:
        ValueError: If a p-value is outside [0, 1].

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289-300.
    """
    tested = _tested(p_values)
    return _filled(p_values, stats.false_discovery_control(tested) if len(tested) else tested)


def simultaneous_level(level: float, num_contrasts: int) -> float:
    """Returns the level of each of several intervals that all cover with probability `level`.

    Holm's procedure has no simple intervals. These (Bonferroni) are valid for any dependence, and
    Holm rejects every contrast whose interval excludes the null.

    Args:
        level: Joint coverage, in (0, 1).
        num_contrasts: Number of declared contrasts, at least 1.

    Returns:
        1 - (1 - level) / num_contrasts, the `level` of every estimate.

    Raises:
        ValueError: If level is not in (0, 1) or there is no contrast.
    """
    check_level(level)
    if num_contrasts < 1:
        raise ValueError(f"num_contrasts must be at least 1, got {num_contrasts}")
    return 1.0 - (1.0 - level) / num_contrasts


def _tested(p_values: PValues) -> FloatArray:
    tested = np.array([p for p in p_values if p is not None], dtype=np.float64)
    bad = tested[~((tested >= 0.0) & (tested <= 1.0))]
    if len(bad):
        raise ValueError(f"p-values must be in [0, 1], got {bad.tolist()}")
    return tested


def _filled(p_values: PValues, adjusted: FloatArray) -> list[float | None]:
    """Puts adjusted p-values where there was one."""
    values = iter(adjusted.tolist())
    return [None if p is None else next(values) for p in p_values]
