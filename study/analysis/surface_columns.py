"""Columns of tables: the name, type, unit, source and meaning of each, declared once.

`COLUMNS` are those of surface.parquet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from search_spaces.supervision import SelfTraining
from study.analysis.surface_rows import Scalar, SurfaceRow, scalar_text

if TYPE_CHECKING:
    import pandas as pd

TEXT, INTEGER, FLOAT = pa.string(), pa.int64(), pa.float64()

FRACTION, SHARE, P_VALUE = "fraction", "share of a gap", "p-value"
"""Units. Accuracies and their differences are fractions; the report shows percent and points."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; a missing value is null."""

    name: str
    kind: pa.DataType
    unit: str
    """Empty for texts and scales without a unit."""
    path: str
    """Attribute of a row, or of one of its attributes: `sgr.low`."""
    meaning: str
    """For a reader of the table, without a full stop."""

    @property
    def field(self) -> pa.Field:
        """The column in the schema of a parquet file, documented."""
        return documented_field(self.name, self.kind, unit=self.unit, meaning=self.meaning)

    @property
    def help(self) -> str:
        """The meaning with its unit: `accuracy of the untrained model (fraction)`."""
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning

    def value(self, row: object) -> Scalar:
        """Returns the row's value; None where it, or an attribute on the path to it, is missing."""
        value: Any = row
        for name in _names(self.path):
            if value is None:
                return None
            value = value.get(name) if isinstance(value, dict) else getattr(value, name)
        value = "; ".join(value) if isinstance(value, tuple) else value
        return None if value == "" else value


