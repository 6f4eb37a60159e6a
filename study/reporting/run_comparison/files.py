"""Writes a comparison of two studies: a page and a parquet file in the folder of the first."""

from __future__ import annotations

from study.analysis.run_comparison.columns import comparison_table
from study.analysis.run_comparison.differences import UNPAIRED, RunComparison
from study.reporting.html import render
from study.reporting.run_comparison.sentences import (
    HEADER,
    NUMBERS,
    UNPAIRED_NOTE,
    cells,
    legend,
    no_fields,
    overview,
    quantity_text,
)
from study.reporting.run_comparison.terminal import field_cells
from trainables.storage import layout
from trainables.storage.filesystem import Storage, written_together
from trainables.storage.records import parquet_bytes


def write_comparison(storage: Storage, space: str, comparison: RunComparison) -> tuple[str, str]:
    """Writes the page and the table; returns their paths.

    Args:
        storage: The run folder of the first study.
        space: Its name.
        comparison: The two studies.
    """
    page, table = layout.report(space, "comparison.html"), layout.comparison(space)
    with written_together(storage, last=page) as staged:
        staged.write_bytes(table, parquet_bytes(comparison_table(comparison)))
        staged.write_bytes(page, render_comparison(comparison).encode())
    return storage.path(page), storage.path(table)


def render_comparison(comparison: RunComparison) -> str:
    """Returns comparison.html, which needs no network and no other file."""
    sgrs, accuracies = (
        [row for row in comparison.rows if row.quantity == quantity and row.studies == "both"]
        for quantity in ("sgr", "accuracy")
    )
    return render(
        "comparison.html",
        comparison=comparison,
        overview=tuple(overview(comparison)),
        legend=legend(comparison),
        note=UNPAIRED_NOTE if any(row.pairing == UNPAIRED for row in comparison.rows) else "",
        no_fields=no_fields(comparison),
        header=HEADER,
        numbers=NUMBERS,
        tables=(("SGR", sgrs), ("Accuracy", accuracies)),
        cells=cells,
        field_cells=field_cells,
        quantity_text=quantity_text,
        alpha=1.0 - comparison.level,
    )
