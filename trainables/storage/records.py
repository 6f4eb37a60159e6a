"""Records: what a finished cell leaves on disk, written atomically and read strictly.

The scores are written first and the record last, with their hash in it: a cell is finished when
its record is there and vouches for the scores beside it.
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
from pydantic import Field, ValidationError

from search_spaces.cell import Cell, cell_id, decode_cell, encode_cell
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
"""Columns of scores.parquet: `predicted` is the index of the choice with the highest
log-probability (the first of equals), `confidence` its softmax probability, `log_probs` one value
a choice. Where the answer was generated there are neither; `text` is what was generated, and
`predicted` is null where no choice could be read off it. `correct` is in [0, 1]: `choice_score`, or
1 and 0 for generated answers."""

GENERATED_SCHEMA = SCHEMA.append(pa.field("readable", pa.bool_(), nullable=False))
"""Of generated answers: `readable` says whether the text states an answer that names a choice, or a
number where answers are free. What is not readable is wrong."""


REWARDS_SCHEMA = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""Columns of a policy's rewards.parquet, a row an answer that it wrote to a test question:
`sample` counts the answers to a question from 0, `reward` is gold."""


PAIRS_SCHEMA = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
    ]
)
"""Columns of a trained policy's pairs.parquet, a row a pair: which of two answers was preferred."""


class InvalidRecordError(ValueError):
    """A record that is corrupt, incomplete or of another cell; the cell has to run again."""


class Record(FrozenModel):
    """The content of record.json."""

    cell: dict[str, Any]
    """The encoded cell: its hash is the folder's name."""
    scores_sha256: str
    num_items: int
    accuracy: float
    """Over all test items, for a glance; every other number is computed from the scores."""
    unreadable: float | None = Field(default=None, ge=0.0, le=1.0)
    """Share of generated answers that could not be read, over all test items; None where choices
    are scored."""
    updates: int | None = Field(default=None, ge=0)
    """Optimizer updates made, a probe's solver steps; 0 where nothing was trained. None in records
    of versions that did not count them."""
    seconds: dict[str, float]
    """Wall-clock parts of the cell: at least `total`."""
    execution: dict[str, Any]
    """How it was run: class, host kind, threads, device, package versions."""
    notes: tuple[str, ...] = ()
    """What the reader should know of this cell (examples dropped, a fallback taken)."""
    selection: dict[str, Any] | None = None
    """A round of self-training in numbers: pool, selected, threshold, what the next one needs."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the other files that the cell left, by name: its trained state, its selection."""

    @property
    def workers(self) -> int:
        """How many workers ran the cell together."""
        return int(self.execution.get("workers", 1))

    @property
    def gpus_per_worker(self) -> float:
        """A fraction where workers shared a GPU; 0 on CPUs."""
        if not str(self.execution.get("device", "")).startswith("cuda"):
            return 0.0
        return float(self.execution.get("gpus_per_worker", 1.0))


def choice_score(values: np.ndarray, gold: int) -> float:
    """Returns 1 where the right choice scores best, 0 where another one does.

    Among m best ones that are exactly equal it is 1/m if the right one is among them: what a guess
    among them scores on average, in whatever order they are listed.

    Args:
        values: Scores of the choices, such as log-probabilities.
        gold: Index of the right one.
    """
    best = np.flatnonzero(values == np.max(values))
    return float(gold in best) / len(best)


def scores_table(
    item_ids: Sequence[str], gold: Sequence[int], log_probs: Sequence[np.ndarray]
) -> pa.Table:
    """Returns the scores of a cell in the schema of scores.parquet, in the order given.

    Args:
        item_ids: One id a test item.
        gold: Index of the right choice of each.
        log_probs: Log-probabilities of each item's choices, up to a constant of the item.

    Raises:
        ValueError: If a log-probability is not finite: naming the item.
    """
    predicted, confidence = [], []
    for id_, values in zip(item_ids, log_probs, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(f"item {id_!r}: log-probabilities are not finite: {values.tolist()}")
        best = int(np.argmax(values))
        predicted.append(best)
        confidence.append(float(1.0 / np.exp(values - values[best]).sum()))
    correct = [choice_score(v, g) for v, g in zip(log_probs, gold, strict=True)]
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
    nothing = [None] * len(item_ids)
    table = _table(item_ids, predicted, list(map(float, correct)), nothing, nothing, texts)
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
    curve: Sequence[Mapping[str, float]] = (),
    notes: Sequence[str] = (),
    selection: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Record:
    """Writes what a finished cell leaves: everything else first, the record last."""
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
        execution=dict(execution),
        notes=tuple(notes),
        selection=None if selection is None else dict(selection),
        files={name: hashlib.sha256(part).hexdigest() for name, part in (files or {}).items()},
    )
    if curve:
        lines = "".join(json.dumps(row) + "\n" for row in curve)
        storage.write_bytes(layout.curve(id_), lines.encode())
    for name, part in (files or {}).items():
        storage.write_bytes(name, part)
    storage.write_bytes(layout.scores(id_), content)
    storage.delete(layout.failure(id_))
    storage.write_bytes(layout.record(id_), _json_bytes(record.model_dump(mode="json")))
    return record


