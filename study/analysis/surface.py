"""The surface: SGR with an interval and a verdict at every point of a plan.

A pure function of the run folder's plan.json, items.parquet and records of the plan's cells.
Imports neither torch nor Ray and needs no network. `study.statistics.sgr` has the statistics.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from search_spaces.explain import count
from search_spaces.levels import Level
from search_spaces.recipes import num_labels
from study.analysis.scores import UNSEEN, StudyScores, collect_scores
from study.analysis.surface_columns import surface_frame, surface_table
from study.analysis.surface_rows import SurfaceRow
from study.artifacts import points
from study.artifacts.condition_kinds import condition_kind
from study.artifacts.items import ItemsTable, read_items
from study.artifacts.plan import Plan, read_plan
from study.artifacts.study_folder import open_run
from study.statistics import sgr
from study.statistics.across_points.pooling import PointArms
from study.statistics.floor import Floor, judge_floor
from trainables.storage import layout
from trainables.storage.filesystem import Storage

if TYPE_CHECKING:
    import pandas as pd

AnyPlace = tuple[str, str | None, Level | None]
"""Task, measure and test level; without a level all test items."""

_CACHED_ARMS = 256
"""Score matrices in memory: consecutive points, of one model and recipe, share their arms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Cells of a plan by state."""

    planned: int
    finished: int
    not_run: int
    failed: int
    not_valid: int
    """Records that are corrupt or belong to another cell."""
    ignored: int
    """Cell folders that are not of the plan."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """Every point of a plan with its estimate, or the reason why there is none."""

    rows: tuple[SurfaceRow, ...]
    """In the order of the plan's points."""
    level: float
    """Confidence of the intervals."""
    counts: Counts
    reasons: Mapping[str, str]
    """Cell id -> why it has no scores, for every missing cell of the plan."""
    items: ItemsTable
    scores: StudyScores

    @cached_property
    def table(self) -> pa.Table:
        """The rows with the columns of surface.parquet."""
        return surface_table(self.rows)


def compute_surface(storage: Storage, plan: Plan) -> Surface:
    """Computes every point of a plan from its records.

    Args:
        storage: The run folder.
        plan: Its points and cells; records of other cells are counted and ignored.

    Returns:
        The surface; a point with missing cells has a reason instead of an estimate.

    Raises:
        ValueError: If items.parquet is missing, or cells are of other data or another split.
    """
    items = read_items(storage, plan.space.name)
    scores = collect_scores(storage, plan, items)
    estimator = _Estimator(plan, items, scores)
    return Surface(
        rows=tuple(estimator.row(point) for point in plan.points),
        level=plan.space.level,
        counts=Counts(
            planned=len(plan.cells),
            finished=len(scores.records),
            not_run=scores.count("not run"),
            failed=scores.count("failed"),
            not_valid=scores.count("record not valid"),
            ignored=scores.num_ignored,
        ),
        reasons={id_: cell.text for id_, cell in scores.missing.items()},
        items=items,
        scores=scores,
    )


def load_surface(run: str) -> pd.DataFrame:
    """Computes a study's surface from its records, finished or not, as a pandas frame.

    Args:
        run: The study's folder: `runs/micro`, or `s3://bucket/runs/micro`.

    Returns:
        One row a point, with the columns of surface.parquet in nullable types: strings, Int64 and
        Float64. A missing value is `pd.NA`; `reason` gives the reason. `frame.attrs["columns"]`
        has the `unit` and the `meaning` of each column, as docs/reference/surface-columns.md does.

    Raises:
        ValueError: If the folder is not a study's, or its plan or items are missing, damaged or of
            another version.
    """
    storage, space = open_run(run)
    return surface_frame(compute_surface(storage, read_plan(storage, space)).rows)


