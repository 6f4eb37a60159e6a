"""Does a selection take only the easiest of the hard? Read from hardness, without gold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from trainables.self_training.round_labels import DetectorResult, RoundLabels

LARGEST_EASE = 0.5
"""Standard deviations of the pool's hardness by which the selected are easier: half of one is a
medium difference in Cohen's convention (Statistical Power Analysis, 1988, section 2.2)."""


def easiest_of_the_hard(
    rounds: Sequence[RoundLabels], hardness: Mapping[str, float], levels: Mapping[str, str]
) -> DetectorResult:
    """By how many standard deviations the last selection is easier than its pool.

    Selected items count by their weights.

    Args:
        rounds: At least one, first to last.
        hardness: Item id -> hardness, known without gold.
        levels: Item id -> level, for the coverage of each.

    Raises:
        ValueError: If an item of the pool has no hardness or level.
    """
    last = rounds[-1]
    missing = [id_ for id_ in last.choices if id_ not in hardness or id_ not in levels]
    if missing:
        raise ValueError(
            f"{len(missing)} items of the pool have no hardness or level, such as {missing[0]!r}"
        )
    pool_mean, pool_sd = _mean_sd([hardness[id_] for id_ in last.choices])
    total = math.fsum(last.weights.values())
    value = None
    if total > 0.0 and pool_sd > 0.0:
        taken = math.fsum(weight * hardness[id_] for id_, weight in last.weights.items()) / total
        value = (pool_mean - taken) / pool_sd
    coverage = _coverage(last, levels)
    warning = None
    if value is not None and value > LARGEST_EASE:
        shares = ", ".join(f"{level} {share:.0%}" for level, share in coverage.items())
        warning = (
            f"the selected items are {value:.1f} standard deviations easier than the pool (warned "
            f"above {LARGEST_EASE}); selected by level: {shares}"
        )
    return DetectorResult(
        name="easiest of the hard",
        value=value,
        threshold=LARGEST_EASE,
        warning=warning,
        by_level=coverage,
    )


def _coverage(last: RoundLabels, levels: Mapping[str, str]) -> dict[str, float]:
    sizes = Counter(levels[id_] for id_ in last.choices)
    taken: dict[str, float] = dict.fromkeys(sorted(sizes), 0.0)
    for id_, weight in last.weights.items():
        taken[levels[id_]] += weight
    return {level: weight / sizes[level] for level, weight in taken.items()}


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