def _unreadable(scores: pa.Table) -> float | None:
    if "readable" not in scores.column_names:
        return None
    return 1.0 - float(np.mean(scores["readable"].to_numpy()))


def parquet_bytes(table: pa.Table) -> bytes:
    """Returns the content of a parquet file with the table."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_record(storage: Storage, id_: str) -> Record:
    """Returns the record of a cell, checked against its folder's name.

    Raises:
        FileNotFoundError: If the cell has none.
        InvalidRecordError: If it is not JSON, has unknown or missing keys, is another cell's, or
            cannot be read at all.
    """
    try:
        record = Record.model_validate_json(storage.read_bytes(layout.record(id_)))
        found = cell_id(decode_cell(record.cell))
    except UnreadableError as error:
        raise InvalidRecordError(str(error)) from error
    except ValidationError as error:
        raise InvalidRecordError(
            f"{storage.path(layout.record(id_))} is damaged or of another version of this program: "
            f"{explain(error)}"
        ) from error
    except ValueError as error:
        raise InvalidRecordError(f"{storage.path(layout.record(id_))}: {error}") from error
    if found != id_:
        raise InvalidRecordError(
            f"{storage.path(layout.record(id_))} is the record of cell {found}, not of {id_}"
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
        columns: The columns wanted, of which choices have no `readable`; None: all. The
            log-probabilities are most of the work.

    Raises:
        InvalidRecordError: If they are missing, not those of the record, or not in the schema.
    """
    path = storage.path(layout.scores(id_))
    content = _content(storage, layout.scores(id_))
    if hashlib.sha256(content).hexdigest() != record.scores_sha256:
        raise InvalidRecordError(f"{path} is not the file that its record vouches for")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        schema = SCHEMA if record.unreadable is None else GENERATED_SCHEMA
        fits = file.schema_arrow.equals(schema) and file.metadata.num_rows == record.num_items
        known = None if columns is None else [name for name in columns if name in schema.names]
        # One thread: many small files are read side by side, and a pool per file only waits.
        table = file.read(columns=known, use_threads=False) if fits else None
    except pa.ArrowException as error:
        raise InvalidRecordError(f"{path}: {error}") from error
    if table is None:
        raise InvalidRecordError(f"{path} does not have the columns or rows of a cell's scores")
    return table


def read_file(storage: Storage, record: Record, name: str) -> bytes:
    """Returns a file that a cell left beside its scores, checked against the hash in its record.

    Raises:
        InvalidRecordError: If the record vouches for no such file, or it is another one.
    """
    path = storage.path(name)
    if name not in record.files:
        raise InvalidRecordError(f"{path} is not among the files of its cell's record")
    content = _content(storage, name)
    if hashlib.sha256(content).hexdigest() != record.files[name]:
        raise InvalidRecordError(f"{path} is not the file that its record vouches for")
    return content


def _content(storage: Storage, key: str) -> bytes:
    """Returns a file that a record vouches for."""
    try:
        return storage.read_bytes(key)
    except FileNotFoundError as error:
        raise InvalidRecordError(f"{storage.path(key)} is missing") from error
    except UnreadableError as error:
        raise InvalidRecordError(str(error)) from error


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def read_curve(storage: Storage, cell_id: str) -> list[Mapping[str, float]]:
    """Returns a cell's loss curve, one mapping an optimizer step; empty where there is none."""
    try:
        content = storage.read_bytes(layout.curve(cell_id))
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in content.splitlines() if line.strip()]
