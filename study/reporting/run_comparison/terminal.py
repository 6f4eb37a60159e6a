"""A comparison of two studies on the terminal: a summary, or every difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search_spaces.explain import count
from study.analysis.run_comparison.differences import (
    SAME_CELLS,
    UNPAIRED,
    RunComparison,
    RunDifference,
)
from study.analysis.run_comparison.identity import FieldDifference
from study.formatting import Table
from study.reporting.run_comparison.sentences import (
    HEADER,
    NUMBERS,
    UNPAIRED_NOTE,
    cells,
    legend,
    no_fields,
    overview,
)

MAX_ROWS = 12
"""Rows of each table of the summary."""


def comparison_parts(
    comparison: RunComparison, *, files: Sequence[str], table: bool = False
) -> Iterator[str | Table]:
    """Yields what two studies have in common and how they differ.

    Args:
        comparison: The two studies.
        files: Lines that name the files of the comparison.
        table: Whether to list every difference and everything that only one study has.
    """
    yield f"A: {comparison.first.address}\nB: {comparison.second.address}"
    yield from overview(comparison)
    rows = comparison.rows if table else _main_rows(comparison)
    if rows:
        yield ""
        yield Table(header=HEADER, rows=[cells(row) for row in rows], numbers=NUMBERS)
        yield legend(comparison)
        if any(row.pairing == UNPAIRED for row in rows):
            yield UNPAIRED_NOTE
    yield ""
    yield from _fields(comparison, limit=None if table else MAX_ROWS)
    if len(rows) < len(comparison.rows):
        yield f"--table prints all: {count(len(comparison.rows), 'row')}"
    yield from files


def _main_rows(comparison: RunComparison) -> tuple[RunDifference, ...]:
    """The significant differences, filled up with other SGRs and accuracies of both studies."""
    both = [row for row in comparison.rows if row.studies == "both" and row.pairing != SAME_CELLS]
    order = {id(row): place for place, row in enumerate(comparison.differing)}
    ranked = sorted(both, key=lambda row: (order.get(id(row), len(order)), row.quantity != "sgr"))
    return tuple(ranked[:MAX_ROWS])


def _fields(comparison: RunComparison, *, limit: int | None) -> Iterator[str | Table]:
    fields = comparison.fields
    if not fields:
        yield no_fields(comparison)
        return
    yield "Fields that differ"
    yield Table(
        header=("field", "A", "B", "arms"),
        rows=[field_cells(field) for field in fields[:limit]],
        numbers=("arms",),
    )
    if limit is not None and len(fields) > limit:
        yield f"and {count(len(fields) - limit, 'other field')}"


def field_cells(field: FieldDifference) -> tuple[str, str, str, str]:
    """Returns a field with both values and the number of arms that differ in it."""
    arms = "all" if field.num_arms is None else str(field.num_arms)
    return (field.name, field.first, field.second, arms)
