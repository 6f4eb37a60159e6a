"""Tasks: data sets as items with hardness values, from the Hub or from local copies.

A new task is one file with a `TaskSpec` and one line in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainables.data.items import data_hash
from trainables.data.level_cuts import standard_cuts
from trainables.data.loading.files import BadRows
from trainables.data.loading.task_spec import Request, TaskSpec
from trainables.data.measures import item_measures
from trainables.data.task import TaskData
from trainables.data.tasks.preferences import (
    hh_rlhf,
    llmbar,
    micro_preferences,
    pandalm,
    preferences,
    rewardbench,
    ultrafeedback,
)
from trainables.data.tasks.questions import arc, gsm8k, jsonl, micro, mmlu, science, strategyqa
from trainables.errors import DataError

__all__ = ["TASKS", "DataError", "find_task", "load_task"]

TASKS: Mapping[str, TaskSpec] = {
    "micro": micro.TASK,
    "micro_preferences": micro_preferences.TASK,
    "arc": arc.TASK,
    "mmlu_stem5": mmlu.TASK,
    "strategyqa": strategyqa.TASK,
    "gsm8k": gsm8k.TASK,
    "science": science.TASK,
    "hh_rlhf": hh_rlhf.TASK,
    "ultrafeedback": ultrafeedback.TASK,
    "rewardbench": rewardbench.TASK,
    "pandalm": pandalm.TASK,
    "llmbar": llmbar.TASK,
    "preferences": preferences.TASK,
    "jsonl": jsonl.TASK,
}


def find_task(name: str) -> TaskSpec:
    """Returns what is known of a task; `jsonl:NAME` is the user's own data under that name.

    Raises:
        ValueError: If there is no such task; the message lists the known ones.
    """
    base = name.split(":", 1)[0]
    if base not in TASKS or (base != name and base != "jsonl"):
        raise ValueError(f"unknown task {name!r}; the known ones: {', '.join(sorted(TASKS))}")
    return TASKS[base]


def load_task(name: str, data_root: Path | None = None, skip_bad_rows: bool = False) -> TaskData:
    """Returns a task's items, sorted by id, with every model-free measure.

    Args:
        name: A task of `TASKS`, or `jsonl:NAME`.
        data_root: Folder that holds a folder per task; None: the Hub.
        skip_bad_rows: Leave unusable rows out and list them, instead of stopping at the first.

    Raises:
        ValueError: If the task is unknown or its input cannot be used (`DataError`).
    """
    spec, bad = find_task(name), BadRows(skip=skip_bad_rows)
    root = Path(data_root) if data_root is not None else None
    loaded = spec.load(Request(name=name, data_root=root, bad=bad))
    items = tuple(sorted(loaded.items, key=lambda item: item.id))
    if not items:
        raise DataError(f"task {name}: {loaded.source} holds no usable item")
    skipped = tuple(bad.messages)
    notes = (f"{len(skipped)} bad rows were left out on request.",) if skipped else ()
    measures = item_measures(items)
    fixed = {measure: next(iter(cuts.values())) for measure, cuts in spec.cuts.items()}
    return TaskData(
        name=name,
        items=items,
        measures=measures,
        data_hash=data_hash(items),
        source=loaded.source,
        licence=spec.licence,
        notes=loaded.notes + notes,
        cuts=standard_cuts(measures, fixed),
        is_own_data=spec.is_own_data,
        free_form=spec.free_form,
        skipped=skipped,
        test=loaded.test,
    )