@cache
def _names(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def interval_columns(
    name: str, unit: str, meaning: str, *, has_p_value: bool = True
) -> Iterator[Column]:
    """Yields the columns of an estimate: its value, both ends of its interval, and its p-value."""
    yield Column(name, FLOAT, unit, f"{name}.estimate", meaning)
    yield Column(f"{name}_low", FLOAT, unit, f"{name}.low", f"lower end of the interval of {name}")
    yield Column(
        f"{name}_high", FLOAT, unit, f"{name}.high", f"upper end of the interval of {name}"
    )
    if has_p_value:
        null = f"two-sided p-value of the null that {name} is 0"
        yield Column(f"{name}_p", FLOAT, P_VALUE, f"{name}.p_value", null)


SSRM_OPTIONS = {name: f"ssrm_{name}" for name in SelfTraining.model_fields if name != "threshold"}
"""Option of self-training -> its column; the column of the threshold has no prefix."""

_OPTION_TYPES = {"n_validation": INTEGER, "max_unlabelled": INTEGER, "label_smoothing": FLOAT}

_OPTION = "option of self-training (`search_spaces.supervision.SelfTraining`)"

_UNREADABLE = "share of the arm's generated answers that could not be read"

COLUMNS: tuple[Column, ...] = (
    Column("model", TEXT, "", "point.model", "base model"),
    Column("num_params", INTEGER, "parameters", "point.num_params", "size of the model"),
    Column("task", TEXT, "", "point.task", "task"),
    Column("measure", TEXT, "", "point.measure", "hardness measure of the levels"),
    Column("method", TEXT, "", "point.recipe.method", "method of the recipe"),
    Column("recipe", TEXT, "", "recipe_text", "recipe with all its factors"),
    Column("condition", TEXT, "", "point.condition", "source of supervision"),
    Column("variant", TEXT, "", "point.variant", "difference from conditions of its name"),
    Column("role", TEXT, "", "role", "labels, self-training or control"),
    Column("train_level", TEXT, "", "point.train_level.name", "level of the labels, if only one"),
    Column("test_level", TEXT, "", "point.test_level.name", "level of the test items"),
    Column(
        "difficulty_gap", FLOAT, "", "point.difficulty_gap", "mean hardness, test minus labelled"
    ),
    Column("num_labels", INTEGER, "labels", "point.num_labels", "labels of one seed of the source"),
    Column("search_labels", INTEGER, "labels", "point.search_labels", "labels that a search used"),
    Column(
        "label_cost", FLOAT, "labels of the easiest level", "point.label_cost", "price of a label"
    ),
    Column("label_kind", TEXT, "", "label_kind", "how the labels were made"),
    Column(
        "noise_rate", FLOAT, FRACTION, "point.noise_rate", "labels wrong (paper noise: redrawn)"
    ),
    Column("threshold", FLOAT, "", "point.threshold", "confidence that self-training must exceed"),
    Column("ssrm_round", INTEGER, "", "point.ssrm_round", "round of self-training, from 1"),
    *(
        Column(column, _OPTION_TYPES.get(name, TEXT), "", f"point.self_training.{name}", _OPTION)
        for name, column in SSRM_OPTIONS.items()
    ),
    Column("zero_shot", FLOAT, FRACTION, "zero_shot", "accuracy of the untrained model"),
    Column("easy", FLOAT, FRACTION, "easy", "accuracy after training on the source"),
    Column("hard", FLOAT, FRACTION, "hard", "accuracy after training on hard labels"),
    *interval_columns("sgr", SHARE, "(source - zero-shot) / (hard - zero-shot)", has_p_value=False),
    Column("verdict", TEXT, "", "verdict", "whether the gap is resolved"),
    Column("verdict_note", TEXT, "", "verdict_note", "reasons, and what the interval leaves out"),
    Column("caveats", TEXT, "", "caveats", "what must accompany the SGR"),
    Column("chance", FLOAT, FRACTION, "floor.chance", "accuracy of guessing on the test level"),
    *interval_columns(
        "gap", FRACTION, "hard - zero-shot, the denominator of SGR", has_p_value=False
    ),
    *interval_columns("easy_gain", FRACTION, "source - zero-shot"),
    *interval_columns("hard_gain", FRACTION, "hard - zero-shot"),
    *interval_columns("hard_minus_easy", FRACTION, "hard - source"),
    Column(
        "full_recovery_p", FLOAT, P_VALUE, "sgr.p_value", "two-sided, of the null that SGR is 1"
    ),
    Column("start", FLOAT, FRACTION, "start", "accuracy before self-training"),
    *interval_columns("ssrm_gain", FRACTION, "source - start: what self-training adds"),
    *interval_columns("residual", SHARE, "(source - start) / (hard - start)", has_p_value=False),
    Column("residual_verdict", TEXT, "", "residual_verdict", "whether hard - start is resolved"),
    *interval_columns(
        "format_matched", SHARE, "(source - trivial) / (hard - trivial)", has_p_value=False
    ),
    Column(
        "format_matched_verdict",
        *(TEXT, "", "format_matched_verdict", "whether hard - trivial is resolved"),
    ),
    Column("num_items", INTEGER, "items", "num_items", "test items"),
    Column("num_seeds", INTEGER, "seeds", "num_seeds", "seeds of the trained arm with fewest"),
    Column("missing_share", FLOAT, FRACTION, "missing_share", "(item, seed) pairs unscored"),
    *(
        # Self-training scores choices, so its start generates no answers.
        Column(f"{arm}_unreadable", FLOAT, FRACTION, f"unreadable.{arm}", _UNREADABLE)
        for arm in ("zero_shot", "easy", "hard")
    ),
    Column("pool_overlap", FLOAT, FRACTION, "point.pool_overlap", "labelled items two seeds share"),
    Column("num_cells", INTEGER, "cells", "num_cells", "distinct cells of the arms"),
    Column("cell_seconds", FLOAT, "seconds", "cell_seconds", "wall-clock time of finished cells"),
    Column("reason", TEXT, "", "reason", "why there is no estimate"),
)
"""In the order of the file; one column a recipe factor follows."""


def surface_table(rows: Sequence[SurfaceRow]) -> pa.Table:
    """Returns the surface as a tidy table: one row a point, every recipe factor a column.

    The fields of its schema have the unit and the meaning of each column as metadata.
    """
    table = declared_table(COLUMNS, rows)
    fixed = set(table.column_names)
    factors = [row.factors for row in rows]
    for name in dict.fromkeys(name for values in factors for name in values):
        key = f"recipe_{name}" if name in fixed else name
        column = _factor_column([values.get(name) for values in factors])
        field = documented_field(key, column.type, unit="", meaning=f"{name} of the recipe")
        table = table.append_column(field, column)
    return table


def surface_frame(rows: Sequence[SurfaceRow]) -> pd.DataFrame:
    """Returns `surface_table` as a pandas frame of nullable types; a missing value is `pd.NA`.

    `frame.attrs["columns"]` has the unit and the meaning of each column.
    """
    import pandas as pd  # takes half a second, and commands do without it

    types = {TEXT: pd.StringDtype(), INTEGER: pd.Int64Dtype(), FLOAT: pd.Float64Dtype()}
    table = surface_table(rows)
    frame = table.to_pandas(types_mapper=types.get)
    frame.attrs["columns"] = {field.name: documentation(field) for field in table.schema}
    return frame


def documented_field(name: str, kind: pa.DataType, *, unit: str, meaning: str) -> pa.Field:
    """Returns a field of a schema with the unit and the meaning of its values."""
    return pa.field(name, kind, metadata={"unit": unit, "meaning": meaning})


def documentation(field: pa.Field) -> dict[str, str]:
    """Returns the `unit` and the `meaning` of a documented field."""
    return {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}


def declared_table(columns: Sequence[Column], rows: Sequence[object]) -> pa.Table:
    """Returns a table with the declared columns and the values of the rows."""
    arrays = [pa.array([column.value(row) for row in rows], type=column.kind) for column in columns]
    return pa.table(arrays, schema=pa.schema([column.field for column in columns]))


def _factor_column(values: Sequence[Scalar]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return pa.array(values, type=INTEGER)
    if kinds <= {int, float}:
        return pa.array(values, type=FLOAT)
    return pa.array([None if v is None else scalar_text(v) for v in values], type=TEXT)