def write_surface(storage: Storage, plan: Plan, surface: Surface) -> str:
    """Writes surface.parquet, one row a point, and returns its path."""
    buffer = io.BytesIO()
    pq.write_table(surface.table, buffer, compression="zstd")
    storage.write_bytes(layout.surface(plan.space.name), buffer.getvalue())
    return storage.path(layout.surface(plan.space.name))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TestLevel:
    """The test items of a level."""

    columns: NDArray[np.intp]
    """Their columns in the score matrices."""
    ids: tuple[str, ...]
    """With the task, so that they are unique in a study."""
    clusters: tuple[str, ...] | None
    """Sampled group of each item; None if every item is a group by itself."""
    chance: NDArray[np.float64]
    """Probability that a guess is right: 1 / choices, 0 for free answers."""

    @property
    def clusters_by_id(self) -> dict[str, str] | None:
        """Item id -> its group; None like `clusters`."""
        if self.clusters is None:
            return None
        return dict(zip(self.ids, self.clusters, strict=True))


class ArmReader:
    """Arms of a plan's points as score matrices, cached while points share them."""

    def __init__(self, items: ItemsTable, scores: StudyScores) -> None:
        self._items = items
        self._scores = scores
        self.test_level = lru_cache(maxsize=None)(self._test_level)
        self.arm = lru_cache(maxsize=_CACHED_ARMS)(self._arm)

    def _test_level(self, task: str, measure: str | None, level: Level | None) -> TestLevel:
        items = self._items.test[task]
        columns = items.rows_of(measure, level)
        groups, ids = items.groups, items.ids.take(columns).to_pylist()
        labels = tuple(
            f"item {id_}" if groups[column] is None else f"group {groups[column]}"
            for id_, column in zip(ids, columns, strict=True)
        )
        alone = len(set(labels)) == len(labels)
        choices = items.table["num_choices"].to_numpy()[columns]
        return TestLevel(
            columns=columns,
            ids=tuple(f"{task}/{id_}" for id_ in ids),
            clusters=None if alone else labels,
            chance=np.where(choices > 1, 1.0 / choices, 0.0),
        )

    def _arm(
        self, planned: points.PlannedArm, task: str, measure: str | None, level: Level | None
    ) -> sgr.ArmScores:
        scores = self._matrix("correct", planned, (task, measure, level))
        if scores.size and scores.min() == UNSEEN:
            scores[scores == UNSEEN] = np.nan
        return sgr.ArmScores(scores=scores, draw_ids=planned.draws)

    def brier(self, planned: points.PlannedArm, place: AnyPlace) -> sgr.ArmScores:
        """Returns the Brier score of each answer of a finished arm; NaN where it is unknown."""
        return sgr.ArmScores(scores=self._matrix("brier", planned, place), draw_ids=planned.draws)

    def confidence(self, planned: points.PlannedArm, place: AnyPlace) -> NDArray[np.float64]:
        """Returns the [items, seeds] confidences of a finished arm; NaN where unknown."""
        return self._matrix("confidence", planned, place)

    def _matrix(
        self, name: str, planned: points.PlannedArm, place: AnyPlace
    ) -> NDArray[np.float64]:
        """[items, seeds] values of one of the matrices of `TaskScores`."""
        matrices = self._scores.tasks[place[0]]
        rows = np.array([matrices.row[id_] for id_ in planned.cells])
        columns = self.test_level(*place).columns
        values: NDArray[np.float32] = getattr(matrices, name)[np.ix_(rows, columns)]
        return values.T.astype(np.float64)

    def is_finished(self, planned: points.PlannedArm) -> bool:
        """Returns whether all cells of an arm have records."""
        return all(id_ in self._scores.records for id_ in planned.cells)

    def accuracy(
        self, planned: points.PlannedArm, place: tuple[str, str, Level], confidence: float
    ) -> sgr.Difference | None:
        """Returns an arm's accuracy with its interval; None if cells or test items are missing."""
        test = self.test_level(*place)
        if not len(test.columns) or not self.is_finished(planned):
            return None
        arms = {"arm": self.arm(planned, *place)}
        return sgr.estimate_contrast(arms, {"arm": 1.0}, level=confidence, clusters=test.clusters)

    def estimate(self, point: points.Point, confidence: float) -> sgr.SgrEstimate:
        """Returns SGR of a point, all of whose cells are finished.

        Raises:
            ValueError: If it has no hard arm, or its arms cannot be joined.
        """
        if point.hard is None:
            raise ValueError(points.NO_HARD_ARM)
        return sgr.estimate_sgr_of_arms(
            zero_shot=self.arm(point.zero_shot, *point.place),
            easy=self.arm(point.easy, *point.place),
            hard=self.arm(point.hard, *point.place),
            level=confidence,
            clusters=self.test_level(*point.place).clusters,
        )

    def gain_over_start(self, point: points.Point, confidence: float) -> sgr.Difference:
        """Returns the gain of a self-trained source over its start, both of them finished.

        Raises:
            ValueError: If the source is not self-trained.
        """
        if point.start is None:
            raise ValueError(f"{point.source} is not self-trained, so it has no start")
        return sgr.paired_difference(
            self.arm(point.easy, *point.place),
            self.arm(point.start, *point.place),
            level=confidence,
            clusters=self.test_level(*point.place).clusters,
        )

    def point_arms(
        self, point: points.Point, *, place: float = 0.0, stratum: str = ""
    ) -> PointArms:
        """Returns the arms of a point with item ids, so that points can share items.

        Args:
            point: All its cells are finished.
            place: Its covariate in a trend.
            stratum: Its stratum in a trend.
        """
        level = self.test_level(*point.place)
        arms = {"zero_shot": point.zero_shot, "easy": point.easy, "hard": point.hard}
        return PointArms(
            arms={
                name: replace(self.arm(arm, *point.place), item_ids=level.ids)
                for name, arm in arms.items()
                if arm is not None
            },
            covariate=place,
            stratum=stratum,
            clusters=level.clusters_by_id,
        )

    def unreadable(
        self, planned: points.PlannedArm, task: str, measure: str, level: Level
    ) -> float | None:
        """Returns the share of an arm's generated answers that could not be read.

        Args:
            planned: The arm; all its cells are finished.
            task: Task of the test level.
            measure: Measure of the test level.
            level: The test level, which has items.

        Returns:
            The share of its (item, seed) pairs; None if it scores choices.
        """
        matrices = self._scores.tasks[task]
        columns = self.test_level(task, measure, level).columns
        readable = [matrices.readable[i] for i in planned.cells if i in matrices.readable]
        if not readable:
            return None
        rows = np.array([matrices.row[id_] for id_ in planned.cells])
        num_seen = int(np.count_nonzero(matrices.correct[np.ix_(rows, columns)] != UNSEEN))
        num_unreadable = int(np.count_nonzero([~row[columns] for row in readable]))
        return num_unreadable / max(num_seen, 1)


