"""Records into score matrices: each cell's scores are read once and joined to the items by id.

Only the cells of the plan are read. A cell without a valid record is listed with the reason; so is
one whose record scored other items than the study's test items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.artifacts.items import ItemsTable
from study.artifacts.plan import Plan
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws, TestDraw
from trainables.data.seeding import draw_ids
from trainables.storage import layout
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_record, read_scores

UNSEEN = -1
"""In a matrix of scores: the cell is not scored on the item (`_UnscoredIds`)."""

_LOCAL_READERS = 4
_REMOTE_READERS = 32
"""Threads that read records: an object store answers slowly, so more are under way at once."""

_COLUMNS = ("item_id", "correct", "confidence", "readable")

Absence = Literal["not run", "failed", "record not valid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingCell:
    """Why a planned cell has no scores."""

    kind: Absence
    reason: str
    """The failure's message; empty where the cell has not run."""

    @property
    def text(self) -> str:
        """The kind with its reason, as a message says it."""
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskScores:
    """Scores of a task's finished cells on its test items, in the order of items.parquet."""

    row: Mapping[str, int]
    """Cell id -> row of the matrices."""
    correct: NDArray[np.float32]
    """[cells, items]: 1 right, 0 wrong, between them on a tie (`records.choice_score`), UNSEEN."""
    confidence: NDArray[np.float32]
    """[cells, items] softmax probability of the predicted choice; NaN where unseen."""
    readable: Mapping[str, NDArray[np.bool_]]
    """Cell id -> [items] whether the generated answer could be read, True where unseen; only cells
    that generate."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudyScores:
    """What the records of a plan hold."""

    tasks: Mapping[str, TaskScores]
    records: Mapping[str, Record]
    """Cell id -> record of every finished cell."""
    missing: Mapping[str, MissingCell]
    """Cell id -> why the cell has no scores."""
    num_ignored: int
    """Cell folders in the run folder that are not the plan's."""

    def count(self, kind: Absence) -> int:
        """Number of missing cells of this kind."""
        return sum(cell.kind == kind for cell in self.missing.values())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _CellScores:
    record: Record
    item_ids: pa.Array
    correct: NDArray[np.float64]
    confidence: NDArray[np.float64]
    readable: NDArray[np.bool_] | None
    """None where choices are scored."""


def collect_scores(storage: Storage, plan: Plan, items: ItemsTable) -> StudyScores:
    """Reads the records of the plan's cells into one matrix per task.

    Args:
        storage: The run folder.
        plan: Says which cells there are; other cells' records are counted, not read.
        items: The study's items; test items give the columns of the matrices.

    Raises:
        ValueError: If cells of one task are of different data or splits than the study's items:
            with the ids.
    """
    check_one_split(plan.cells, items)
    folders = set(storage.list(layout.CELLS))
    planned = {cell.id for cell in plan.cells}
    cells_of: dict[str, list[str]] = {task: [] for task in items.test}
    for cell in plan.cells:
        cells_of[cell.cell.task].append(cell.id)
    records: dict[str, Record] = {}
    missing: dict[str, MissingCell] = {}
    tasks = {}
    readers = _LOCAL_READERS if storage.is_local else _REMOTE_READERS
    with ThreadPoolExecutor(readers) as pool:
        for task, ids in cells_of.items():
            found = [id_ for id_ in ids if id_ in folders]
            missing |= {i: MissingCell(kind="not run", reason="") for i in ids if i not in folders}
            filling = _ScoreMatrixBuilder(items.test[task].ids, num_cells=len(found))
            unscored = _UnscoredIds(plan, items, task)
            results = pool.map(lambda id_: _read_cell(storage, id_), found)
            for id_, result in zip(found, results, strict=True):
                if not isinstance(result, MissingCell):
                    result = filling.add(id_, result, unscored.of(id_)) or result
                if isinstance(result, MissingCell):
                    missing[id_] = result
                else:
                    records[id_] = result.record
            tasks[task] = filling.scores()
    return StudyScores(
        tasks=tasks, records=records, missing=missing, num_ignored=len(folders - planned)
    )


def check_one_split(cells: Iterable[PlannedCell], items: ItemsTable) -> None:
    """Refuses cells of other data or another split than the items that scores are joined to.

    Raises:
        ValueError: Naming the cells.
    """
    strangers: dict[str, list[str]] = {}
    for planned in cells:
        task = items.test.get(planned.cell.task)
        wanted = None if task is None else (task.data_hash, task.split_hash)
        if wanted != (planned.cell.data_hash, planned.cell.split_hash):
            strangers.setdefault(planned.cell.task, []).append(planned.id)
    for task_name, ids in strangers.items():
        raise ValueError(
            f"one surface holds one split of {task_name}: {len(ids)} cells are of other data or "
            f"another split than items.parquet: {', '.join(ids[:10])}"
            f"{', ...' if len(ids) > 10 else ''}. Run the sweep again to plan the study anew."
        )


