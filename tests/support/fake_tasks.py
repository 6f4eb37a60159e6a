"""A small task whose answers follow a simple law: skill of model and labels against the item."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from trainables.cells.planned import PlannedCell
from trainables.data.items import Item, data_hash, text_hash
from trainables.data.seeding import ids_hash
from trainables.data.task import Split, SplitTask, TaskData
from trainables.self_training.unlabelled import strip_label


def fake_task(
    name: str, items_per_level: int = 60, group_size: int = 1, num_steps: int = 4
) -> SplitTask:
    """Returns a task of `steps` 1 to 4 and a second measure, half test and half pool."""
    items = tuple(
        Item(
            id=f"{name}-{steps}-{i:04}",
            question=f"how {name}-{steps}-{i} " + "word " * (steps + i % 5),
            choices=("1 apple", "22 apples", "333 apples", "4"),
            answer=(steps + i) % 4,
            group=None if group_size == 1 else f"{steps}-{i // group_size}",
            topic=("fruit", "coins")[i % 2],
        )
        for steps in range(1, num_steps + 1)
        for i in range(items_per_level)
    )
    ids = [item.id for item in items]
    half = items_per_level // 2
    test = tuple(id_ for id_ in ids if int(id_.rpartition("-")[2]) < half)
    measures = {
        "steps": {item.id: float(item.id.split("-")[1]) for item in items},
        "words": {item.id: float(len(item.question.split())) for item in items},
    }
    return SplitTask(
        data=TaskData(
            name=name,
            items=items,
            measures=measures,
            data_hash=data_hash(items),
            source="made by tests/support/fakes.py",
            licence="Apache-2.0",
        ),
        split=Split(
            test=test,
            pool=tuple(id_ for id_ in ids if id_ not in set(test)),
            split_hash=ids_hash(test),
        ),
    )


SKILL: Mapping[str, float] = {"zero-shot": -0.8, "easy": 0.6, "hard": 1.6, "all": 1.2}
"""Log-odds over an item of middling difficulty; larger models add to it."""


def log_probs(rng: np.random.Generator, planned: PlannedCell, item: Item) -> np.ndarray:
    """Returns log-probabilities of an item's choices: the more skilled, the more often right."""
    size = {"small": 0.0, "large": 0.8, "huge": 1.6}.get(planned.model_name, 0.4)
    skill = SKILL.get(planned.condition, 0.8) + size * (planned.condition != "zero-shot")
    skill -= 1.5 * planned.cell.labels.rate
    is_right = rng.random() < 1.0 / (1.0 + np.exp(-(skill + _ease(item.id))))
    values = rng.normal(0.0, 0.3, size=len(item.choices))
    answer = item.answer if is_right else (item.answer + 1 + rng.integers(3)) % 4
    values[int(answer)] = values.max() + rng.exponential(0.8 + 0.4 * is_right)
    return values - np.log(np.exp(values).sum())


@cache
def _ease(item_id: str) -> float:
    """Log-odds that every cell adds for an item: cells agree on which items are easy."""
    steps, index = (int(part) for part in item_id.split("-")[1:])
    return 0.8 * float(np.random.default_rng([steps, index]).normal()) - 0.5 * (steps - 2.5)


def pool_rows(planned: PlannedCell, task: SplitTask) -> list[dict[str, Any]]:
    """Returns what a round would have thought of its pool: rows of selection.parquet.

    The teacher is the parent, so rounds of one parent agree; the model after a round is the cell,
    so it says what a next round starts from.
    """
    cell = planned.cell
    options = cell.self_training
    assert options is not None and planned.draws is not None and options.threshold is not None
    rng = np.random.default_rng(int(cell.parent or "0", 16))
    later = np.random.default_rng(int(planned.id, 16))
    ids = [id_ for level in task.drawn_ids(planned.draws).unlabelled for id_ in level]
    rows = []
    for item in task.by_id(sorted(ids)):
        shown = strip_label(item, cell.study_seed, cell.task, cell.seed or 0)
        probabilities = np.exp(log_probs(rng, planned, item))
        after = np.exp(log_probs(later, planned, item))
        by_text, by_text_after = (
            dict(zip(item.choices, values.tolist(), strict=True))
            for values in (probabilities, after)
        )
        hashes = [text_hash(choice) for choice in item.choices]
        label = hashes[int(probabilities.argmax())]
        kept = float(probabilities.max()) > options.threshold
        targets = {
            "pseudo": label,
            "oracle": hashes[item.answer],
            "random": hashes[int(rng.integers(len(hashes)))],
        }
        later.integers(len(item.choices))  # as `rng`, which a next round goes on with
        rows.append(
            {
                "item_id": item.id,
                "label": label,
                "trained_on": targets.get(options.targets) if kept else None,
                "is_confident": kept,
                "confidence": float(probabilities.max()),
                "choices": [text_hash(choice) for choice in shown.choices],
                "probabilities": [by_text[text] for text in shown.choices],
                "raw_probabilities": None,
                "first_position": 0.0,
                "weight": float(kept),
                "label_after": hashes[int(after.argmax())],
                "confidence_after": float(after.max()),
                "probabilities_after": [by_text_after[text] for text in shown.choices],
                "raw_probabilities_after": None,
                "first_position_after": 0.0,
            }
        )
    return rows
