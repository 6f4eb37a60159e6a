"""Tasks: data sets as items with hardness values, from the Hub or from local copies.

A new task is one file with a `TaskSpec` and one line in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from search_spaces.data_source import FILE_KINDS, OWN_KINDS, DataSource, kind_of
from search_spaces.explain import count, did_you_mean
from trainables.data.items import data_hash
from trainables.data.level_cuts import standard_cuts
from trainables.data.loading.files import BadRows
from trainables.data.loading.task_spec import Request, TaskSpec
from trainables.data.measures import item_measures
from trainables.data.task import NUM_REASONS, TaskData
from trainables.data.tasks.preferences import (
    hh_rlhf,
    llmbar,
    micro_preferences,
    pandalm,
    preferences,
    rewardbench,
    ultrafeedback,
)
from trainables.data.tasks.questions import arc, gsm8k, micro, mmlu, own, science, strategyqa
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
    **own.TASKS,
}


def find_task(name: str) -> TaskSpec:
    """Returns what is known of a task; own data is named after its kind, as in `jsonl:NAME`.

    Raises:
        ValueError: If there is no such task; the message lists the known ones.
    """
    kind = kind_of(name)
    is_own = kind in OWN_KINDS and (":" in name or kind in FILE_KINDS)
    if not is_own and (name not in TASKS or kind in OWN_KINDS):
        shipped = sorted(TASKS.keys() - OWN_KINDS)
        raise ValueError(
            f"unknown task {name!r}{did_you_mean(name, shipped)}; the known ones: "
            f"{', '.join(shipped)}; your own data: "
            "hub:OWNER/NAME, jsonl:NAME, csv:NAME, parquet:NAME, my_study.py:items"
        )
    return TASKS[kind]


def load_task(
    name: str,
    data_root: Path | None = None,
    skip_bad_rows: bool = False,
    source: DataSource | None = None,
) -> TaskData:
    """Returns a task's items, sorted by id, with every model-free measure.

    Args:
        name: A task of `TASKS`; own data by its name, such as `jsonl:NAME` or `hub:owner/name`.
        data_root: Folder with local copies; None: the Hub.
        skip_bad_rows: Leave unusable rows out and list them, instead of refusing the data.
        source: Columns, splits and revision of own data.

    Raises:
        ValueError: If the task is unknown or its input cannot be used (`DataError`). Of rows that
            cannot be used, the message has the number and the first three.
    """
    spec, bad = find_task(name), BadRows(skip=True)
    root = Path(data_root) if data_root is not None else None
    loaded = spec.load(Request(name=name, data_root=root, bad=bad, source=source or DataSource()))
    items = tuple(sorted(loaded.items, key=lambda item: item.id))
    if bad.messages and not skip_bad_rows:
        raise DataError(_first_of(bad.messages))
    if not items:
        raise DataError(f"task {name}: {loaded.source} holds no usable item")
    skipped = tuple(bad.messages)
    left_out = count(len(skipped), "bad row was", "bad rows were")
    notes = (f"{left_out} left out on request.",) if skipped else ()
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
        reload=loaded.reload,
    )


def _first_of(messages: Sequence[str]) -> str:
    """Returns the number of rows that cannot be used, and the first of their messages."""
    if len(messages) == 1:
        return f"{messages[0]} (--skip-bad-rows leaves such rows out)"
    place = messages[0].partition(", ")[0]  # the file, which the other messages need not repeat
    others = [message.removeprefix(f"{place}, ") for message in messages[1:NUM_REASONS]]
    first = "; ".join([messages[0], *others])
    more = "; ..." if len(messages) > NUM_REASONS else ""
    return f"{len(messages):,} rows cannot be used (--skip-bad-rows leaves them out): {first}{more}"
