"""Records: the files of a finished cell, written atomically and read strictly.

The record is written last and holds the hashes of the other files. A cell is finished if its record
exists and matches its scores.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from search_spaces.cell import Cell, cell_id, decode_cell, encode_cell, encoded_id
from search_spaces.explain import explain
from search_spaces.frozen import FrozenModel
from trainables.storage import layout
from trainables.storage.filesystem import Storage, UnreadableError

SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("predicted", pa.int32()),
        pa.field("correct", pa.float64(), nullable=False),
        pa.field("confidence", pa.float64()),
        pa.field("log_probs", pa.list_(pa.float64())),
        pa.field("text", pa.string()),
    ]
)
"""Columns of scores.parquet, one row per test item. `predicted` is the index of the choice with the
highest log-probability (the first of ties), `confidence` its softmax probability, `log_probs` one
value per choice. Generated answers have neither of the last two: `text` is the answer, and
`predicted` is null if no choice could be read from it. `correct` is in [0, 1]: `choice_scores`, or
1 and 0 for generated answers."""

GENERATED_SCHEMA = SCHEMA.append(pa.field("readable", pa.bool_(), nullable=False))
"""Columns for generated answers: `readable` is whether the text names a choice (a number if answers
are free). Unreadable answers are wrong."""


REWARDS_SCHEMA = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""Columns of a policy's rewards.parquet, one row per answer to a test question: `sample` counts the
answers to a question from 0, `reward` is the gold reward."""


PAIRS_SCHEMA = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
    ]
)
"""Columns of a trained policy's pairs.parquet: one row per pair of answers."""


class InvalidRecordError(ValueError):
    """A corrupt or incomplete record, or one of another cell; the cell has to run again."""


class Record(FrozenModel):
    """The content of record.json."""

    cell: dict[str, Any]
    """The encoded cell; its hash is the folder's name."""
    scores_sha256: str
    num_items: int
    accuracy: float
    """Mean over all test items, for quick inspection; analyses use the scores."""
    unreadable: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of test items whose generated answer is unreadable; None if choices are scored."""
    updates: int | None = Field(default=None, ge=0)
    """Optimizer updates, or solver steps of a probe; 0 without training. None in old records."""
    seconds: dict[str, float]
    """Wall-clock time of the cell by phase; contains at least `total`. A training that resumed from
    a checkpoint includes the time up to it."""
    peak_memory: int | None = Field(default=None, ge=0)
    """Bytes, measured while the cell ran, loading of its base included: of the GPU, or of the
    worker's process on a CPU (`trainables.cells.peak_memory`). Of the first worker of a group. None
    in old records."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens that went through the base model, padding included (`trainables.cells.usage`), in the
    first worker of a group. None in old records."""
    gpu_utilisation: float | None = Field(default=None, ge=0.0, le=1.0)
    """Mean share of the time that a kernel ran on the GPU. None on a CPU and in old records."""
    execution: dict[str, Any]
    """Reproducibility class, kind of host, threads, device, package versions."""
    notes: tuple[str, ...] = ()
    """Notes for readers, such as dropped examples or a fallback."""
    selection: dict[str, Any] | None = None
    """Numbers of a self-training round: pool, selection, threshold, state for the next round."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the cell's other files by name, such as its trained state and its selection."""

    @property
    def workers(self) -> int:
        """Number of workers that ran the cell together."""
        return int(self.execution.get("workers", 1))

    @property
    def gpus_per_worker(self) -> float:
        """GPUs per worker; a fraction if workers shared one, 0 on CPUs."""
        if not str(self.execution.get("device", "")).startswith("cuda"):
            return 0.0
        return float(self.execution.get("gpus_per_worker", 1.0))


