"""Reads the rounds of self-training of a study, and joins the gold labels they did not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from study.artifacts.items import ItemsTable, TaskItems, text_hash
from study.artifacts.plan import Plan
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, Record, read_file, read_scores

_READERS = 8
"""Threads that read selections: most of the time is spent waiting for the storage."""

_Floats = NDArray[np.float64]

Selection = Sequence[Mapping[str, Any]]
"""Rows of selection.parquet."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rounds:
    """The finished rounds of a study."""

    audited: tuple[AuditedRound, ...]
    selections: Mapping[str, Selection]
    """Cell id -> what it thought of its pool, without gold."""
    faults: tuple[str, ...]
    """Rounds that cannot be audited, and why."""


def read_rounds(storage: Storage, plan: Plan, surface: Surface) -> Rounds:
    """Reads every finished round of the plan and joins gold to it by item id.

    Args:
        storage: The run folder.
        plan: Says which cells are rounds.
        surface: Its records and items.
    """
    records = surface.scores.records
    planned = [c for c in plan.cells if c.cell.self_training is not None and c.id in records]
    with ThreadPoolExecutor(_READERS) as pool:
        read = list(pool.map(lambda c: _read_selection(storage, c.id, records[c.id]), planned))
    faults = [found for found in read if isinstance(found, str)]
    selections = {
        cell.id: found
        for cell, found in zip(planned, read, strict=True)
        if not isinstance(found, str)
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
    """Returns the hardness of each item and the name of the band it belongs to (`band_name`)."""
    values = items.table[f"measure.{axis.measure}"].to_pylist()
    hardness = {
        id_: value
        for id_, value in zip(items.ids.to_pylist(), values, strict=True)
        if value is not None
    }
    names = {value: band_name(axis, value) for value in set(hardness.values())}
    return hardness, {id_: names[value] for id_, value in hardness.items()}


def band_name(axis: TaskAxis, value: float) -> str:
    """Returns the name of the band that a hardness lies in, `no level` outside of all levels.

    Bands are the finest disjoint parts that training and test levels cut the measure into: a level
    of its own where no other one cuts it, `hard without steps 6` where one does.
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
    """Says whether one level is a part of another, and not the same."""
    return (
        outer.low <= inner.low
        and inner.high <= outer.high
        and (inner.low, inner.high) != (outer.low, outer.high)
    )


def _read_selection(storage: Storage, id_: str, record: Record) -> Selection | str:
    """Reads what a round thought of its pool, or says why it cannot be read."""
    try:
        content = read_file(storage, record, layout.selection(id_))
        table = pq.read_table(pa.BufferReader(content))
    except (InvalidRecordError, pa.ArrowException) as error:
        return str(error)
    rows: Selection = table.to_pylist()
    return rows


class _Join:
    """Joins gold to rounds, from one study's items."""

    def __init__(
        self, storage: Storage, plan: Plan, items: ItemsTable, records: Mapping[str, Record]
    ) -> None:
        self._storage = storage
        self._plan = plan
        self._items = items
        self._records = records
        self._gold_hash = {
            task: dict(zip(part.ids.to_pylist(), part.table["gold_hash"].to_pylist(), strict=True))
            for task, part in items.pool.items()
        }
        self._gold = {
            task: dict(zip(part.ids.to_pylist(), part.table["gold"].to_pylist(), strict=True))
            for task, part in items.test.items()
        }
        self._levels: dict[tuple[str, str | None, str], Mapping[str, str]] = {}

    def round(self, planned: PlannedCell, selections: Mapping[str, Selection]) -> AuditedRound:
        """Returns a round with gold.

        Raises:
            ValueError: If an item of its pool is not one of the study's, or has no right choice.
            InvalidRecordError: If scores that it needs cannot be read.
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
            right = [i for i, t in enumerate(choices) if text_hash(id_, t) == known.get(id_)]
            if len(right) != 1:
                raise ValueError(
                    f"item {id_!r} of its pool is not an item of items.parquet with one right "
                    "choice among those that were labelled; run the sweep again"
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
        """Answers of a cell on the test items of these levels; None where it has not finished.

        The temperature is applied to the recorded scores: where a recipe answers in all orders,
        that is to their average, and not to each as in the pool.
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

    def _level_of(self, planned: PlannedCell, part: str) -> Mapping[str, str]:
        key = (planned.cell.task, planned.measure, part)
        if key not in self._levels:
            tables = self._items.pool if part == "pool" else self._items.test
            axis = axis_of(self._plan, planned)
            self._levels[key] = hardness_and_levels(tables[planned.cell.task], axis)[1]
        return self._levels[key]


def _kept(planned: PlannedCell, rows: Selection, before: Selection) -> tuple[int | None, ...]:
    """Returns, item by item, the pseudo-label that a round kept it with.

    Args:
        planned: The round.
        rows: What it thought of its pool.
        before: Likewise its parent, which trains on its pseudo-labels whatever the round does.
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


def _index(choices: Sequence[str], text: str | None) -> int | None:
    return None if text is None else list(choices).index(text)


_TEMPERATURES = ("temperature", "temperature_after")
"""Of the models before and after a round, in its record."""


def _temperature(selection: Mapping[str, Any], key: str) -> float | None:
    found = selection.get(key)
    return None if found is None else float(found["value"])


def _column(rows: Selection, name: str) -> tuple[_Floats, ...]:
    return tuple(np.asarray(row[name], dtype=float) for row in rows)


def _softmax(values: _Floats) -> _Floats:
    exps = np.exp(values - values.max())
    found: _Floats = exps / exps.sum()
    return found
