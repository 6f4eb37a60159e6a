"""items.parquet: the split and hardness of every item of a study.

A surface needs this file but no task: scores are joined to it by item id, and test levels are cut
from its measures. It contains no question or answer text; pseudo-labels are compared with gold by
hash.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from search_spaces.levels import Level
from search_spaces.space import TaskAxis
from study.artifacts.plan import Plan
from trainables.data.draws import TestDraw, axis_test_draw
from trainables.data.items import text_hash
from trainables.invocation import command_line
from trainables.storage import layout
from trainables.storage.filesystem import Storage

if TYPE_CHECKING:
    from trainables.data.task import SplitTask

MEASURE = "measure."
"""Prefix of columns with a measure's values (null: the item has none)."""

LEVELS = "levels."
"""Prefix of columns with the names of an item's levels of a measure."""

_HASHES = b"hashes"
"""Key of the schema's metadata: task -> [data hash, split hash] as JSON."""

_TEST_DRAWS = b"test_draws"
"""Key of the schema's metadata: draws of the axes that score only some test items, as JSON."""

_HASHES_TYPE = TypeAdapter(dict[str, tuple[str, str]])
_DRAWS_TYPE = TypeAdapter(list[TestDraw])

_FIXED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("topic", pa.string()),
        pa.field("gold", pa.int32(), nullable=False),
        pa.field("gold_hash", pa.string(), nullable=False),
        pa.field("num_choices", pa.int32(), nullable=False),
        pa.field("question_words", pa.int32(), nullable=False),
        pa.field("answer_chars", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskItems:
    """The test or pool items of a task, in the order of items.parquet."""

    task: str
    data_hash: str
    split_hash: str
    table: pa.Table
    test_draws: Mapping[str, TestDraw] = field(default_factory=dict)
    """Measure -> test items that the cells of its axis are scored on; a missing measure: all."""

    @property
    def ids(self) -> pa.Array:
        """The item ids."""
        return self.table["id"].combine_chunks()

    @property
    def groups(self) -> list[str | None]:
        """The group that each item was sampled in; None: no group."""
        groups: list[str | None] = self.table["group"].to_pylist()
        return groups

    def rows_of(self, measure: str | None, level: Level | None) -> NDArray[np.intp]:
        """Returns the row numbers of a level's items (None: all items that have the measure).

        Test items are only those that the cells of the measure's axis are scored on.

        Raises:
            ValueError: If the items have no such measure.
        """
        draw = self.test_draws.get(measure or "")
        rows = self._rows_in(measure, level)
        if draw is None:
            return rows
        if draw.draws_from(level):
            return self._drawn(draw, rows)
        return np.intersect1d(rows, self.tested_rows(draw))

    def tested_rows(self, draw: TestDraw) -> NDArray[np.intp]:
        """Returns the row numbers of all items that the cells of an axis are scored on."""
        levels = [self._drawn(draw, self._rows_in(draw.measure, level)) for level in draw.levels]
        return np.unique(np.concatenate(levels))

    def _drawn(self, draw: TestDraw, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        ids = self.ids.take(pa.array(rows)).to_pylist()
        drawn = draw.of_level(ids)
        return np.array([row for row, id_ in zip(rows, ids, strict=True) if id_ in drawn], np.intp)

    def _rows_in(self, measure: str | None, level: Level | None) -> NDArray[np.intp]:
        if measure is None:
            return np.arange(self.table.num_rows)
        values = self._column(measure)
        if level is None:
            return np.flatnonzero(~np.isnan(values))
        return np.flatnonzero((values >= level.low) & (values <= level.high))

    def values(self, measure: str) -> NDArray[np.float64]:
        """Returns the values of a measure, without items that have none.

        Raises:
            ValueError: If the items have no such measure.
        """
        values = self._column(measure)
        return values[~np.isnan(values)]

    def _column(self, measure: str) -> NDArray[np.float64]:
        name = MEASURE + measure
        if name not in self.table.column_names:
            known = [c.removeprefix(MEASURE) for c in self.table.column_names if MEASURE in c]
            raise ValueError(f"items of {self.task} have no measure {measure!r}, only {known}")
        values: NDArray[np.float64] = self.table[name].to_numpy()
        return values


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ItemsTable:
    """Test and pool items of every task of a study."""

    test: Mapping[str, TaskItems]
    pool: Mapping[str, TaskItems]


def write_items(storage: Storage, plan: Plan, tasks: Mapping[str, SplitTask]) -> None:
    """Writes items.parquet: every test and pool item of the plan's tasks.

    Args:
        storage: The run folder.
        plan: Its space defines the levels.
        tasks: Task name -> loaded and split task.
    """
    axes = plan.space.tasks
    names = dict.fromkeys(axis.task for axis in axes)
    tables = [_task_table(tasks[name], axes) for name in names]
    table = pa.concat_tables(tables, promote_options="default")
    hashes = {
        name: [task.data.data_hash, task.split.split_hash] for name, task in sorted(tasks.items())
    }
    draws = [draw for axis in axes if (draw := axis_test_draw(plan.space, axis)) is not None]
    metadata = {_HASHES: json.dumps(hashes).encode(), _TEST_DRAWS: _DRAWS_TYPE.dump_json(draws)}
    table = table.replace_schema_metadata(metadata)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write_bytes(layout.items(plan.space.name), buffer.getvalue())


def _again() -> str:
    return f"Run `{command_line('sweep')}` again: it rewrites the file and keeps all records"


def read_items(storage: Storage, space: str) -> ItemsTable:
    """Returns the items of a study.

    Raises:
        ValueError: If items.parquet is missing, damaged or of another version.
    """
    path = storage.path(layout.items(space))
    try:
        table = pq.read_table(io.BytesIO(storage.read_bytes(layout.items(space))))
        hashes = _HASHES_TYPE.validate_json(table.schema.metadata[_HASHES])
        draws = _DRAWS_TYPE.validate_json(table.schema.metadata[_TEST_DRAWS])
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist: run `{command_line('sweep')}` first") from error
    except (pa.ArrowException, KeyError, TypeError, ValidationError) as error:
        raise ValueError(
            f"{path} is damaged or of another version of this program: it is no items table with "
            f"the hashes of its tasks. {_again()}"
        ) from error
    if faults := [field.name for field in _FIXED if not _has(table, field)]:
        raise ValueError(
            f"{path} is of another version of this program: columns are missing or have another "
            f"type: {', '.join(faults)}. {_again()}"
        )
    return ItemsTable(
        test=_split_items(table, hashes, "test", draws),
        pool=_split_items(table, hashes, "pool", []),
    )


def _has(table: pa.Table, field: pa.Field) -> bool:
    index = table.schema.get_field_index(field.name)
    return index >= 0 and bool(table.schema.field(index).type == field.type)


def _split_items(
    table: pa.Table,
    hashes: Mapping[str, tuple[str, str]],
    split: Literal["test", "pool"],
    draws: Iterable[TestDraw],
) -> dict[str, TaskItems]:
    rows = table.filter(pc.equal(table["split"], split))
    return {
        task: TaskItems(
            task=task,
            data_hash=data_hash,
            split_hash=split_hash,
            table=rows.filter(pc.equal(rows["task"], task)),
            test_draws={draw.measure: draw for draw in draws if draw.task == task},
        )
        for task, (data_hash, split_hash) in hashes.items()
    }


def _task_table(task: SplitTask, axes: Iterable[TaskAxis]) -> pa.Table:
    """Returns the items of a task: fixed columns, and for each measure its values and levels."""
    ids = [*task.split.test, *task.split.pool]
    items = task.by_id(ids)
    columns: dict[str, Sequence[Any]] = {
        "id": ids,
        "task": [task.data.name] * len(ids),
        "split": ["test"] * len(task.split.test) + ["pool"] * len(task.split.pool),
        "group": [item.group for item in items],
        "topic": [item.topic for item in items],
        "gold": [item.answer for item in items],
        "gold_hash": [text_hash(item.choices[item.answer]) for item in items],
        "num_choices": [len(item.choices) for item in items],
        "question_words": [len(item.question.split()) for item in items],
        "answer_chars": [len(item.choices[item.answer]) for item in items],
    }
    schema = _FIXED
    for measure, values in sorted(task.data.measures.items()):
        columns[MEASURE + measure] = [values.get(id_) for id_ in ids]
        schema = schema.append(pa.field(MEASURE + measure, pa.float64()))
    for axis in axes:
        if axis.task == task.data.name:
            columns[LEVELS + axis.measure] = [
                _names(axis, task.data.measures[axis.measure].get(id_)) for id_ in ids
            ]
            schema = schema.append(pa.field(LEVELS + axis.measure, pa.list_(pa.string())))
    return pa.table(columns, schema=schema)


def _names(axis: TaskAxis, value: float | None) -> list[str]:
    """Returns the names of the levels that contain a value, training levels first, each once."""
    if value is None:
        return []
    levels = (*axis.train_levels, *axis.test_levels)
    return list(dict.fromkeys(level.name for level in levels if level.holds(value)))
