"""Sentences and cells of a comparison, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields

from search_spaces.explain import count
from study.analysis.run_comparison.coordinates import Coordinates
from study.analysis.run_comparison.differences import (
    PAIRED,
    SAME_CELLS,
    UNPAIRED,
    RunComparison,
    RunDifference,
)
from study.formatting import DASH, number, percent, points_span, span

HEADER = ("", "A", "B", "A - B", "interval", "p (Holm)", "items")
NUMBERS = ("A", "B", "A - B", "p (Holm)")

LEGEND = (
    "A - B: accuracies in %, their differences in points; SGR: shares of the gap. Intervals hold "
    "jointly at {level:g} %, p-values are Holm's, over all {tests} tested differences."
)

UNPAIRED_NOTE = (
    "unpaired: the task's data or split differs, so the studies count as independent samples of "
    "items; their draws of labels are not paired either"
)


NAMED = 3
"""Values of a coordinate that a sentence names; of more it gives the number."""


def overview(comparison: RunComparison) -> Iterator[str]:
    """Yields what was compared and what was found, a sentence each."""
    both = [row for row in comparison.rows if row.studies == "both"]
    counts = {
        quantity: sum(row.quantity == quantity for row in both) for quantity in ("accuracy", "sgr")
    }
    kinds = [
        f"{number_of} {pairing}"
        for pairing in (PAIRED, UNPAIRED, SAME_CELLS)
        if (number_of := sum(row.pairing == pairing for row in both))
    ]
    accuracies = count(counts["accuracy"], "accuracy", "accuracies")
    yield (
        f"Common to A and B: {accuracies} and {count(counts['sgr'], 'SGR')}"
        f"{'; ' if kinds else ''}{', '.join(kinds)}."
    )
    if not both:
        yield f"No point is common: {_apart(comparison)}."
    if comparison.num_tests:
        found = comparison.differing
        higher = sum((row.difference.estimate or 0.0) > 0.0 for row in found)
        alpha = 100.0 * (1.0 - comparison.level)
        yield (
            f"{len(found)} of {count(comparison.num_tests, 'tested difference')} are significant "
            f"at {alpha:.2g} % (Holm): {higher} higher in A, {len(found) - higher} higher in B."
        )
    for name in ("A", "B"):
        alone = comparison.only_in(name)
        if alone:
            yield f"Only {name} has {len(alone)}, such as {quantity_text(alone[0])}."


def _apart(comparison: RunComparison) -> str:
    """Returns the coordinates without a common value, or that all of them have one."""
    parts = []
    for field in fields(Coordinates):
        first, second = (
            dict.fromkeys(str(getattr(row.where, field.name)) for row in comparison.only_in(name))
            for name in ("A", "B")
        )
        if first.keys().isdisjoint(second):
            name = field.name.replace("_", " ")
            parts.append(f"{name} is {_listed(first)} in A and {_listed(second)} in B")
    return "; ".join(parts) or "each coordinate has common values, but not together"


def _listed(values: Collection[str]) -> str:
    more = f" and {len(values) - NAMED} more" * (len(values) > NAMED)
    return ", ".join([*values][:NAMED]) + more


def no_fields(comparison: RunComparison) -> str:
    """Returns why no identity field is listed."""
    if any(row.studies == "both" for row in comparison.rows):
        return "No identity field differs."
    return "Without a common point, no identity field is compared."


def legend(comparison: RunComparison) -> str:
    """Returns the units, and what the intervals and p-values cover."""
    return LEGEND.format(level=100.0 * comparison.level, tests=comparison.num_tests)


def quantity_text(row: RunDifference) -> str:
    """Returns the quantity with its coordinates."""
    return f"{'SGR' if row.quantity == 'sgr' else 'accuracy'}: {row.where.text}"


def cells(row: RunDifference) -> tuple[str, ...]:
    """Returns the texts of a row, in the columns of `HEADER`."""
    is_sgr, found = row.quantity == "sgr", row.difference
    share = number if is_sgr else percent
    if found.estimate is None or found.low is None:
        interval, estimate = row.reason or "", DASH
    elif is_sgr:
        interval, estimate = span(found.low, found.high), f"{found.estimate:+.2f}"
    else:
        interval, estimate = points_span(found.low, found.high), percent(found.estimate, sign=True)
    return (
        quantity_text(row),
        share(row.first),
        share(row.second),
        estimate,
        interval,
        DASH if row.holm_p is None else f"{row.holm_p:.3f}",
        _items(row),
    )


def _items(row: RunDifference) -> str:
    """The test items, and whether they are the same in both studies."""
    if row.pairing is None:
        return ""
    if row.first_items is None or row.pairing == SAME_CELLS:
        return row.pairing
    if row.pairing == PAIRED:
        return f"{row.first_items} {PAIRED}"
    return f"{row.first_items}, {row.second_items} {UNPAIRED}"
