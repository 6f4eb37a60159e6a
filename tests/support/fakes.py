"""Small studies with real plans, items and records, made in a moment: no model is run.

The scores follow a simple law (skill of model and training against an item's steps), so that
tests know which points must be resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import STEP_VERSIONS, Cell, cell_id
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA, Recipe, ZeroShot, num_labels
from search_spaces.space import Contrast, Space, TaskAxis
from search_spaces.supervision import Condition, Labels
from study.artifacts.items import write_items
from study.artifacts.plan import LevelSize, ModelFacts, Plan, PlannedTask, write_plan
from study.artifacts.points import PlannedArm, Point
from study.planning.conditions import cell_draws, condition_recipe
from study.planning.levels import Hardness, hard_level, sources
from study.planning.variants import disambiguate_conditions, variant_label
from tests.support.fake_tasks import fake_task, log_probs, pool_rows
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws
from trainables.data.seeding import ids_hash
from trainables.storage import layout
from trainables.storage.failures import write_failure
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import parquet_bytes, scores_table, write_record

EASY = Level(name="easy", low=1, high=2)
HARD = Level(name="hard", low=3, high=4)
ONLY_4 = Level(name="steps 4", low=4, high=4)
PARAMS: Mapping[str, int] = {"small": 100_000, "large": 1_000_000, "huge": 10_000_000}
OTHER_PARAMS = 5_000_000


def fake_space(**changes: object) -> Space:
    """Two models, two methods, three seeds, easy and hard labels."""
    values: dict[str, object] = {
        "name": "fake",
        "models": (BaseModelRef(name="small"), BaseModelRef(name="large")),
        "tasks": (
            TaskAxis(
                task="toy", measure="steps", train_levels=(EASY, HARD), test_levels=(HARD, ONLY_4)
            ),
        ),
        "methods": (InContext(k=4), LoRA(n_train=8)),
        "seeds": 3,
        "contrasts": (Contrast(null="E=H", condition="easy", test_level="hard"),),
    }
    return Space.model_validate({**values, **changes})


def _level(axis: TaskAxis, condition: Condition) -> Level | None:
    return axis.train_level(condition.levels[0]) if len(condition.levels) == 1 else None


@dataclass
class FakeStudy:
    """A planned study in a run folder, whose records can be written one by one."""

    storage: Storage
    space: Space = field(default_factory=fake_space)
    items_per_level: int = 60
    group_size: int = 1
    num_steps: int = 4

    def __post_init__(self) -> None:
        names = dict.fromkeys(axis.task for axis in self.space.tasks)
        self.tasks = {
            name: fake_task(name, self.items_per_level, self.group_size, self.num_steps)
            for name in names
        }
        self._cells: dict[str, PlannedCell] = {}
        points = [
            point
            for axis in self.space.tasks
            for model in self.space.models
            for recipe in self.space.methods
            for point in self._points(axis, model.name, recipe)
        ]
        self.plan = Plan(
            space=self.space,
            tasks=tuple(self._facts(axis) for axis in self.space.tasks),
            models=tuple(
                ModelFacts(
                    name=model.name,
                    content=f"files:{model.name}",
                    dtype="float32",
                    num_params=PARAMS.get(model.name, OTHER_PARAMS),
                )
                for model in self.space.models
            ),
            cells=tuple(self._cells.values()),
            units=tuple((id_,) for id_ in self._cells),
            points=tuple(points),
        )

    def write(self) -> FakeStudy:
        """Writes plan and items, as the sweep does before the first cell runs."""
        write_plan(self.storage, self.plan)
        write_items(self.storage, self.plan, self.tasks)
        return self

    def finish(self, cells: Iterable[PlannedCell] | None = None) -> FakeStudy:
        """Writes the records of these cells, by default of all."""
        for planned in self.plan.cells if cells is None else cells:
            self.finish_cell(planned)
        return self

    def finish_cell(
        self,
        planned: PlannedCell,
        *,
        shuffle: bool = False,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Writes the record of one cell; `shuffle`: its items in another order."""
        task = self.tasks[planned.cell.task]
        rng = np.random.default_rng(int(planned.id, 16))
        items = list(task.by_id(task.split.test))
        values = [log_probs(rng, planned, item) for item in items]
        if shuffle:
            order = rng.permutation(len(items))
            items, values = [items[i] for i in order], [values[i] for i in order]
        selection, files = None, dict(files or {})
        if planned.cell.self_training is not None:
            rows = pool_rows(planned, self.tasks[planned.cell.task])
            files[layout.selection(planned.id)] = parquet_bytes(pa.Table.from_pylist(rows))
            selection = round_facts(planned, rows)
        write_record(
            self.storage,
            planned.cell,
            scores_table([i.id for i in items], [i.answer for i in items], values),
            seconds={"load": 0.5, "run": 1.5, "total": 2.0},
            execution={"class": "A", "host": "toy CPU", "device": "cpu", "threads": 1},
            curve=[{"step": s, "loss": 2.0 / (s + 1)} for s in range(5)]
            if planned.cell.recipe.method == "lora"
            else (),
            selection=selection,
            files=files,
        )

    def fail_cell(self, planned: PlannedCell, reason: str = "out of memory") -> None:
        """Leaves a failure instead of a record."""
        self.storage.delete(f"cells/{planned.id}")
        write_failure(self.storage, planned.id, reason=reason, details="")

    def cells(
        self, condition: str, model: str = "small", method: str = "lora"
    ) -> list[PlannedCell]:
        """Returns the planned cells of one arm."""
        return [
            cell
            for cell in self.plan.cells
            if cell.condition == condition
            and cell.model_name == model
            and method in (cell.cell.recipe.method, "any")
        ]

    def _points(self, axis: TaskAxis, model: str, recipe: Recipe) -> Iterable[Point]:
        task = self.tasks[axis.task]
        hardness = Hardness(task, axis)
        base = ZeroShot(quantization=recipe.quantization, orders=recipe.orders)
        zero_shot = PlannedArm(cells=(self._plan(axis, model, base, None).id,))
        for test in axis.test_levels:
            ceiling = hard_level(axis, test)
            for condition in sources(axis, test):
                used = condition_recipe(recipe, condition)
                shared = Point(
                    model=model,
                    num_params=PARAMS.get(model, OTHER_PARAMS),
                    task=axis.task,
                    measure=axis.measure,
                    recipe=used,
                    condition=condition.name,
                    variant=variant_label(condition, disambiguate_conditions(axis.conditions)),
                    train_level=_level(axis, condition),
                    test_level=test,
                    hard_level=ceiling,
                    difficulty_gap=hardness.gap(condition, test),
                    num_labels=num_labels(used),
                    label_cost=condition.label_cost,
                    noise_rate=condition.labels.rate or None,
                    pool_overlap=0.25,
                    zero_shot=zero_shot,
                    easy=self._arm(axis, model, used, condition),
                    hard=None
                    if ceiling is None
                    else self._arm(
                        axis, model, recipe, Condition(name=ceiling.name, levels=(ceiling.name,))
                    ),
                )
                if condition.self_training is None:
                    yield shared
                    continue
                for number in range(1, condition.rounds + 1):
                    yield shared.model_copy(
                        update={
                            "threshold": condition.threshold,
                            "ssrm_round": number,
                            "self_training": condition.self_training,
                            "easy": self._arm(axis, model, used, condition, number),
                            "start": shared.easy,
                        }
                    )

    def _arm(
        self, axis: TaskAxis, model: str, recipe: Recipe, condition: Condition, number: int = 0
    ) -> PlannedArm:
        planned = [
            self._round(axis, model, recipe, condition, number, seed)
            for seed in range(self.space.seeds)
        ]
        draws = [cell.draws.id for cell in planned if cell.draws is not None]
        return PlannedArm(cells=tuple(cell.id for cell in planned), draws=tuple(draws))

    def _round(
        self,
        axis: TaskAxis,
        model: str,
        recipe: Recipe,
        condition: Condition,
        number: int,
        seed: int,
    ) -> PlannedCell:
        draws = cell_draws(self.space, axis, recipe, condition, seed)
        options = condition.self_training
        if number == 0 or options is None:
            labels_only = draws.model_copy(update={"validation": (), "unlabelled": ()})
            return self._plan(axis, model, recipe, labels_only, condition)
        chain = condition.model_copy(
            update={"self_training": options.model_copy(update={"targets": "pseudo"})}
        )
        parent = self._round(axis, model, recipe, chain, number - 1, seed)
        changes = {"self_training": options, "round": number, "parent": parent.id}
        changes["round_version"] = STEP_VERSIONS["self-training"]
        return self._plan(axis, model, recipe, draws, condition, changes)

    def _plan(
        self,
        axis: TaskAxis,
        model: str,
        recipe: Recipe,
        draws: CellDraws | None,
        condition: Condition | None = None,
        changes: Mapping[str, object] | None = None,
    ) -> PlannedCell:
        task = self.tasks[axis.task]
        cell = Cell(
            model=f"files:{model}",
            dtype="float32",
            task=axis.task,
            data_hash=task.data.data_hash,
            split_hash=task.split.split_hash,
            prompt="toy-prompt",
            recipe=recipe,
            training_hash=None if draws is None else ids_hash(task.drawn_ids(draws).labelled),
            labels=Labels() if condition is None else condition.labels,
            study_seed=self.space.study_seed,
            seed=None if draws is None else draws.labelled[0].seed,
            version=STEP_VERSIONS[recipe.method],
        )
        if changes and draws is not None:
            pool = [id_ for level in task.drawn_ids(draws).unlabelled for id_ in level]
            cell = cell.model_copy(update={**changes, "unlabelled_hash": ids_hash(pool)})
        planned = PlannedCell(
            id=cell_id(cell),
            cell=cell,
            model_name=model,
            condition=recipe.method if condition is None else condition.name,
            variant=""
            if condition is None
            else variant_label(
                condition,
                disambiguate_conditions(axis.conditions),
                trains_itself=cell.self_training is not None,
            ),
            measure=None if draws is None else axis.measure,
            train_level=None if condition is None else _level(axis, condition),
            draws=draws,
            flop=1e9,
        )
        return self._cells.setdefault(planned.id, planned)

    def _facts(self, axis: TaskAxis) -> PlannedTask:
        task = self.tasks[axis.task]
        levels = {level.name: level for level in (*axis.train_levels, *axis.test_levels)}
        return PlannedTask(
            task=axis.task,
            measure=axis.measure,
            scale=axis.scale,
            source="made by tests/support/fakes.py",
            licence="Apache-2.0",
            data_hash=task.data.data_hash,
            split_hash=task.split.split_hash,
            num_test=len(task.split.test),
            levels=tuple(
                LevelSize(
                    level=name,
                    low=level.low,
                    high=level.high,
                    pool=len(task.pool_ids(axis.measure, level)),
                    test=len(task.test_ids(axis.measure, level)),
                    whole_test=len(task.test_ids(axis.measure, level)),
                )
                for name, level in levels.items()
            ),
            notes=(),
        )


def round_facts(planned: PlannedCell, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what the record of a round says of its pool."""
    options = planned.cell.self_training
    return {
        "num_pool": len(rows),
        "num_confident": sum(row["is_confident"] for row in rows),
        "num_selected": sum(row["weight"] > 0.0 for row in rows),
        "threshold": None if options is None else options.threshold,
        "temperature": None,
        "temperature_after": None,
        "state": None,
    }


def fake_study(root: object, **changes: object) -> FakeStudy:
    """Returns a finished study in a run folder; changes are the space's."""
    return FakeStudy(storage=open_storage(str(root)), space=fake_space(**changes)).write().finish()