class _Estimator:
    """Turns points into rows."""

    def __init__(self, plan: Plan, items: ItemsTable, scores: StudyScores) -> None:
        self._level = plan.space.level
        self._scores = scores
        self._reader = ArmReader(items, scores)
        self._cells = {planned.id: planned for planned in plan.cells}
        self._floor = lru_cache(maxsize=None)(self._judge_floor)
        self._trivial = {
            (point.place, point.model, point.recipe): point.easy
            for point in plan.points
            if self._cells[point.easy.cells[0]].cell.labels.kind == "trivial"
        }

    def row(self, point: points.Point) -> SurfaceRow:
        """Returns the row of a point."""
        arms = _planned_arms(point)
        cells = {id_ for arm in arms.values() for id_ in arm.cells}
        seconds = [
            self._scores.records[id_].seconds["total"]
            for id_ in cells & self._scores.records.keys()
        ]
        source = self._cells[point.easy.cells[0]]
        row = SurfaceRow(
            point=point,
            role=condition_kind(source),
            label_kind=source.cell.labels.kind,
            hard_labels=None if point.hard is None else self._num_labels(point.hard),
            num_cells=len(cells),
            cell_seconds=sum(seconds) if seconds else None,
            reason=point.reason or missing_reason(arms, self._scores),
        )
        if not len(self._reader.test_level(*point.place).columns):
            return replace(row, reason=row.reason or f"no test item in {point.test_level.name}")
        return self._with_scores(row, arms)

    def _num_labels(self, arm: points.PlannedArm) -> int:
        return num_labels(self._cells[arm.cells[0]].cell.recipe)

    def _with_scores(self, row: SurfaceRow, arms: Mapping[str, points.PlannedArm]) -> SurfaceRow:
        """Adds what the finished arms show, and the estimates where all of them are finished."""
        point, reader = row.point, self._reader
        level = reader.test_level(*point.place)
        finished = {
            name: reader.arm(arm, *point.place)
            for name, arm in arms.items()
            if reader.is_finished(arm)
        }
        if "easy" not in finished:
            finished.pop("start", None)  # a start is only shown with its gain
        shares = {name: reader.unreadable(arms[name], *point.place) for name in finished}
        row = replace(
            row,
            num_items=len(level.columns),
            accuracies={name: float(np.nanmean(arm.scores)) for name, arm in finished.items()},
            unreadable={name: share for name, share in shares.items() if share is not None},
            gain_over_start=reader.gain_over_start(point, self._level)
            if "start" in finished
            else None,
        )
        if row.reason is not None:
            return row
        try:
            estimate = reader.estimate(point, self._level)
        except ValueError as error:
            return replace(row, reason=str(error), accuracies={})
        return replace(
            row,
            num_items=estimate.num_items,
            accuracies={**row.accuracies, **estimate.means},
            estimate=estimate,
            floor=self._floor(point.zero_shot, *point.place),
            recovery_over_start=sgr.estimate_residual_recovery(
                easy=finished["start"],
                ssrm=finished["easy"],
                hard=finished["hard"],
                level=self._level,
                clusters=level.clusters,
            )
            if "start" in finished
            else None,
            over_trivial=self._over_trivial(row, finished),
        )

    def _over_trivial(
        self, row: SurfaceRow, finished: Mapping[str, sgr.ArmScores]
    ) -> sgr.Recovery | None:
        """Returns the share over the trivial control, where its cells are finished."""
        point = row.point
        trivial = self._trivial.get((point.place, point.model, point.recipe))
        if trivial is None or row.label_kind == "trivial":
            return None
        if not self._reader.is_finished(trivial):
            return None
        return sgr.estimate_over_trivial(
            trivial=self._reader.arm(trivial, *point.place),
            easy=finished["easy"],
            hard=finished["hard"],
            level=self._level,
            clusters=self._reader.test_level(*point.place).clusters,
        )

    def _judge_floor(
        self, planned: points.PlannedArm, task: str, measure: str, level: Level
    ) -> Floor:
        where = (task, measure, level)
        test = self._reader.test_level(*where)
        return judge_floor(
            self._reader.arm(planned, *where),
            test.chance,
            unreadable=self._reader.unreadable(planned, *where),
            level=self._level,
            clusters=test.clusters,
        )


def missing_reason(arms: Mapping[str, points.PlannedArm], scores: StudyScores) -> str | None:
    """Returns which cells of which arms are missing and why; None if none is missing.

    Example: `3 of 5 hard cells missing: 2 not run, 1 failed: out of memory`.
    """
    parts = []
    for name, arm in arms.items():
        absent = [scores.missing[id_] for id_ in arm.cells if id_ in scores.missing]
        if absent:
            texts = dict.fromkeys(cell.text for cell in absent)
            counts = {text: sum(cell.text == text for cell in absent) for text in texts}
            why = ", ".join(
                text if len(counts) == 1 else f"{number} {text}" for text, number in counts.items()
            )
            label = name.replace("_", "-")
            parts.append(
                f"{len(absent)} of {count(len(arm.cells), f'{label} cell')} missing: {why}"
            )
    return "; ".join(parts) or None


def _planned_arms(point: points.Point) -> dict[str, points.PlannedArm]:
    arms = {"zero_shot": point.zero_shot, "easy": point.easy}
    if point.hard is not None:
        arms["hard"] = point.hard
    if point.start is not None:
        arms["start"] = point.start
    return arms
