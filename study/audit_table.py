"""The audit of self-training as a table: audit.parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from study.audit import AuditRow


def audit_table(rows: Sequence[AuditRow]) -> pa.Table:
    """Returns the rows as a tidy table, as audit.parquet has it; what there is not is null."""
    names = AuditRow.__slots__
    return pa.table(
        {
            name: pa.array([_plain(getattr(row, name)) for row in rows], _TYPES.get(name))
            for name in names
        }
    )


_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("measure", "level"), pa.string()),
    **dict.fromkeys(
        ("ssrm_round", "seed", "num_items", "num_confident", "num_selected"), pa.int64()
    ),
    **dict.fromkeys(
        (
            "threshold",
            "threshold_used",
            "temperature",
            "coverage",
            "selected_accuracy",
            "selected_confidence",
            "target_accuracy",
        ),
        pa.float64(),
    ),
    **dict.fromkeys(("histogram_right", "histogram_wrong"), pa.list_(pa.int64())),
}
"""Types of the columns that can be all null or are lists."""


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
