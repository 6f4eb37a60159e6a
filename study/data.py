"""`python -m study.data TASK`: describes a task's data before a study spends money on it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.data_source import DataSource
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.cli import options
from study.cli.command import OK, checking_input, command
from study.cli.console import show
from study.planning.hardness.files import hardness_means
from study.reporting.task.card import card_html, card_parts
from study.reporting.task.describe import describe_data
from trainables.data.splits import make_split
from trainables.data.task import SplitTask, TaskData
from trainables.data.tasks.registry import TASKS, find_task, load_task
from trainables.storage.filesystem import open_storage

TASK_LIST = "\n\n".join(
    f"{name}: {task.title}; reads {task.accepts}" for name, task in TASKS.items()
)


def _task_names(incomplete: str) -> list[str]:
    return [name for name in TASKS if name.startswith(incomplete)]


@command(
    notes=f"Tasks (DIR: the data root):\n\n{TASK_LIST}",
    examples={
        "micro": "Describe the questions of the embedded lab.",
        "jsonl:sums --data-root data": "Describe your own questions in data/jsonl/sums.jsonl.",
    },
)
def main(
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="name of a task (below)", autocompletion=_task_names),
    ],
    data_root: options.DataRoot = None,
    skip_bad_rows: options.SkipBadRows = False,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="RUNS", help="run folder whose model-based measures to add"),
    ] = None,
    n_train: Annotated[
        int,
        typer.Option(
            "--n-train", metavar="N", help="largest number of labels drawn; sizes the pools"
        ),
    ] = 160,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="SPACE",
            help="study whose columns, splits and revision of the task to use",
        ),
    ] = None,
    json_: options.Json = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="also write an HTML page")
    ] = None,
) -> int:
    """Describes a task's data: levels, pools, overlap of draws, correlations, examples.

    Exit status: 0 done, 1 the output could not be written, 2 bad input.
    """
    with checking_input():
        storage = None if out is None else open_storage(out)
        source = None if space is None else _source_in(find_space(space), task)
        data = load_task(task, data_root, skip_bad_rows, source)
        leading = _leading_measure(data)
        bands = {leading: data.cuts[leading]} if leading else {}
        split = make_split(data, n_train=n_train, bands=bands)
        if storage is not None:
            made = hardness_means(storage, data)
            data = replace(data, measures={**data.measures, **made})
        report = describe_data(SplitTask(data=data, split=split), n_train=n_train)
        if html is not None:
            html.write_text(card_html(report), encoding="utf-8")
    if json_:
        print(json.dumps(asdict(report), indent=2))
    else:
        show(*card_parts(report, leading=leading))
    if html is not None:
        print(f"written: {html}", file=sys.stderr)
    return OK


def _source_in(space: Space, task: str) -> DataSource | None:
    """Returns the data source of a task of a study.

    Raises:
        ValueError: If the study has no such task.
    """
    tasks = dict.fromkeys(axis.task for axis in space.tasks)
    if task not in tasks:
        raise ValueError(f"space {space.name!r} has no task {task!r}, only {', '.join(tasks)}")
    return space.source_of(task)


def _leading_measure(data: TaskData) -> str:
    """Returns the measure whose levels get an example, and that sizes the pools of a user's data.

    The first that the task itself cuts, else the first that the data brings, else any.
    """
    brought = dict.fromkeys(measure for item in data.items for measure in item.hardness)
    order = (*find_task(data.name).cuts, *brought, *data.cuts)
    return next((measure for measure in order if measure in data.cuts), "")


if __name__ == "__main__":
    sys.exit(main())
