"""Many contrasts at once: Holm for those declared beforehand, false discovery rate for the rest."""

from collections.abc import Mapping
from typing import Literal

from study.statistics.differences import check_level

PValues = Mapping[str, float | None]
"""Name of a contrast -> p-value; None = it could not be tested, and does not count."""


def holm(p_values: PValues) -> dict[str, float | None]:
    """Holm-adjusted p-values: reject where at most alpha, and errors stay rare over all.

    Args:
        p_values: p-values in [0, 1] of the contrasts that were declared together.

    Returns:
        Adjusted p-values under the same names, in the same order; None stays None. The chance of
        any false rejection is at most alpha, however the contrasts depend on each other.

    Raises:
        ValueError: If a p-value is outside [0, 1].

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6
    (1979) 65-70.
    """
    ranked = _ranked(p_values)
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p_value) in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - rank) * p_value))
        adjusted[name] = largest
    return {name: adjusted.get(name) for name in p_values}


def false_discovery(
    p_values: PValues, *, dependence: Literal["positive", "any"] = "positive"
) -> dict[str, float | None]:
    """Adjusted p-values for exploration: among those at most q, a share q is expected false.

    Args:
        p_values: p-values in [0, 1].
        dependence: "positive" (Benjamini and Hochberg): tests independent or positively
            dependent, as points that share a zero-shot arm are. "any" (Benjamini and Yekutieli):
            whatever the dependence, at the price of a factor of about log(number of tests).

    Returns:
        Adjusted p-values under the same names, in the same order; None stays None.

    Raises:
        ValueError: If a p-value is outside [0, 1].

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289-300; Benjamini and Yekutieli,
    Ann. Stat. 29 (2001) 1165-1188.
    """
    ranked = _ranked(p_values)
    count = len(ranked)
    factor = 1.0 if dependence == "positive" else sum(1.0 / k for k in range(1, count + 1))
    adjusted: dict[str, float] = {}
    smallest = 1.0
    for rank in range(count, 0, -1):
        name, p_value = ranked[rank - 1]
        smallest = min(smallest, factor * count / rank * p_value)
        adjusted[name] = smallest
    return {name: adjusted.get(name) for name in p_values}


def simultaneous_level(level: float, num_contrasts: int) -> float:
    """Level of each of several intervals that are to hold together with chance `level`.

    Holm's procedure has no simple intervals of its own; these (Bonferroni) are valid for any
    dependence, and every contrast whose interval excludes the null is also rejected by Holm.

    Args:
        level: Wanted joint coverage, in (0, 1).
        num_contrasts: Number of declared contrasts, at least 1.

    Returns:
        1 - (1 - level) / num_contrasts, to be given as `level` to every estimate.

    Raises:
        ValueError: If level is no coverage or there is no contrast.
    """
    check_level(level)
    if num_contrasts < 1:
        raise ValueError(f"num_contrasts must be at least 1, got {num_contrasts}")
    return 1.0 - (1.0 - level) / num_contrasts


def _ranked(p_values: PValues) -> list[tuple[str, float]]:
    """Names with their p-values, smallest first; those without are left out."""
    given = [(name, p_value) for name, p_value in p_values.items() if p_value is not None]
    bad = {name: p_value for name, p_value in given if not 0.0 <= p_value <= 1.0}
    if bad:
        raise ValueError(f"p-values must be in [0, 1], got {bad}")
    return sorted(given, key=lambda pair: pair[1])
