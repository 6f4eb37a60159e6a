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
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from study.artifacts.items import write_items
from study.artifacts.plan import write_plan
from study.planning.axes import prepare_axis
from study.planning.cells import PromptFacts
from study.planning.planner import plan_space
from tests.support.fake_tasks import fake_task, log_probs, pool_rows
from trainables.cells.planned import PlannedCell
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.failures import write_failure
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import parquet_bytes, scores_table, write_record

EASY = Level(name="easy", low=1, high=2)
HARD = Level(name="hard", low=3, high=4)
ONLY_4 = Level(name="steps 4", low=4, high=4)
PARAMS: Mapping[str, int] = {"small": 100_000, "large": 1_000_000, "huge": 10_000_000}
OTHER_PARAMS = 5_000_000


def contrast(first: str | Arm, second: str | Arm, **fields: Any) -> Contrast:
    """A contrast of two arms, or conditions, on the hard test items."""
    one, two = (Arm(condition=a) if isinstance(a, str) else a for a in (first, second))
    return Contrast(**{"first": one, "second": two, "test_level": "hard", **fields})


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
        "contrasts": (contrast("easy", "hard"),),
    }
    return Space.model_validate({**values, **changes})


PEAK_MEMORY = 3 * 2**29
"""Of every cell: 1.5 GiB."""


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
        self.plan = plan_space(
            self.space,
            [prepare_axis(self.space, axis, self.tasks[axis.task]) for axis in self.space.tasks],
            {model.name: _source(model.name) for model in self.space.models},
            lambda task, name, model: PromptFacts(
                hash="toy-prompt", generates=False, shows_choices=True
            ),
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
            peak_memory=PEAK_MEMORY,
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


def _source(name: str) -> ModelSource:
    return ModelSource(
        name=name,
        source=name,
        revision=None,
        content=f"files:{name}",
        num_params=PARAMS.get(name, OTHER_PARAMS),
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
