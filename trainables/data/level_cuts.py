"""Cuts of a measure into 2 to 6 levels, by fixed thresholds or by quantiles.

Levels of one cut never overlap and leave no item out. Equal values stay in one level, so ties can
make a level larger than its share, or leave none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np

from search_spaces.levels import Level

QUANTILES = (0.3, 0.7)
"""The paper's thresholds for every measure without natural levels (arXiv:2401.06751, section 3):
easy is at most the 30th percentile, hard at least the 70th, both ends inclusive."""

LEVEL_NAMES: Mapping[int, tuple[str, ...]] = {
    2: ("easy", "hard"),
    3: ("easy", "medium", "hard"),
    4: ("easy", "medium-easy", "medium-hard", "hard"),
    5: ("easy", "medium-easy", "medium", "medium-hard", "hard"),
    6: ("easiest", "easy", "medium-easy", "medium-hard", "hard", "hardest"),
}

MAX_SINGLES = 12
"""Most values of a whole-numbered measure for which each value is a separate level."""


def fixed_cut(bounds: Mapping[str, tuple[float, float]]) -> tuple[Level, ...]:
    """Returns levels with the given inclusive bounds, in the order given.

    Raises:
        ValueError: If there are fewer than 2 or more than 6, or they overlap or go down.
    """
    levels = tuple(Level(name=name, low=low, high=high) for name, (low, high) in bounds.items())
    _check_number(len(levels))
    for easier, harder in pairwise(levels):
        if harder.low <= easier.high:
            raise ValueError(
                f"level {harder.name!r} begins at {harder.low:g}, but {easier.name!r} ends at "
                f"{easier.high:g}: levels go from easy to hard and do not overlap"
            )
    return levels


def quantile_cut(
    values: Collection[float],
    probabilities: Sequence[float] = QUANTILES,
    names: Sequence[str] | None = None,
) -> tuple[Level, ...]:
    """Returns levels between quantiles: the lowest up to the first, the highest from the last on.

    Args:
        values: The measure of all items.
        probabilities: Increasing, each in (0, 1); one fewer than there are levels.
        names: Names from easy to hard; default `LEVEL_NAMES`.

    Returns:
        Levels with the paper's rule at both ends (x <= first quantile is the easiest, x >= last the
        hardest); inner levels end at their quantile. A value that is both goes to the easier level.
        A level for which ties leave no value is missing.

    Raises:
        ValueError: If there are no values, or the probabilities are no thresholds.
    """
    ordered = tuple(probabilities)
    if any(not 0 < p < 1 for p in ordered) or any(b <= a for a, b in pairwise(ordered)):
        raise ValueError(f"probabilities must rise inside (0, 1), got {ordered}")
    _check_number(len(ordered) + 1)
    if not values:
        raise ValueError("a cut needs the values of at least one item")
    names = names or LEVEL_NAMES[len(ordered) + 1]
    distinct = np.unique(np.fromiter(values, float))
    thresholds = np.quantile(np.fromiter(values, float), ordered)
    starts = [0, *np.searchsorted(distinct, thresholds[:-1], side="right").tolist()]
    # The hardest level takes its threshold's own value, unless an easier level has it already.
    last = int(np.searchsorted(distinct, thresholds[-1], side="left"))
    starts.append(max(last, starts[-1]) if len(starts) > 1 else last + 1)
    bounds = zip(names, pairwise([*starts, len(distinct)]), strict=True)
    return tuple(
        Level(name=name, low=float(distinct[start]), high=float(distinct[stop - 1]))
        for name, (start, stop) in bounds
        if start < stop
    )


def single_levels(values: Collection[float]) -> tuple[Level, ...]:
    """Returns a level for each value of a whole-numbered measure with few values, else nothing."""
    distinct = sorted(set(values))
    if not 2 <= len(distinct) <= MAX_SINGLES or any(value % 1 for value in distinct):
        return ()
    return tuple(Level(name=f"{value:g}", low=value, high=value) for value in distinct)


def standard_cuts(
    measures: Mapping[str, Mapping[str, float]], fixed: Mapping[str, tuple[Level, ...]]
) -> dict[str, tuple[Level, ...]]:
    """Returns the standard levels of every measure: the task's own, else the paper's quantiles.

    A measure whose items all have one value has no levels.
    """
    cuts = {}
    for name, values in measures.items():
        levels = fixed.get(name) or quantile_cut(values.values())
        if len(levels) > 1:
            cuts[name] = levels
    return cuts


def _check_number(num_levels: int) -> None:
    if num_levels not in LEVEL_NAMES:
        raise ValueError(f"a cut has 2 to 6 levels, got {num_levels}")
