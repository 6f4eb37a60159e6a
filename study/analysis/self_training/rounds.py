"""Reads the rounds of self-training of a study and joins gold labels to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from search_spaces.levels import Level
from search_spaces.space import TaskAxis
from study.analysis.self_training.audit import AuditedRound, PoolAnswers
from study.analysis.surface import Surface
from study.artifacts.items import ItemsTable, TaskItems
from study.artifacts.plan import Plan
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import Storage, map_parallel
from trainables.storage.records import InvalidRecordError, Record, read_file, read_scores

_Floats = NDArray[np.float64]

Selection = Sequence[Mapping[str, Any]]
"""Rows of selection.parquet."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rounds:
    """The finished rounds of a study."""

    audited: tuple[AuditedRound, ...]
    selections: Mapping[str, Selection]
    """Cell id -> its answers to its pool and its selection, without gold."""
    faults: tuple[str, ...]
    """Rounds that could not be audited, with the reason."""


def read_rounds(storage: Storage, plan: Plan, surface: Surface) -> Rounds:
    """Reads every finished round of the plan and joins gold to it by item id.

    Args:
        storage: The run folder.
        plan: The study.
        surface: Its records and items.
    """
    records = surface.scores.records
    planned = [c for c in plan.cells if c.cell.self_training is not None and c.id in records]
    read = map_parallel(storage, lambda c: _read_selection(storage, c.id, records[c.id]), planned)
    faults = [result for result in read if isinstance(result, str)]
    selections = {
        cell.id: result
        for cell, result in zip(planned, read, strict=True)
        if not isinstance(result, str)
    }
    join = _Join(storage, plan, surface.items, records)
    audited = []
    for cell in planned:
        if cell.id in selections:
            try:
                audited.append(join.round(cell, selections))
            except (InvalidRecordError, ValueError) as error:
                faults.append(f"{cell.label}: {error}")
    return Rounds(audited=tuple(audited), selections=selections, faults=tuple(faults))


def axis_of(plan: Plan, planned: PlannedCell) -> TaskAxis:
    """Returns the axis that a round belongs to."""
    return next(
        axis
        for axis in plan.space.tasks
        if (axis.task, axis.measure) == (planned.cell.task, planned.measure)
    )


def hardness_and_levels(
    items: TaskItems, axis: TaskAxis
) -> tuple[Mapping[str, float], Mapping[str, str]]:
    """Returns the hardness and the band (`band_name`) of each item."""
    values = items.table[f"measure.{axis.measure}"].to_pylist()
    hardness = {
        id_: value
        for id_, value in zip(items.ids.to_pylist(), values, strict=True)
        if value is not None
    }
    names = {value: band_name(axis, value) for value in set(hardness.values())}
    return hardness, {id_: names[value] for id_, value in hardness.items()}


def band_name(axis: TaskAxis, value: float) -> str:
    """Returns the band of a hardness, `no level` outside of all levels.

    Bands are the finest disjoint parts into which training and test levels divide the measure: a
    level that no other one intersects, or `hard without steps 6`.
    """
    by_interval: dict[tuple[float, float], Level] = {}
    for level in (*axis.train_levels, *axis.test_levels):
        by_interval.setdefault((level.low, level.high), level)
    levels = by_interval.values()
    holders = [level for level in levels if level.holds(value)]
    if not holders:
        return "no level"
    low, high = max(level.low for level in holders), min(level.high for level in holders)
    finest = [level for level in holders if not any(_inside(other, level) for other in holders)]
    cut = [
        level.name
        for level in levels
        if level not in holders and level.low <= high and level.high >= low
    ]
    name = " and ".join(level.name for level in finest)
    return f"{name} without {', '.join(cut)}" if cut else name


def _inside(inner: Level, outer: Level) -> bool:
    """Returns whether one level is a proper part of another."""
    return (
        outer.low <= inner.low
        and inner.high <= outer.high
        and (inner.low, inner.high) != (outer.low, outer.high)
    )


def _read_selection(storage: Storage, id_: str, record: Record) -> Selection | str:
    """Reads the selection of a round, or returns why it cannot be read."""
    try:
        content = read_file(storage, record, layout.selection(id_))
        table = pq.read_table(pa.BufferReader(content))
    except (InvalidRecordError, pa.ArrowException) as error:
        return str(error)
    rows: Selection = table.to_pylist()
    return rows