def choice_scores(
    values: Sequence[NDArray[np.floating[Any]]], gold: Sequence[int]
) -> NDArray[np.float64]:
    """Returns for each item 1 if its correct choice has the highest score, else 0, [items].

    With m exact ties it is 1/m if the correct choice is among them: the expected score of a guess,
    independent of the order of choices.

    Args:
        values: For each item the scores of its choices, such as log-probabilities; finite.
        gold: Index of each item's correct choice.
    """
    if not len(values):
        return np.zeros(0)
    counts = np.array([len(scores) for scores in values])
    scores_IC = np.full((len(counts), counts.max()), -np.inf)
    scores_IC[np.arange(counts.max()) < counts[:, None]] = np.concatenate(values)
    is_best_IC = scores_IC == scores_IC.max(axis=1, keepdims=True)
    return np.asarray(is_best_IC[np.arange(len(counts)), gold] / is_best_IC.sum(axis=1))


def scores_table(
    item_ids: Sequence[str], gold: Sequence[int], log_probs: Sequence[np.ndarray]
) -> pa.Table:
    """Returns the scores of a cell in the schema of scores.parquet, in the order given.

    Args:
        item_ids: One id per test item.
        gold: Index of each item's correct choice.
        log_probs: Log-probabilities of each item's choices, up to a constant per item.

    Raises:
        ValueError: If a log-probability is not finite; names the item.
    """
    predicted, confidence = [], []
    for id_, values in zip(item_ids, log_probs, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"item {id_!r}: log-probabilities are not finite: {values.tolist()}")
        best = int(np.argmax(values))
        predicted.append(best)
        confidence.append(float(1.0 / np.exp(values - values[best]).sum()))
    correct = choice_scores(log_probs, gold).tolist()
    lists = [scores.tolist() for scores in log_probs]
    return _table(item_ids, predicted, correct, confidence, lists, [None] * len(predicted))


def generated_table(
    item_ids: Sequence[str],
    predicted: Sequence[int | None],
    correct: Sequence[bool],
    texts: Sequence[str],
    readable: Sequence[bool],
) -> pa.Table:
    """Returns generated answers in `GENERATED_SCHEMA`, in the order given."""
    nulls = [None] * len(item_ids)
    table = _table(item_ids, predicted, list(map(float, correct)), nulls, nulls, texts)
    return table.append_column(GENERATED_SCHEMA.field("readable"), pa.array(readable, pa.bool_()))


