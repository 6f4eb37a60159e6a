"""The state of a parent cell, as its children need it: trained weights and selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.cells.trained_state import read_state
from trainables.self_training.confidence import ConfidenceState
from trainables.self_training.rounds import Teacher
from trainables.self_training.selection_rows import PoolRow
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import parquet_bytes, read_file, read_record

SELECTION_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("trained_on", pa.string()),
        pa.field("is_confident", pa.bool_(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("choices", pa.list_(pa.string()), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
        pa.field("raw_probabilities", pa.list_(pa.float64())),
        pa.field("first_position", pa.float64()),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("label_after", pa.string()),
        pa.field("confidence_after", pa.float64(), nullable=False),
        pa.field("probabilities_after", pa.list_(pa.float64()), nullable=False),
        pa.field("raw_probabilities_after", pa.list_(pa.float64())),
        pa.field("first_position_after", pa.float64()),
    ]
)
"""Columns of selection.parquet, a row per unlabelled item (`PoolRow`), without gold labels: the
audit joins them afterwards, by id."""


def selection_bytes(rows: Sequence[PoolRow]) -> bytes:
    """Returns the content of selection.parquet."""
    columns = {
        field.name: pa.array([_plain(getattr(row, field.name)) for row in rows], field.type)
        for field in SELECTION_SCHEMA
    }
    return parquet_bytes(pa.table(columns, schema=SELECTION_SCHEMA))


def read_teacher(storage: Storage, parent: str) -> Teacher:
    """Returns a finished parent as the teacher of its children.

    Raises:
        FileNotFoundError: If the parent has no record.
        InvalidRecordError: If a file does not match the record.
    """
    record = read_record(storage, parent)
    kept: dict[str, tuple[str, float]] = {}
    confidence = None
    if record.selection is not None:
        content = read_file(storage, record, layout.selection(parent))
        columns = ["item_id", "trained_on", "weight"]
        table = pq.read_table(pa.BufferReader(content), columns=columns)
        rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
        kept = {id_: (label, weight) for id_, label, weight in rows if label is not None}
        state = record.selection.get("state")
        confidence = None if state is None else _confidence_state(state)
    return Teacher(state=read_state(storage, parent, record), kept=kept, confidence=confidence)


def _confidence_state(state: Mapping[str, object]) -> ConfidenceState:
    values = dict(state)
    means, texts = values.pop("class_means"), values.pop("texts")
    if not isinstance(means, list) or not isinstance(texts, list | None):
        raise ValueError(
            "class_means must be a list of lists, and texts a list or null; got "
            f"{means!r} and {texts!r}"
        )
    return ConfidenceState(
        class_means=tuple(tuple(row) for row in means),
        texts=None if texts is None else tuple(texts),
        **values,  # type: ignore[arg-type]
    )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
