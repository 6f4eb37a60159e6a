"""A worker without Ray, for tests of single cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.planning.planner import Inputs
from trainables.cells.planned import RunContext
from trainables.cells.run import RunCell
from trainables.cells.runner import CellRunner
from trainables.cells.worker import Worker


def run_context_of(inputs: Inputs, out: Path, *, run_cell: RunCell | None = None) -> RunContext:
    return RunContext(out=str(out), tasks=inputs.tasks, models=inputs.models, run_cell=run_cell)


def worker_of(
    inputs: Inputs,
    out: Path,
    *,
    run_cell: RunCell | None = None,
    is_first: bool = True,
    **process: Any,
) -> Worker:
    """Returns a worker of a plan's inputs.

    Args:
        inputs: Of the plan.
        out: The run folder.
        run_cell: In place of the cells' methods.
        is_first: Of its process group.
        process: Fields of `CellRunner`.
    """
    run_context = run_context_of(inputs, out, run_cell=run_cell)
    return Worker(CellRunner(run_context=run_context, **process), is_first=is_first)
