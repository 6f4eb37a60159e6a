"""A published table for the terminal, with the intervals that its means and seeds allow."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.explain import count
from study.analysis.means_tables import MeansTable, compare_sources, estimate_sources
from study.formatting import DASH, Table, number, percent, points_span, span


def means_parts(table: MeansTable, *, level: float = 0.95) -> Iterator[str | Table]:
    """Yields the share that each source recovers, and how the sources differ."""
    estimates = estimate_sources(table, level=level)
    first = next(iter(estimates.values()))
    gap = points_span(first.gap_low, first.gap_high)
    yield (
        f"Share of {table.ceiling} - {table.floor} ({percent(first.gap)} points) recovered, "
        f"{100 * level:g} % intervals"
    )
    yield Table(
        header=("arm", "seeds", "accuracy %", "share", "interval", "verdict"),
        rows=[
            (
                name,
                str(len(table.arms[name])),
                percent(found.easy),
                number(found.value),
                span(found.low, found.high) or DASH,
                "; ".join(filter(None, (found.verdict, found.verdict_note))),
            )
            for name, found in estimates.items()
        ],
        numbers=("seeds", "accuracy %", "share"),
    )
    yield (
        f"{table.floor} {percent(first.zero_shot)} % "
        f"({count(len(table.arms[table.floor]), 'seed')}), "
        f"{table.ceiling} {percent(first.hard)} % "
        f"({count(len(table.arms[table.ceiling]), 'seed')}); "
        f"gap {gap or DASH}"
    )
    differences = compare_sources(table, level=level)
    if first.value is None or not differences:
        return
    yield "\nDifferences of shares, unadjusted p-values"
    yield Table(
        header=("difference", "share", "interval", "p"),
        rows=[
            (
                f"{one.first} - {one.second}",
                number(one.ratio.ratio),
                DASH
                if one.ratio.fieller is None
                else span(one.ratio.fieller.low, one.ratio.fieller.high),
                DASH if (p := one.ratio.p_value(0.0)) is None else f"{p:.3f}",
            )
            for one in differences
        ],
        numbers=("share", "p"),
    )
