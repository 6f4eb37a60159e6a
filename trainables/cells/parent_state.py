"""What a cell leaves for the cells that start from it: its trained state and its selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load, save

from trainables.methods.base.interface import TrainedState
from trainables.self_training.adaptive import ConfidenceState
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
"""Columns of selection.parquet, a row an unlabelled item (`PoolRow`).
There is no gold in it: the audit joins it afterwards, by id."""


def state_bytes(state: TrainedState) -> bytes:
    """Returns the content of adapter.safetensors."""
    content: bytes = save({name: tensor.contiguous() for name, tensor in state.items()})
    return content


def selection_bytes(rows: Sequence[PoolRow]) -> bytes:
    """Returns the content of selection.parquet."""
    columns = {
        field.name: pa.array([_plain(getattr(row, field.name)) for row in rows], field.type)
        for field in SELECTION_SCHEMA
    }
    return parquet_bytes(pa.table(columns, schema=SELECTION_SCHEMA))


def read_teacher(storage: Storage, parent: str) -> Teacher:
    """Returns what a finished parent left.

    Raises:
        FileNotFoundError: If the parent has no record.
        InvalidRecordError: If its record does not vouch for what lies beside it.
    """
    record = read_record(storage, parent)
    kept: dict[str, tuple[str, float]] = {}
    confidence = None
    if record.selection is not None:
        content = read_file(storage, record, layout.selection(parent))
        columns = ["item_id", "trained_on", "weight"]
        table = pq.read_table(pa.BufferReader(content), columns=columns)
        rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
        kept = {id_: (text, weight) for id_, text, weight in rows if text is not None}
        found = record.selection.get("state")
        confidence = None if found is None else _confidence_state(found)
    state = load(read_file(storage, record, layout.trained(parent)))
    return Teacher(state=state, kept=kept, confidence=confidence)


def _confidence_state(found: Mapping[str, object]) -> ConfidenceState:
    values = dict(found)
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
