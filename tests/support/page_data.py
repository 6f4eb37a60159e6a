"""Reads the rows that a report page holds."""

from __future__ import annotations

import json
import re
from typing import Any


def page_data(page: str) -> Any:
    """Returns the JSON of a page."""
    found = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found.group(1))


def decoded(column: Any) -> list[Any]:
    """Returns the values of a column."""
    return column if isinstance(column, list) else [column["of"][i] for i in column["at"]]


def page_rows(page: str, table: str) -> list[dict[str, Any]]:
    """Returns the rows of a table of the page."""
    part = page_data(page)["tables"][table]
    names = [column["name"] for column in part["columns"]]
    return [
        dict(zip(names, row, strict=True))
        for row in zip(*map(decoded, part["values"]), strict=True)
    ]


def chart_rows(page: str, chart: str) -> list[dict[str, Any]]:
    """Returns the rows of a chart of the page."""
    part = page_data(page)["charts"][chart]
    rows = zip(*map(decoded, part["values"]), strict=True)
    return [dict(zip(part["columns"], row, strict=True)) for row in rows]
