"""The surface: SGR with an interval and a verdict at every point of a plan, from its records.

A pure function of what lies in the run folder: plan.json, items.parquet and the records of the
plan's cells. No torch, no Ray, no network; the statistics are `study.statistics.sgr`'s.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from search_spaces.levels import Level
from search_spaces.recipes import num_labels
from study.analysis.scores import UNSEEN, StudyScores, collect_scores
from study.analysis.surface_rows import (
    FLOOR_AT_CHANCE,
    NOTHING,
    Interval,
    SurfaceRow,
    surface_table,
)
from study.artifacts import points
from study.artifacts.condition_kinds import condition_kind
from study.artifacts.items import ItemsTable, read_items
from study.artifacts.plan import Plan
from study.statistics import sgr
from study.statistics.floor import Floor, judge_floor
from trainables.storage import layout
from trainables.storage.filesystem import Storage

MUCH_OVERLAP = 0.5
"""Above this expected share of common labels, seeds say little about other pools (DESIGN 6)."""

GIVEN_THIS_POOL = "given this pool"

_CACHED_ARMS = 256
"""Score matrices kept: points of one model and recipe stand together and share their arms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How much of a plan there is."""

    planned: int
    finished: int
    not_run: int
    failed: int
    not_valid: int
    """Records that are corrupt or of another cell."""
    ignored: int
    """Cell folders that are not the plan's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """Every point of a plan with its estimate or the reason why there is none."""

    rows: tuple[SurfaceRow, ...]
    """In the order of the plan's points."""
    level: float
    """Confidence of the intervals."""
    counts: Counts
    reasons: Mapping[str, str]
    """Cell id -> why it has no scores, for every missing cell of the plan."""
    items: ItemsTable
    scores: StudyScores