def _table(*columns: Sequence[Any]) -> pa.Table:
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def write_record(
    storage: Storage,
    cell: Cell,
    scores: pa.Table,
    *,
    seconds: Mapping[str, float],
    execution: Mapping[str, Any],
    peak_memory: int | None = None,
    tokens: int | None = None,
    gpu_utilisation: float | None = None,
    curve: Sequence[Mapping[str, float]] = (),
    notes: Sequence[str] = (),
    selection: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Record:
    """Writes the files of a finished cell, the record last."""
    id_ = cell_id(cell)
    content = parquet_bytes(scores)
    record = Record(
        cell=encode_cell(cell),
        scores_sha256=hashlib.sha256(content).hexdigest(),
        num_items=scores.num_rows,
        accuracy=float(np.mean(scores["correct"].to_numpy())),
        unreadable=_unreadable(scores),
        updates=int(max((row["step"] for row in curve), default=0)),
        seconds=dict(seconds),
        peak_memory=peak_memory,
        tokens=tokens,
        gpu_utilisation=gpu_utilisation,
        execution=dict(execution),
        notes=tuple(notes),
        selection=None if selection is None else dict(selection),
        files={name: hashlib.sha256(data).hexdigest() for name, data in (files or {}).items()},
    )
    if curve:
        lines = "".join(json.dumps(row) + "\n" for row in curve)
        storage.write_bytes(layout.curve(id_), lines.encode())
    for name, data in (files or {}).items():
        storage.write_bytes(name, data)
    storage.write_bytes(layout.scores(id_), content)
    storage.delete(layout.failure(id_))
    storage.write_bytes(layout.record(id_), _json_bytes(record.model_dump(mode="json")))
    return record


def _unreadable(scores: pa.Table) -> float | None:
    if "readable" not in scores.column_names:
        return None
    return 1.0 - float(np.mean(scores["readable"].to_numpy()))


def parquet_bytes(table: pa.Table) -> bytes:
    """Returns the table as the content of a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_record(storage: Storage, id_: str) -> Record:
    """Returns the record of a cell, checked against the cell's id.

    Raises:
        FileNotFoundError: If the cell has no record.
        InvalidRecordError: If it cannot be read, is not JSON, has unknown or missing keys, or
            belongs to another cell.
    """
    return parse_record(storage, id_, record_content(storage, id_))


def record_content(storage: Storage, id_: str) -> bytes:
    """Returns the content of a cell's record.json.

    Raises:
        FileNotFoundError: If the cell has no record.
        InvalidRecordError: If it cannot be read.
    """
    try:
        return storage.read_bytes(layout.record(id_))
    except UnreadableError as error:
        raise InvalidRecordError(str(error)) from error


def parse_record(storage: Storage, id_: str, content: bytes) -> Record:
    """Returns the record of a cell from its content, checked against the cell's id.

    Raises:
        InvalidRecordError: If it is not JSON, has unknown or missing keys, or belongs to another
            cell.
    """
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise InvalidRecordError(
            f"{storage.path(layout.record(id_))} is damaged, or was written by another version: "
            f"{explain(error)}"
        ) from error
    try:
        recorded = encoded_id(record.cell)
        if recorded != id_:  # decoding takes longer, and names what is wrong
            recorded = cell_id(decode_cell(record.cell))
    except ValueError as error:
        raise InvalidRecordError(f"{storage.path(layout.record(id_))}: {error}") from error
    if recorded != id_:
        raise InvalidRecordError(
            f"{storage.path(layout.record(id_))} is the record of cell {recorded}, not of {id_}"
        )
    return record


def read_scores(
    storage: Storage, id_: str, record: Record, columns: Sequence[str] | None = None
) -> pa.Table:
    """Returns the scores of a cell, checked against the hash in its record.

    Args:
        storage: The run folder.
        id_: The cell's id.
        record: Its record.
        columns: The columns to read, ignoring those that the file lacks; None: all. Reading the
            log-probabilities takes most of the time.

    Raises:
        InvalidRecordError: If they are missing, do not match the record, or break the schema.
    """
    path = storage.path(layout.scores(id_))
    content = _content(storage, layout.scores(id_))
    if hashlib.sha256(content).hexdigest() != record.scores_sha256:
        raise InvalidRecordError(f"{path} does not match the hash in its record")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        schema = SCHEMA if record.unreadable is None else GENERATED_SCHEMA
        is_valid = file.schema_arrow.equals(schema) and file.metadata.num_rows == record.num_items
        available = None if columns is None else [name for name in columns if name in schema.names]
        # Many small files are read concurrently; threads per file would only wait.
        table = file.read(columns=available, use_threads=False) if is_valid else None
    except pa.ArrowException as error:
        raise InvalidRecordError(f"{path}: {error}") from error
    if table is None:
        raise InvalidRecordError(f"{path} does not have the columns or rows of a cell's scores")
    return table


def read_file(storage: Storage, record: Record, name: str) -> bytes:
    """Returns one of a cell's other files, checked against the hash in its record.

    Raises:
        InvalidRecordError: If the record does not list the file, or the hash differs.
    """
    path = storage.path(name)
    if name not in record.files:
        raise InvalidRecordError(f"{path} is not among the files of its cell's record")
    content = _content(storage, name)
    if hashlib.sha256(content).hexdigest() != record.files[name]:
        raise InvalidRecordError(f"{path} does not match the hash in its record")
    return content


def state_names(cell_id: str, record: Record) -> tuple[str, ...]:
    """Returns the names of the files of a cell's trained state; none if it was not kept."""
    start = layout.trained(cell_id)
    return tuple(key.removeprefix(start) for key in record.files if key.startswith(start))


def _content(storage: Storage, key: str) -> bytes:
    """Returns a file that a record lists."""
    try:
        return storage.read_bytes(key)
    except FileNotFoundError as error:
        raise InvalidRecordError(f"{storage.path(key)} is missing") from error
    except UnreadableError as error:
        raise InvalidRecordError(str(error)) from error


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def read_curve(storage: Storage, cell_id: str) -> list[Mapping[str, float]]:
    """Returns a cell's loss curve, one mapping per optimizer update; empty if it has none."""
    try:
        content = storage.read_bytes(layout.curve(cell_id))
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in content.splitlines() if line.strip()]
