"""A study of the paper's space `noise` without its data or weights: made-up questions and scores.

The plan, the items and the records are real; only the model is another one under the paper's name,
and no model is run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search_spaces.base_models import BaseModelRef
from search_spaces.space import Space
from study.artifacts.items import write_items
from study.artifacts.plan import Plan, write_plan
from study.planning.planner import make_plan
from trainables.cells.planned import PlannedCell
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.task import SplitTask
from trainables.data.tasks.questions.mmlu import SUBJECTS
from trainables.storage.filesystem import Storage
from trainables.storage.records import scores_table, write_record

MODEL = "Llama-2-70b-hf"
ITEMS_PER_SUBJECT = 60


def write_mmlu(data_root: Path) -> None:
    """Writes 300 questions a school in the layout of one file a split."""
    (data_root / "mmlu").mkdir(parents=True)
    for split in ("validation", "test"):
        rows = [
            _row(subject, split, n) for subject in SUBJECTS for n in range(ITEMS_PER_SUBJECT // 2)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data_root / "mmlu" / f"{split}.jsonl").write_text(text)


def _row(subject: str, split: str, number: int) -> dict[str, object]:
    rng = random.Random(f"{subject} {split} {number}")
    words = " ".join(["word"] * rng.randint(1, 20))
    return {
        "subject": subject,
        "question": f"{subject} {split} {number} {words}?",
        "choices": [f"{number} {letter}" * rng.randint(1, 9) for letter in "abcd"],
        "answer": rng.randrange(4),
    }


@dataclass(frozen=True, kw_only=True)
class PaperStudy:
    """A planned study; its records are made up from the cells' ids."""

    storage: Storage
    plan: Plan
    task: SplitTask

    def finish(self, cells: Iterable[PlannedCell] | None = None) -> PaperStudy:
        """Writes the records of these cells, by default of all."""
        for cell in self.plan.cells if cells is None else cells:
            self.finish_cell(cell, self.tested(cell))
        return self

    def finish_cell(self, cell: PlannedCell, items: Iterable[Item]) -> None:
        """Writes the record of a cell that scored these items."""
        tested = list(items)
        write_record(
            self.storage,
            cell.cell,
            scores_table(
                [item.id for item in tested],
                [item.answer for item in tested],
                [log_probs(cell, item) for item in tested],
            ),
            seconds={"load": 0.5, "run": 1.5, "total": 2.0},
            execution={"class": "A", "host": "toy CPU", "device": "cpu", "threads": 1},
        )

    def labelled(self, cell: PlannedCell) -> set[str]:
        """Returns the ids that a cell was trained on."""
        return set() if cell.draws is None else set(self.task.drawn_ids(cell.draws).labelled)

    def tested(self, cell: PlannedCell) -> list[Item]:
        """Returns the items that a cell was not trained on."""
        labelled = self.labelled(cell)
        return [item for item in self.task.data.items if item.id not in labelled]

    def accuracy(
        self,
        cells: Iterable[PlannedCell],
        measure: str,
        value: float,
        without: Set[str] = frozenset(),
    ) -> float:
        """Returns the mean over seeds and unseen items of one value of a measure."""
        values = self.task.data.measures[measure]
        right = [
            int(np.argmax(log_probs(cell, item))) == item.answer
            for cell in cells
            for item in self.tested(cell)
            if values[item.id] == value and item.id not in without
        ]
        return sum(right) / len(right)


def paper_study(space: Space, storage: Storage, folder: Path) -> PaperStudy:
    """Plans a space on made-up MMLU, with a lab model under the paper's name."""
    data_root = folder / "data"
    if not data_root.exists():
        write_mmlu(data_root)
        (folder / MODEL).symlink_to(MICRO_MODELS["micro-s"])
    model = BaseModelRef(name=str(folder / MODEL))
    axes = tuple(axis for axis in space.tasks if axis.task == "mmlu_stem5")
    here = space.model_copy(update={"models": (model,), "tasks": axes, "contrasts": ()})
    plan, inputs = make_plan(here, data_root)
    write_plan(storage, plan)
    write_items(storage, plan, inputs.tasks)
    return PaperStudy(storage=storage, plan=plan, task=inputs.tasks["mmlu_stem5"])


SKILL: Mapping[str, float] = {"zero-shot": 0.3, "easy": 0.5, "hard": 0.7}


def log_probs(cell: PlannedCell, item: Item) -> np.ndarray:
    """Returns made-up scores; the more the condition's first word promises, the more are right."""
    rng = random.Random(f"{cell.id} {item.id}")
    skill = SKILL.get(cell.condition.partition(",")[0], 0.4)
    right = item.answer if rng.random() < skill else (item.answer + rng.randint(1, 3)) % 4
    values = np.zeros(len(item.choices))
    values[right] = 1.0
    return values - np.log(np.exp(values).sum())
