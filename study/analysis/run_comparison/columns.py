"""Columns of comparison.parquet: one row for each accuracy and SGR of two studies."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

from study.analysis.run_comparison.differences import RunComparison
from study.analysis.surface_columns import (
    FLOAT,
    INTEGER,
    P_VALUE,
    TEXT,
    Column,
    declared_table,
)

_UNIT = "fraction (accuracy) or share of a gap (SGR)"

COMPARISON_COLUMNS: tuple[Column, ...] = (
    Column("quantity", TEXT, "", "quantity", "accuracy or sgr"),
    Column("studies", TEXT, "", "studies", "both, or the only study that has it: A or B"),
    Column("model", TEXT, "", "where.model", "base model, without path or owner"),
    Column("task", TEXT, "", "where.task", "task"),
    Column("measure", TEXT, "", "where.measure", "hardness measure of the levels"),
    Column("method", TEXT, "", "where.method", "method, with factors that vary within a study"),
    Column("labels", TEXT, "", "where.labels", "source of supervision, or zero-shot"),
    Column("test_level", TEXT, "", "where.test_level", "level of the test items"),
    Column("a", FLOAT, _UNIT, "first", "value in A, on the common items if paired"),
    Column("b", FLOAT, _UNIT, "second", "value in B, on the common items if paired"),
    Column("difference", FLOAT, _UNIT, "difference.estimate", "A - B"),
    Column("difference_low", FLOAT, _UNIT, "difference.low", "lower end of its joint interval"),
    Column("difference_high", FLOAT, _UNIT, "difference.high", "upper end of its joint interval"),
    Column("p", FLOAT, P_VALUE, "difference.p_value", "two-sided, of the null that A = B"),
    Column("holm_p", FLOAT, P_VALUE, "holm_p", "p adjusted over all rows (Holm)"),
    Column("pairing", TEXT, "", "pairing", "paired by item id, unpaired, or same cells"),
    Column("a_items", INTEGER, "items", "first_items", "test items behind the value in A"),
    Column("b_items", INTEGER, "items", "second_items", "test items behind the value in B"),
    Column("fields", TEXT, "", "fields_text", "identity fields that differ, with A and B"),
    Column("reason", TEXT, "", "reason", "why there is no difference"),
)
"""In the order of the file."""


def comparison_table(comparison: RunComparison) -> pa.Table:
    """Returns comparison.parquet; the schema's metadata has both addresses and the level."""
    table = declared_table(COMPARISON_COLUMNS, comparison.rows)
    facts: Mapping[str, str] = {
        "a": comparison.first.address,
        "b": comparison.second.address,
        "level": f"{comparison.level:g}",
        "num_tests": str(comparison.num_tests),
    }
    metadata = {"comparison": json.dumps(facts)}
    return table.replace_schema_metadata(metadata)
