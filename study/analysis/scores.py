"""Reads records into score matrices: each cell's scores once, joined to the items by id.

Reads only the cells of the plan. Cells without a valid record, or with scores of other items than
the study's test items, are listed with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from search_spaces.explain import count
from study.artifacts.items import ItemsTable, TaskItems
from study.artifacts.plan import Plan
from study.statistics.calibration import brier_scores
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws, TestDraw
from trainables.data.seeding import draw_ids
from trainables.storage import layout
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import Storage, iter_parallel
from trainables.storage.records import InvalidRecordError, Record, read_record, read_scores

UNSEEN = -1
"""Value in a score matrix of an item that the cell is not scored on (`_UnscoredIds`)."""

UNREAD = -2
"""Predicted choice of a generated answer that names none."""

_BATCH = 64
"""Cells whose scores enter the matrices together."""

_COLUMNS = ("item_id", "predicted", "correct", "confidence", "log_probs", "readable")

Absence = Literal["not run", "failed", "record not valid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingCell:
    """Why a planned cell has no scores."""

    kind: Absence
    reason: str
    """The failure's message; empty if the cell has not run."""

    @property
    def text(self) -> str:
        """The kind with its reason, for a message."""
        return f"{self.kind}: {self.reason}" if self.reason else self.kind


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskScores:
    """Scores of a task's finished cells on its test items, in the order of items.parquet."""

    row: Mapping[str, int]
    """Cell id -> row of the matrices."""
    correct: NDArray[np.float32]
    """[cells, items]: 1 right, 0 wrong, between for a tie (`records.choice_scores`), UNSEEN."""
    predicted: NDArray[np.int16]
    """[cells, items] index of the predicted choice: UNSEEN, or UNREAD if there is none."""
    confidence: NDArray[np.float32]
    """[cells, items] softmax probability of the predicted choice; NaN if unseen."""
    brier: NDArray[np.float32]
    """[cells, items] squared distance of the probabilities from the truth, in [0, 2]; NaN if unseen
    or generated."""
    readable: Mapping[str, NDArray[np.bool_]]
    """Cell id -> [items] whether the generated answer could be read, True if unseen; only cells
    that generate answers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudyScores:
    """Contents of the records of a plan."""

    tasks: Mapping[str, TaskScores]
    records: Mapping[str, Record]
    """Cell id -> record of every finished cell."""
    missing: Mapping[str, MissingCell]
    """Cell id -> why the cell has no scores."""
    num_ignored: int
    """Cell folders in the run folder that are not of the plan."""

    def count(self, kind: Absence) -> int:
        """Number of missing cells of this kind."""
        return sum(cell.kind == kind for cell in self.missing.values())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _CellScores:
    record: Record
    item_ids: pa.Array
    predicted: NDArray[np.int32]
    correct: NDArray[np.float64]
    confidence: NDArray[np.float64]
    log_probs: pa.ListArray
    readable: NDArray[np.bool_] | None
    """None if choices are scored."""


def collect_scores(storage: Storage, plan: Plan, items: ItemsTable) -> StudyScores:
    """Reads the records of the plan's cells into one matrix per task.

    Args:
        storage: The run folder.
        plan: Its cells are read; records of other cells are only counted.
        items: The study's items; its test items are the columns of the matrices.

    Raises:
        ValueError: If cells are of other data or another split than the items; with their ids.
    """
    _check_one_split(plan.cells, items)
    folders = set(storage.list(layout.CELLS))
    planned = {cell.id for cell in plan.cells}
    cells_of: dict[str, list[str]] = {task: [] for task in items.test}
    for cell in plan.cells:
        cells_of[cell.cell.task].append(cell.id)
    records: dict[str, Record] = {}
    missing: dict[str, MissingCell] = {}
    tasks = {}
    for task, ids in cells_of.items():
        recorded = [id_ for id_ in ids if id_ in folders]
        missing |= {i: MissingCell(kind="not run", reason="") for i in ids if i not in folders}
        builder = _ScoreMatrixBuilder(items.test[task], num_cells=len(recorded))
        unscored = _UnscoredIds(plan, items, task)
        results = iter_parallel(storage, partial(_read_cell, storage), recorded)
        cells = zip(recorded, results, strict=True)
        while batch := dict(islice(cells, _BATCH)):
            scored = {i: cell for i, cell in batch.items() if isinstance(cell, _CellScores)}
            unfit = builder.add(scored, unscored)
            missing |= {i: c for i, c in batch.items() if isinstance(c, MissingCell)} | unfit
            records |= {i: cell.record for i, cell in scored.items() if i not in unfit}
        tasks[task] = builder.scores()
    return StudyScores(
        tasks=tasks, records=records, missing=missing, num_ignored=len(folders - planned)
    )


def _check_one_split(cells: Iterable[PlannedCell], items: ItemsTable) -> None:
    """Checks that cells have the data and the split of the items that scores are joined to.

    Raises:
        ValueError: If a cell does not; with the ids.
    """
    others: dict[str, list[str]] = {}
    for planned in cells:
        task = items.test.get(planned.cell.task)
        wanted = None if task is None else (task.data_hash, task.split_hash)
        if wanted != (planned.cell.data_hash, planned.cell.split_hash):
            others.setdefault(planned.cell.task, []).append(planned.id)
    for task_name, ids in others.items():
        raise ValueError(
            f"a surface has one split of {task_name}: {count(len(ids), 'cell is', 'cells are')} of "
            f"other data or another split than items.parquet: {', '.join(ids[:10])}"
            f"{', ...' if len(ids) > 10 else ''}. Run the sweep again to renew the plan."
        )


def _read_cell(storage: Storage, id_: str) -> _CellScores | MissingCell:
    """Reads one cell, or returns why it has no scores."""
    try:
        record = read_record(storage, id_)
        table = read_scores(storage, id_, record, _COLUMNS)
    except FileNotFoundError:
        reason = read_failure(storage, id_)
        return MissingCell(kind="not run" if reason is None else "failed", reason=reason or "")
    except InvalidRecordError as error:
        return MissingCell(kind="record not valid", reason=str(error))
    predicted = table["predicted"].combine_chunks()
    return _CellScores(
        record=record,
        item_ids=table["item_id"].combine_chunks(),
        predicted=(predicted.fill_null(UNREAD) if predicted.null_count else predicted).to_numpy(),
        correct=table["correct"].to_numpy(),
        confidence=table["confidence"].to_numpy(),
        log_probs=table["log_probs"].combine_chunks(),
        readable=table["readable"].to_numpy() if "readable" in table.column_names else None,
    )


_What = tuple[CellDraws | None, TestDraw | None]


class _UnscoredIds:
    """The test items that a cell is not scored on.

    These are items outside of its axis' test draw and, with the split `paper`, its training items.
    """

    def __init__(self, plan: Plan, items: ItemsTable, task: str) -> None:
        is_paper = plan.space.split == "paper"
        self._what: dict[str, _What] = {
            cell.id: (cell.draws if is_paper else None, cell.test_draw) for cell in plan.cells
        }
        self._test, self._pool = items.test[task], items.pool[task]
        self._known: dict[_What, frozenset[str]] = {(None, None): frozenset()}

    def of(self, id_: str) -> frozenset[str]:
        """Returns the ids without a score of the cell; empty if all test items are scored."""
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
    """Fills the matrices batch by batch; looks ids up once per distinct order."""

    def __init__(self, items: TaskItems, *, num_cells: int) -> None:
        self._item_ids = items.ids
        self._gold = items.table["gold"].to_numpy()
        shape = (num_cells, len(self._item_ids))
        self._correct = np.full(shape, UNSEEN, dtype=np.float32)
        self._predicted = np.full(shape, UNSEEN, dtype=np.int16)
        self._confidence = np.full(shape, np.nan, dtype=np.float32)
        self._brier = np.full(shape, np.nan, dtype=np.float32)
        self._row: dict[str, int] = {}
        self._readable: dict[str, NDArray[np.bool_]] = {}
        self._last: tuple[pa.Array, frozenset[str], NDArray[np.int64]] | None = None

    def add(
        self, cells: Mapping[str, _CellScores], unscored: _UnscoredIds
    ) -> dict[str, MissingCell]:
        """Writes the scores of cells into the next rows, and returns why others do not fit."""
        unfit = {}
        groups: list[tuple[NDArray[np.int64], list[_CellScores]]] = []
        start = len(self._row)
        for id_, scores in cells.items():
            try:
                positions = self._positions(scores.item_ids, unscored.of(id_))
            except InvalidRecordError as error:
                unfit[id_] = MissingCell(kind="record not valid", reason=str(error))
                continue
            self._row[id_] = len(self._row)
            if not groups or groups[-1][0] is not positions:
                groups.append((positions, []))
            groups[-1][1].append(scores)
            if scores.readable is not None:
                self._readable[id_] = np.ones(len(self._item_ids), dtype=np.bool_)
                self._readable[id_][positions] = scores.readable
        for positions, group in groups:
            self._fill(slice(start, start + len(group)), positions, group)
            start += len(group)
        return unfit

    def _fill(
        self, rows: slice, positions: NDArray[np.int64], cells: Sequence[_CellScores]
    ) -> None:
        """Writes the scores of cells that have their items in one order."""
        self._correct[rows, positions] = [cell.correct for cell in cells]
        self._predicted[rows, positions] = [cell.predicted for cell in cells]
        self._confidence[rows, positions] = [cell.confidence for cell in cells]
        log_probs = pa.concat_arrays([cell.log_probs for cell in cells])
        brier = _brier(log_probs, np.tile(self._gold[positions], len(cells)))
        self._brier[rows, positions] = brier.reshape(len(cells), len(positions))

    def scores(self) -> TaskScores:
        """Returns the rows filled so far."""
        count = len(self._row)
        return TaskScores(
            row=self._row,
            correct=self._correct[:count],
            predicted=self._predicted[:count],
            confidence=self._confidence[:count],
            brier=self._brier[:count],
            readable=self._readable,
        )

    def _positions(self, item_ids: pa.Array, unscored: frozenset[str]) -> NDArray[np.int64]:
        """Returns the column of each item.

        Raises:
            InvalidRecordError: If they are not exactly the test items of the cell, each once.
        """
        # Nearly all cells list the items in one order, and a comparison is far cheaper than a join.
        last = self._last
        if last is not None and last[1] == unscored and last[0].equals(item_ids):
            return last[2]
        columns = pc.index_in(item_ids, value_set=self._item_ids)
        if columns.null_count:
            others = item_ids.filter(pc.is_null(columns))
            raise _other_items(f"has {_examples(others)} outside the test")
        positions = np.asarray(columns.to_numpy(zero_copy_only=False), dtype=np.int64)
        if len(np.unique(positions)) != len(positions):
            raise _other_items("has two scores of one item")
        if unscored:
            excluded = item_ids.filter(pc.is_in(item_ids, value_set=pa.array(sorted(unscored))))
            if len(excluded):
                raise _other_items(f"has {_examples(excluded)} that it is not tested on")
        if len(positions) + len(unscored) < len(self._item_ids):
            known = pa.concat_arrays([item_ids, pa.array(sorted(unscored), item_ids.type)])
            unseen = self._item_ids.filter(pc.invert(pc.is_in(self._item_ids, value_set=known)))
            raise _other_items(f"lacks {_examples(unseen)}")
        self._last = (item_ids, unscored, positions)
        return positions


def _brier(log_probs: pa.ListArray, gold: NDArray[np.int32]) -> NDArray[np.float64]:
    """[items] Brier scores; NaN without the log-probability of the right choice."""
    scores = np.full(len(gold), np.nan)
    sizes = np.diff(log_probs.offsets.to_numpy())
    if log_probs.null_count:
        sizes = pc.fill_null(pc.list_value_length(log_probs), 0).to_numpy()
    known = sizes > gold
    if known.any():
        scored = log_probs if known.all() else log_probs.filter(pa.array(known))
        values = scored.flatten().to_numpy()
        sizes = sizes[known]
        starts = np.cumsum(sizes) - sizes
        odds = np.exp(values - np.repeat(np.maximum.reduceat(values, starts), sizes))
        probabilities = odds / np.repeat(np.add.reduceat(odds, starts), sizes)
        scores[known] = brier_scores(probabilities, sizes, gold[known])
    return scores


def _other_items(fault: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"its record must score each test item of this study once, but it {fault}: remove the "
        f"cell's folder and run the sweep again"
    )


def _examples(item_ids: pa.Array) -> str:
    first = ", ".join(item_ids.slice(0, 3).to_pylist())
    return f"{count(len(item_ids), 'item')} ({first}{', ...' if len(item_ids) > 3 else ''})"
