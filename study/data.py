"""`python -m study.data TASK`: what is in a task, before anything is spent on it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from study.cli import add_data_flags
from study.console import command
from study.planning.hardness.files import hardness_means
from study.reporting.task.describe import describe_data
from study.reporting.task.html import data_html
from study.reporting.task.text import data_text
from trainables.data.splits import make_split
from trainables.data.task import SplitTask, TaskData
from trainables.data.tasks.registry import TASKS, find_task, load_task
from trainables.storage.filesystem import open_storage

BAD_INPUT = 2
"""Exit status where the input cannot be used."""


@command(needs_output=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the report of a task; returns the exit status.

    0: done. 1: the output could not be written. 2: bad input.
    """
    options = _parser().parse_args(arguments)
    try:
        storage = None if options.out is None else open_storage(options.out)
        data = load_task(options.task, options.data_root, options.skip_bad_rows)
        leading = _leading_measure(data)
        bands = {leading: data.cuts[leading]} if leading else {}
        split = make_split(data, n_train=options.n_train, bands=bands)
        if storage is not None:
            made = hardness_means(storage, data)
            data = replace(data, measures={**data.measures, **made})
        report = describe_data(SplitTask(data=data, split=split), n_train=options.n_train)
        if options.html is not None:
            options.html.write_text(data_html(report), encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print(data_text(report, leading=leading))
    if options.html is not None:
        print(f"written: {options.html}", file=sys.stderr)
    return 0


def _leading_measure(data: TaskData) -> str:
    """Returns the measure whose levels get an example, and on a user's own data their pools.

    The first that the task cuts by itself, else the first that the data brings, else any.
    """
    brought = dict.fromkeys(measure for item in data.items for measure in item.hardness)
    order = (*find_task(data.name).cuts, *brought, *data.cuts)
    return next((measure for measure in order if measure in data.cuts), "")


def _parser() -> argparse.ArgumentParser:
    tasks = "\n".join(
        f"  {name:14}{spec.title}\n{'':16}reads {spec.accepts}" for name, spec in TASKS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m study.data",
        description="What is in a task: levels, pools, overlap of draws, correlations, examples.",
        epilog=f"tasks (DIR: the data root):\n{tasks}\n\nexit status: 0 done, 1 the output could "
        "not be written, 2 bad input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", help="name of a task (below)")
    add_data_flags(parser)
    parser.add_argument(
        "--out", metavar="RUNS", help="run folder: its model-based measures are correlated as well"
    )
    parser.add_argument(
        "--n-train", type=int, default=160, help="largest draw of labels, sizes the pools (160)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write an HTML page as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
