"""The surface as files for other programs: CSV and JSON with every column, LaTeX for a paper."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyarrow import csv

from study.analysis.names import recipe_labels
from study.analysis.surface import Surface
from study.analysis.surface_columns import documentation
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import number, percent, span

_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
}
"""Characters that are commands of LaTeX, or other characters in its default font."""

_HEADER = (
    *("model", "method", "trained on", "tested on", "zero-shot", "source", "hard"),
    *("SGR", "interval", "verdict"),
)
_ALIGNMENT = "llllrrrrll"


DOWNLOADS = {"CSV": "surface.csv", "JSON": "surface.json", "LaTeX": "surface.tex"}
"""Format -> file next to the page."""


def surface_downloads(surface: Surface) -> Mapping[str, bytes]:
    """Returns file name -> content of the table of points in every format."""
    return {
        DOWNLOADS["CSV"]: _csv(surface.table),
        DOWNLOADS["JSON"]: _json(surface.table),
        DOWNLOADS["LaTeX"]: latex_table(surface.rows).encode(),
    }


def _csv(table: pa.Table) -> bytes:
    """Returns the table with a header; a missing value is an empty field."""
    buffer = io.BytesIO()
    csv.write_csv(table, buffer)
    return buffer.getvalue()


def _json(table: pa.Table) -> bytes:
    """Returns `columns`, the unit and the meaning of each, and `rows`; a missing value is null."""
    content = {
        "columns": {field.name: documentation(field) for field in table.schema},
        "rows": table.to_pylist(),
    }
    return json.dumps(content, allow_nan=False).encode()


def latex_table(rows: Sequence[SurfaceRow]) -> str:
    """Returns a `longtable` (packages booktabs and longtable): accuracies in %, SGR, its interval.

    It has the columns that a page can hold; the other formats have all.
    """
    labels = recipe_labels(row.point.recipe for row in rows)
    lines = [" & ".join(map(escaped, _cells(row, labels))) + r" \\" for row in rows]
    return "\n".join(
        (
            rf"\begin{{longtable}}{{{_ALIGNMENT}}}",
            r"\toprule",
            " & ".join(_HEADER) + r" \\",
            r"\midrule",
            r"\endhead",
            *lines,
            r"\bottomrule",
            r"\end{longtable}",
            "",
        )
    )


def _cells(row: SurfaceRow, labels: Mapping[str, str]) -> tuple[str, ...]:
    point = row.point
    return (
        point.model,
        labels[recipe_text(point.recipe)],
        point.source,
        point.test_level.name,
        *map(percent, (row.zero_shot, row.easy, row.hard)),
        number(row.sgr.estimate),
        span(row.sgr.low, row.sgr.high),
        row.verdict or f"no estimate: {row.reason}",
    )


def escaped(text: str) -> str:
    """Returns a text that LaTeX prints as it is."""
    return re.sub(r"[&%$#_{}\\~^<>]", lambda match: _SPECIAL[match[0]], text)
