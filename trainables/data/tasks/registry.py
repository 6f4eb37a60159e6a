"""Tasks: data sets as items with hardness values, from the Hub or from local copies.

A new task is one file with a `TaskSpec` and one line in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainables.data.loading.files import BadRows
from trainables.data.loading.task_spec import Request, TaskSpec, assemble
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
    spec = find_task(name)
    return assemble(spec, _request(name, data_root, skip_bad_rows))


def _request(name: str, data_root: Path | None, skip_bad_rows: bool) -> Request:
    root = Path(data_root) if data_root is not None else None
    return Request(name=name, data_root=root, bad=BadRows(skip=skip_bad_rows))