def compute_surface(storage: Storage, plan: Plan) -> Surface:
    """Computes every point of a plan from the records that are there.

    Args:
        storage: The run folder.
        plan: Its points and cells; records of other cells are counted and ignored.

    Returns:
        The surface; a point with missing cells has no estimate but the reason.

    Raises:
        ValueError: If items.parquet is missing, or cells are of different data or splits.
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


def write_surface(storage: Storage, plan: Plan, surface: Surface) -> str:
    """Writes surface.parquet, one row a point, and returns its path."""
    buffer = io.BytesIO()
    pq.write_table(surface_table(surface.rows), buffer, compression="zstd")
    storage.write_bytes(layout.surface(plan.space.name), buffer.getvalue())
    return storage.path(layout.surface(plan.space.name))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TestLevel:
    """The test items of a level."""

    columns: NDArray[np.intp]
    """Where they stand in the score matrices."""
    clusters: tuple[str, ...] | None
    """The group each was sampled in, or None where every item stands alone."""
    chance: NDArray[np.float64]
    """Probability that a guess is right: 1 / choices, 0 where the answer is free."""


class ArmReader:
    """Arms of a plan's points as score matrices, each made once while it is in use."""

    def __init__(self, items: ItemsTable, scores: StudyScores) -> None:
        self._items = items
        self._scores = scores
        self.test_level = lru_cache(maxsize=None)(self._test_level)
        self.arm = lru_cache(maxsize=_CACHED_ARMS)(self._arm)

    def _test_level(self, task: str, measure: str, level: Level) -> TestLevel:
        items = self._items.test[task]
        columns = items.rows_of(measure, level)
        groups, ids = items.groups, items.ids
        labels = tuple(
            f"item {ids[column]}" if groups[column] is None else f"group {groups[column]}"
            for column in columns
        )
        alone = len(set(labels)) == len(labels)
        choices = items.table["num_choices"].to_numpy()[columns]
        return TestLevel(
            columns=columns,
            clusters=None if alone else labels,
            chance=np.where(choices > 1, 1.0 / choices, 0.0),
        )

    def _arm(
        self, planned: points.PlannedArm, task: str, measure: str, level: Level
    ) -> sgr.ArmScores:
        matrices = self._scores.tasks[task]
        rows = np.array([matrices.row[id_] for id_ in planned.cells])
        columns = self.test_level(task, measure, level).columns
        right = matrices.correct[np.ix_(rows, columns)]
        scores = right.T.astype(np.float64)
        if right.size and right.min() == UNSEEN:
            scores[right.T == UNSEEN] = np.nan
        return sgr.ArmScores(scores=scores, draw_ids=planned.draws)

    def unreadable(
        self, planned: points.PlannedArm, task: str, measure: str, level: Level
    ) -> float | None:
        """Returns the share of an arm's generated answers without an answer that can be read.

        Args:
            planned: The arm, all of whose cells are finished.
            task: Of the test level.
            measure: Likewise.
            level: The test level, which has items.

        Returns:
            Over the arm's (item, seed) pairs; None where it scores choices.
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

    def row(self, point: points.Point) -> SurfaceRow:
        """Returns the row of a point."""
        arms = _planned_arms(point)
        cells = {id_ for arm in arms.values() for id_ in arm.cells}
        finished = cells & self._scores.records.keys()
        seconds = [self._scores.records[id_].seconds["total"] for id_ in finished]
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
        return self._with_numbers(row, arms)

    def _num_labels(self, arm: points.PlannedArm) -> int:
        return num_labels(self._cells[arm.cells[0]].cell.recipe)

    def _with_numbers(self, row: SurfaceRow, arms: Mapping[str, points.PlannedArm]) -> SurfaceRow:
        point = row.point
        where = (point.task, point.measure, point.test_level)
        level = self._reader.test_level(*where)
        if not len(level.columns):
            return replace(row, reason=row.reason or f"no test item in {point.test_level.name}")
        there = {
            name: self._reader.arm(arm, *where)
            for name, arm in arms.items()
            if all(id_ in self._scores.records for id_ in arm.cells)
        }
        row = _with_gain(row, there, level, self._level)
        row = replace(
            row,
            unreadable={
                name: share
                for name in there
                if (share := self._reader.unreadable(arms[name], *where)) is not None
            },
        )
        if row.reason is not None:
            means = {name: float(np.nanmean(arm.scores)) for name, arm in there.items()}
            return replace(
                row,
                zero_shot=means.get("zero_shot"),
                easy=means.get("easy"),
                hard=means.get("hard"),
                num_items=len(level.columns),
            )
        try:
            estimate = sgr.estimate_sgr_of_arms(
                zero_shot=there["zero_shot"],
                easy=there["easy"],
                hard=there["hard"],
                level=self._level,
                clusters=level.clusters,
            )
        except ValueError as error:
            return replace(row, reason=str(error), num_items=len(level.columns))
        row = _with_floor(_estimated(row, estimate), self._floor(point.zero_shot, *where))
        return _with_residual(row, there, level, self._level)

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
    """Says which cells of which arms are missing and why; None where all are there.

    Example: `3 of 5 hard cells missing: 2 not run, 1 failed: out of memory`.
    """
    parts = []
    for name, arm in arms.items():
        absent = [scores.missing[id_] for id_ in arm.cells if id_ in scores.missing]
        if absent:
            texts = dict.fromkeys(cell.text for cell in absent)
            counts = {text: sum(cell.text == text for cell in absent) for text in texts}
            why = ", ".join(
                text if len(counts) == 1 else f"{count} {text}" for text, count in counts.items()
            )
            label = name.replace("_", "-")
            parts.append(f"{len(absent)} of {len(arm.cells)} {label} cells missing: {why}")
    return "; ".join(parts) or None


def _planned_arms(point: points.Point) -> dict[str, points.PlannedArm]:
    arms = {"zero_shot": point.zero_shot, "easy": point.easy}
    if point.hard is not None:
        arms["hard"] = point.hard
    if point.start is not None:
        arms["start"] = point.start
    return arms


def _estimated(row: SurfaceRow, estimate: sgr.SgrEstimate) -> SurfaceRow:
    """Puts the numbers of an estimate into a row."""
    notes = [estimate.verdict_note] if estimate.verdict_note else []
    if estimate.missing_share > 0:
        notes.append(f"{estimate.missing_share:.2%} of scores missing")
    if row.point.pool_overlap > MUCH_OVERLAP:
        notes.append(GIVEN_THIS_POOL)
    return replace(
        row,
        zero_shot=estimate.zero_shot,
        easy=estimate.easy,
        hard=estimate.hard,
        sgr=Interval(
            estimate=estimate.value,
            low=estimate.low,
            high=estimate.high,
            p_value=estimate.p_full_recovery,
        ),
        verdict=estimate.verdict,
        verdict_note="; ".join(notes),
        gap=Interval(estimate=estimate.gap, low=estimate.gap_low, high=estimate.gap_high),
        easy_gain=_interval(estimate.easy_gain),
        hard_gain=_interval(estimate.hard_gain),
        hard_minus_easy=_interval(estimate.hard_minus_easy),
        num_items=estimate.num_items,
        num_seeds=estimate.num_seeds,
        missing_share=estimate.missing_share,
    )


def _with_floor(row: SurfaceRow, floor: Floor) -> SurfaceRow:
    """Takes the SGR from a point whose zero-shot arm is no zero, and labels one at chance."""
    row = replace(row, chance=floor.chance)
    if floor.verdict is not None:
        note = "; ".join(filter(None, (floor.verdict_note, row.verdict_note)))
        return replace(row, sgr=NOTHING, verdict=floor.verdict, verdict_note=note)
    return replace(row, caveats=(*row.caveats, FLOOR_AT_CHANCE)) if floor.at_chance else row


def _with_gain(
    row: SurfaceRow, arms: Mapping[str, sgr.ArmScores], level: TestLevel, confidence: float
) -> SurfaceRow:
    """Adds what self-training gains over its start; the two arms are enough for that."""
    if "start" not in arms or "easy" not in arms:
        return row
    gain = sgr.paired_difference(
        arms["easy"], arms["start"], level=confidence, clusters=level.clusters
    )
    return replace(row, start=float(np.nanmean(arms["start"].scores)), ssrm_gain=_interval(gain))


def _with_residual(
    row: SurfaceRow, arms: Mapping[str, sgr.ArmScores], level: TestLevel, confidence: float
) -> SurfaceRow:
    """Adds residual recovery where the source is a self-trained arm that started from another."""
    if "start" not in arms:
        return row
    estimate = sgr.estimate_residual_recovery(
        easy=arms["start"],
        ssrm=arms["easy"],
        hard=arms["hard"],
        level=confidence,
        clusters=level.clusters,
    )
    share = Interval(estimate=estimate.value, low=estimate.low, high=estimate.high)
    return replace(row, residual=share, residual_verdict=estimate.verdict)


def _interval(difference: sgr.Difference) -> Interval:
    return Interval(
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
    )
