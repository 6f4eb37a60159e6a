"""Logs in the format of inspect_ai, so that its viewer and data frames open a study.

One log per arm; the seeds are its epochs. Only this module imports inspect_ai, the pip extra
`inspect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.frozen import digest
from study.analysis.items.results import ItemArm, TaskResults
from study.artifacts.plan import Plan
from study.reporting.items.texts import TaskTexts
from trainables.cells.planned import PlannedCell
from trainables.data.items import Item
from trainables.data.prompts.formats import LETTERS
from trainables.storage.filesystem import Storage
from trainables.storage.records import read_record, read_scores

SCORER = "choice"
"""Name of the score of a sample."""


def check_inspect() -> None:
    """Checks that inspect_ai is installed.

    Raises:
        ValueError: If it is not.
    """
    if find_spec("inspect_ai") is None:
        raise ValueError("--inspect needs inspect_ai: pip install 'scarce-labels[inspect]'")


def write_inspect_logs(
    folder: Path,
    plan: Plan,
    storage: Storage,
    results: Mapping[str, TaskResults],
    texts: Mapping[str, TaskTexts],
) -> None:
    """Writes a `.eval` log per arm; logs of the same names are replaced.

    Args:
        folder: Where to write them.
        plan: Of the study.
        storage: Its run folder.
        results: Task -> results of its test items.
        texts: Task -> its items, with text.
    """
    from inspect_ai.log import write_eval_log

    cells = {cell.id: cell for cell in plan.cells}
    folder.mkdir(parents=True, exist_ok=True)
    for task, each in results.items():
        for place, arm in enumerate(each.arms):
            seeds = [cells[id_] for id_ in arm.cells]
            samples = list(_samples(storage, seeds, arm, each, texts[task]))
            log = _log(plan, task, arm, samples, float(np.nanmean(each.right[place])))
            name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{task} {place:03} {arm.label}")
            write_eval_log(log, str(folder / f"{name}.eval"))


def _log(plan: Plan, task: str, arm: ItemArm, samples: list[Any], accuracy: float) -> Any:
    from inspect_ai import log

    space = plan.space.name
    ids = list(dict.fromkeys(sample.id for sample in samples))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return log.EvalLog(
        status="success",
        eval=log.EvalSpec(
            eval_id=digest([space, *arm.cells])[:22],
            run_id=space,
            created=now,
            task=task,
            task_args={
                "method": arm.method,
                "condition": arm.condition,
                "train_level": None if arm.train_level is None else arm.train_level.name,
                "measure": arm.measure,
            },
            model=arm.model,
            dataset=log.EvalDataset(name=task, samples=len(ids), sample_ids=ids),
            config=log.EvalConfig(epochs=len(arm.cells)),
            metadata={"study": space, "cells": list(arm.cells), "kind": arm.kind},
        ),
        results=log.EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[
                log.EvalScore(
                    name=SCORER,
                    scorer=SCORER,
                    metrics={"accuracy": log.EvalMetric(name="accuracy", value=accuracy)},
                )
            ],
        ),
        stats=log.EvalStats(started_at=now, completed_at=now),
        samples=samples,
    )


def _samples(
    storage: Storage,
    cells: list[PlannedCell],
    arm: ItemArm,
    results: TaskResults,
    texts: TaskTexts,
) -> Iterator[Any]:
    """Yields a sample per cell and item."""
    measures = {name: values.tolist() for name, values in results.measures.items()}
    ids: list[str] = results.items.table["id"].to_pylist()
    metadata = {
        id_: {
            **{
                name: values[row] for name, values in measures.items() if values[row] == values[row]
            },
            **{f"level by {name}": ", ".join(of[row]) for name, of in results.levels.items()},
        }
        for row, id_ in enumerate(ids)
    }
    for epoch, cell in enumerate(cells, start=1):
        scores = read_scores(storage, cell.id, read_record(storage, cell.id))
        for row in scores.to_pylist():
            item = texts.items[row["item_id"]]
            yield _sample(item, row, epoch, arm, {**metadata[item.id], "seed": cell.cell.seed})


def _sample(
    item: Item, row: Mapping[str, Any], epoch: int, arm: ItemArm, metadata: Mapping[str, Any]
) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    is_free = len(item.choices) == 1
    predicted, right = row["predicted"], row["correct"]
    chosen = "" if predicted is None else item.choices[predicted]
    answer = None if predicted is None else chosen if is_free else _letter(predicted)
    return EvalSample(
        id=item.id,
        epoch=epoch,
        input=item.question,
        choices=None if is_free else list(item.choices),
        target=item.choices[0] if is_free else _letter(item.answer),
        output=ModelOutput.from_content(arm.model, row["text"] or chosen),
        scores={
            SCORER: Score(
                value={1.0: CORRECT, 0.0: INCORRECT}.get(right, right),
                answer=answer,
                metadata={"confidence": row["confidence"], "log_probs": row["log_probs"]},
            )
        },
        metadata={**metadata, "topic": item.topic},
    )


def _letter(choice: int) -> str:
    return LETTERS[choice] if choice < len(LETTERS) else str(choice + 1)