class _Join:
    """Joins gold from a study's items to its rounds."""

    def __init__(
        self, storage: Storage, plan: Plan, items: ItemsTable, records: Mapping[str, Record]
    ) -> None:
        self._storage = storage
        self._plan = plan
        self._items = items
        self._records = records
        self._gold_hash = {
            task: dict(
                zip(split.ids.to_pylist(), split.table["gold_hash"].to_pylist(), strict=True)
            )
            for task, split in items.pool.items()
        }
        self._gold = {
            task: dict(zip(split.ids.to_pylist(), split.table["gold"].to_pylist(), strict=True))
            for task, split in items.test.items()
        }
        self._levels: dict[tuple[str, str | None, str], Mapping[str, str]] = {}

    def round(self, planned: PlannedCell, selections: Mapping[str, Selection]) -> AuditedRound:
        """Returns a round with gold.

        Raises:
            ValueError: If an item of its pool is not one of the study's, or has no correct choice.
            InvalidRecordError: If its scores, or those of its parent, cannot be read.
        """
        rows = selections[planned.id]
        selection = self._records[planned.id].selection or {}
        before, after = (_temperature(selection, key) for key in _TEMPERATURES)
        pool = self._pool(planned, rows, "", before)
        shown = sorted(set(pool.levels))
        return AuditedRound(
            planned=planned,
            threshold=selection.get("threshold"),
            pool=pool,
            selected=np.array([row["weight"] > 0.0 for row in rows]),
            confident=np.array([row["is_confident"] for row in rows]),
            kept=_kept(planned, rows, selections.get(planned.cell.parent or "", ())),
            targets=tuple(_index(row["choices"], row["trained_on"]) for row in rows),
            pool_after=self._pool(planned, rows, "_after", after),
            test_before=self._test(planned, planned.cell.parent or "", shown, before),
            test_after=self._test(planned, planned.id, shown, after),
        )

    def _pool(
        self, planned: PlannedCell, rows: Selection, when: str, temperature: float | None
    ) -> PoolAnswers:
        known = self._gold_hash[planned.cell.task]
        levels = self._level_of(planned, "pool")
        gold = []
        for row in rows:
            id_, choices = row["item_id"], row["choices"]
            right = [i for i, choice in enumerate(choices) if choice == known.get(id_)]
            if len(right) != 1:
                raise ValueError(
                    f"item {id_!r} of its pool is not in items.parquet with exactly one correct "
                    "choice; run the sweep again"
                )
            gold.append(right[0])
        return PoolAnswers(
            ids=tuple(row["item_id"] for row in rows),
            levels=tuple(levels.get(row["item_id"], "no level") for row in rows),
            probabilities=_column(rows, f"probabilities{when}"),
            gold=tuple(gold),
            raw=None if temperature is None else _column(rows, f"raw_probabilities{when}"),
            temperature=temperature,
        )

    def _test(
        self, planned: PlannedCell, id_: str, shown: Sequence[str], temperature: float | None
    ) -> PoolAnswers | None:
        """Answers of a cell to the test items of these levels; None if it has not finished.

        The temperature is applied to the recorded scores. If a recipe answers in all orders, these
        are averages, whereas in the pool it is applied to each order.
        """
        record = self._records.get(id_)
        if record is None:
            return None
        table = read_scores(self._storage, id_, record, ["item_id", "log_probs"])
        levels = self._level_of(planned, "test")
        gold = self._gold[planned.cell.task]
        kept = [
            (item, np.asarray(values, dtype=float))
            for item, values in zip(
                table["item_id"].to_pylist(), table["log_probs"].to_pylist(), strict=True
            )
            if levels.get(item) in shown and values is not None
        ]
        return PoolAnswers(
            ids=tuple(item for item, _ in kept),
            levels=tuple(levels[item] for item, _ in kept),
            probabilities=tuple(_softmax(values / (temperature or 1.0)) for _, values in kept),
            gold=tuple(gold[item] for item, _ in kept),
            raw=None if temperature is None else tuple(_softmax(values) for _, values in kept),
            temperature=temperature,
        )

    def _level_of(self, planned: PlannedCell, split: str) -> Mapping[str, str]:
        key = (planned.cell.task, planned.measure, split)
        if key not in self._levels:
            tables = self._items.pool if split == "pool" else self._items.test
            axis = axis_of(self._plan, planned)
            self._levels[key] = hardness_and_levels(tables[planned.cell.task], axis)[1]
        return self._levels[key]


def _kept(planned: PlannedCell, rows: Selection, before: Selection) -> tuple[int | None, ...]:
    """Returns the pseudo-label of each item that a round trained on, None for other items.

    Args:
        planned: The round.
        rows: Its selection.
        before: The selection of its parent, which trains on pseudo-labels even in a control.
    """
    options = planned.cell.self_training
    admitted: Mapping[str, str | None] = {}
    if options is not None and options.memory == "accumulate":
        admitted = {row["item_id"]: row["trained_on"] for row in before}
    return tuple(
        _index(row["choices"], admitted.get(row["item_id"]) or row["label"])
        if row["weight"] > 0.0
        else None
        for row in rows
    )


def _index(choices: Sequence[str], label: str | None) -> int | None:
    return None if label is None else list(choices).index(label)


_TEMPERATURES = ("temperature", "temperature_after")
"""Keys in a record: the temperatures of the models before and after the round."""


def _temperature(selection: Mapping[str, Any], key: str) -> float | None:
    fit = selection.get(key)
    return None if fit is None else float(fit["value"])


def _column(rows: Selection, name: str) -> tuple[_Floats, ...]:
    return tuple(np.asarray(row[name], dtype=float) for row in rows)


def _softmax(values: _Floats) -> _Floats:
    exps = np.exp(values - values.max())
    return np.asarray(exps / exps.sum(), dtype=np.float64)
