"""tune_results.parquet: the rows that Ray Tune received, kept when Ray's own files are deleted.

Does not import Ray.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainables.storage.filesystem import Storage
from trainables.storage.records import parquet_bytes

Row = Mapping[str, Any]

PARAMETER = "parameter_"
"""Prefix of a searched hyper-parameter among the results of a trial; the file has no prefix."""


def _field(name: str, kind: pa.DataType, unit: str, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"unit": unit, "meaning": meaning})


_FACTORS = (
    _field("model", pa.string(), "", "base model"),
    _field("parameters", pa.int64(), "parameters", "size of the model"),
    _field("task", pa.string(), "", "task"),
    _field("measure", pa.string(), "", "hardness measure; null: no label is drawn"),
    _field("method", pa.string(), "", "how labels are used"),
    _field("condition", pa.string(), "", "which labels are used"),
    _field("train_level", pa.string(), "", "level of the labels, if only one"),
    _field("gap", pa.float64(), "", "mean hardness of all items minus that of the labels' levels"),
    _field("seed", pa.int64(), "", "seed of the draw; null: no label is drawn"),
    _field("threshold", pa.float64(), "", "confidence that self-training must exceed"),
)
_RESULT = (
    _field("accuracy", pa.float64(), "fraction", "of all scored items; null: the cell failed"),
    _field("seconds", pa.float64(), "seconds", "wall-clock time; of an epoch: since the start"),
    _field("trial_id", pa.string(), "", "Tune's id of the trial"),
    _field("training_iteration", pa.int64(), "rows", "rows of the trial so far"),
    _field("timestamp", pa.int64(), "seconds since 1970", "when Tune received the row"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultsFile:
    """A file of rows that Tune received."""

    key: str
    """Of the file in the run folder."""
    schema: pa.Schema
    """Its first columns; others follow, such as the hyper-parameters of a search."""
    identity: tuple[str, ...]
    """Columns that identify a row: a later row replaces an earlier one."""

    def row(self, result: Row) -> Row:
        """Returns the columns of the file from a result of Tune, which has its own in addition."""
        others = {
            key.removeprefix(PARAMETER): value
            for key, value in result.items()
            if key.startswith(PARAMETER)
        }
        return {**{name: result.get(name) for name in self.schema.names}, **others}


def cell_results(key: str) -> ResultsFile:
    """Returns the file of a sweep: one row per cell that ended on Ray."""
    schema = pa.schema(
        [
            _field("cell", pa.string(), "", "id of the cell"),
            _field("name", pa.string(), "", "label of the cell"),
            *_FACTORS,
            _field("round", pa.int64(), "", "round of self-training; 0: none"),
            _field("finished", pa.bool_(), "", "whether it has a record; otherwise it failed"),
            *_RESULT,
        ]
    )
    return ResultsFile(key=key, schema=schema, identity=("cell",))


def search_results(key: str) -> ResultsFile:
    """Returns the file of recipe searches: one row per trial and epoch."""
    epoch = _field("epoch", pa.int64(), "epochs", "from 1; a method without epochs has one")
    schema = pa.schema([*_FACTORS, epoch, *_RESULT])
    return ResultsFile(key=key, schema=schema, identity=("trial_id", "epoch"))


def add_results(storage: Storage, file: ResultsFile, rows: Sequence[Row]) -> None:
    """Adds rows to a file; writes nothing without rows.

    Args:
        storage: The run folder.
        file: The file; if it is not readable, it is replaced.
        rows: Values by column; the last of equal identity counts.
    """
    if not rows:
        return
    latest = {tuple(row[name] for name in file.identity): row for row in rows}
    table = _table(list(latest.values()), file.schema)
    earlier = _read(storage, file)
    if earlier is not None:
        is_known = pc.is_in(_identities(earlier, file), value_set=_identities(table, file))
        kept = earlier.filter(pc.invert(is_known))
        table = pa.concat_tables([kept, table], promote_options="permissive")
    storage.write_bytes(file.key, parquet_bytes(table))


def _table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    fixed = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    table = pa.table(fixed, schema=schema)
    for name in sorted({name for row in rows for name in row} - set(schema.names)):
        field = _field(name, pa.null(), "", "searched hyper-parameter")
        column = _column([row.get(name) for row in rows])
        table = table.append_column(field.with_type(column.type), column)
    return table


def _column(values: Sequence[Any]) -> pa.Array:
    """A column of floats where all values are numbers, else of texts."""
    if all(value is None or isinstance(value, int | float) for value in values):
        return pa.array(values, pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _identities(table: pa.Table, file: ResultsFile) -> pa.Array:
    parts = [pc.cast(table[name].combine_chunks(), pa.string()) for name in file.identity]
    return pc.binary_join_element_wise(*parts, "/")


def _read(storage: Storage, file: ResultsFile) -> pa.Table | None:
    """Returns the earlier rows; None if there are none, or they are of another version."""
    try:
        table = pq.read_table(io.BytesIO(storage.read_bytes(file.key)))
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    first = table.schema.names[: len(file.schema)]
    is_same = first == file.schema.names and table.select(first).schema.equals(file.schema)
    return table if is_same else None