def _read_cell(storage: Storage, id_: str) -> _CellScores | MissingCell:
    """Reads one cell, or says why there is nothing to read."""
    try:
        record = read_record(storage, id_)
        table = read_scores(storage, id_, record, _COLUMNS)
    except FileNotFoundError:
        reason = read_failure(storage, id_)
        return MissingCell(kind="not run" if reason is None else "failed", reason=reason or "")
    except InvalidRecordError as error:
        return MissingCell(kind="record not valid", reason=str(error))
    return _CellScores(
        record=record,
        item_ids=table["item_id"].combine_chunks(),
        correct=table["correct"].to_numpy(),
        confidence=table["confidence"].to_numpy(),
        readable=table["readable"].to_numpy() if "readable" in table.column_names else None,
    )


_What = tuple[CellDraws | None, TestDraw | None]


class _UnscoredIds:
    """The test items that a cell is not scored on.

    Those that its axis does not ask for, and in the split `paper` those that it was trained on.
    """

    def __init__(self, plan: Plan, items: ItemsTable, task: str) -> None:
        is_paper = plan.space.split == "paper"
        self._what: dict[str, _What] = {
            cell.id: (cell.draws if is_paper else None, cell.test_draw) for cell in plan.cells
        }
        self._test, self._pool = items.test[task], items.pool[task]
        self._known: dict[_What, frozenset[str]] = {(None, None): frozenset()}

    def of(self, id_: str) -> frozenset[str]:
        """Returns the ids that a cell has no score for; none where all of the test is scored."""
        what = self._what[id_]
        if what not in self._known:
            draws, test_draw = what
            self._known[what] = self._trained(draws) | self._untested(test_draw)
        return self._known[what]

    def _trained(self, draws: CellDraws | None) -> frozenset[str]:
        return frozenset(
            drawn
            for draw in (() if draws is None else draws.labelled)
            for drawn in draw_ids(
                self._pool.ids.take(self._pool.rows_of(draw.measure, draw.level)).to_pylist(),
                draw.n or 0,
                *draw.names,
            )
        )

    def _untested(self, draw: TestDraw | None) -> frozenset[str]:
        if draw is None:
            return frozenset()
        is_tested = np.zeros(len(self._test.ids), bool)
        is_tested[self._test.tested_rows(draw)] = True
        return frozenset(self._test.ids.filter(pa.array(~is_tested)).to_pylist())


class _ScoreMatrixBuilder:
    """Matrices that are filled cell by cell; ids are looked up once per distinct order."""

    def __init__(self, item_ids: pa.Array, *, num_cells: int) -> None:
        self._item_ids = item_ids
        self._correct = np.full((num_cells, len(item_ids)), UNSEEN, dtype=np.float32)
        self._confidence = np.full((num_cells, len(item_ids)), np.nan, dtype=np.float32)
        self._row: dict[str, int] = {}
        self._readable: dict[str, NDArray[np.bool_]] = {}
        self._last: tuple[pa.Array, frozenset[str], NDArray[np.int64]] | None = None

    def add(self, id_: str, scores: _CellScores, unscored: frozenset[str]) -> MissingCell | None:
        """Writes the scores of one cell into the next row, or says why they have no place there."""
        try:
            positions = self._positions(scores.item_ids, unscored)
        except InvalidRecordError as error:
            return MissingCell(kind="record not valid", reason=str(error))
        row = self._row[id_] = len(self._row)
        self._correct[row, positions] = scores.correct
        self._confidence[row, positions] = scores.confidence
        if scores.readable is not None:
            self._readable[id_] = np.ones(len(self._item_ids), dtype=np.bool_)
            self._readable[id_][positions] = scores.readable
        return None

    def scores(self) -> TaskScores:
        """Returns the rows filled so far."""
        count = len(self._row)
        return TaskScores(
            row=self._row,
            correct=self._correct[:count],
            confidence=self._confidence[:count],
            readable=self._readable,
        )

    def _positions(self, item_ids: pa.Array, unscored: frozenset[str]) -> NDArray[np.int64]:
        """Returns the column of each item.

        Raises:
            InvalidRecordError: If they are not the test items of the cell, each once.
        """
        # Nearly all cells list the items in one order, and comparing is far cheaper than joining.
        last = self._last
        if last is not None and last[1] == unscored and last[0].equals(item_ids):
            return last[2]
        found = pc.index_in(item_ids, value_set=self._item_ids)
        if found.null_count:
            strangers = item_ids.filter(pc.is_null(found))
            raise _other_items(f"has {_examples(strangers)} that are no test items")
        positions = np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
        if len(np.unique(positions)) != len(positions):
            raise _other_items("has two scores of one item")
        if unscored:
            seen = item_ids.filter(pc.is_in(item_ids, value_set=pa.array(sorted(unscored))))
            if len(seen):
                raise _other_items(f"has {_examples(seen)} that it is not tested on")
        if len(positions) + len(unscored) < len(self._item_ids):
            known = pa.concat_arrays([item_ids, pa.array(sorted(unscored), item_ids.type)])
            unseen = self._item_ids.filter(pc.invert(pc.is_in(self._item_ids, value_set=known)))
            raise _other_items(f"lacks {_examples(unseen)}")
        self._last = (item_ids, unscored, positions)
        return positions


def _other_items(fault: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"its record must score each test item of this study once, but it {fault}: remove the "
        f"cell's folder and run the sweep again"
    )


def _examples(item_ids: pa.Array) -> str:
    first = ", ".join(item_ids.slice(0, 3).to_pylist())
    return f"{len(item_ids)} items ({first}{', ...' if len(item_ids) > 3 else ''})"
