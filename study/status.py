"""`python -m study.status RUN`: progress of a study, from any machine that can read its run folder.

RUN is a study's folder inside a run folder (`runs/micro`, `s3://bucket/runs/micro`). The command
reads the plan, the records, the claims and the heartbeat; it needs no Ray and writes nothing.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from study.artifacts.plan import PlanSummary, collector_paused, read_plan_summary
from study.artifacts.study_folder import open_run
from study.cli import options
from study.cli.command import FAILED, OK, checking_input, command
from study.cli.console import show
from study.cost.budget import Spending, cost_to_date
from study.cost.prices import read_prices
from study.formatting import Table, aligned, clock, gib
from study.running.blocks import plan_units
from study.running.run_state import RunState, read_run_state

SHOWN = 10
"""Number of running cells and of failure reasons that the text lists; --json lists all."""

NUM_NAMED = 4
"""Base models whose peak memory the text names, highest first; --json has all."""


@command(
    examples={
        "runs/micro": "Show the progress of the default study.",
        "s3://bucket/runs/arc --json": "Print the progress of a study in a bucket as JSON.",
    },
)
def main(
    run: options.Run,
    json_: options.Json = False,
    instance: Annotated[
        str | None,
        typer.Option(
            "--instance",
            metavar="TYPE",
            help="node type that the GPU-hours are priced at (default: that of the plan)",
        ),
    ] = None,
    prices: options.Prices = None,
) -> int:
    """Shows the progress of a study.

    Reads its plan and its records only, from any machine that can read the run folder.

    Exit status: 0 no cell has failed so far, 1 a cell failed or the output could not be written,
    2 bad input.
    """
    with checking_input(), collector_paused():
        storage, space = open_run(run)
        plan = read_plan_summary(storage, space)
        state = read_run_state(storage, plan_units(plan))
        spent = cost_to_date(plan.cost, state.gpu_seconds_of, read_prices(prices), instance)
    if json_:
        print(json.dumps(as_json(space, state, spent), indent=2))
    else:
        show(*status_parts(space, state, spent, _planned_memory(plan)))
    return FAILED if state.failed else OK


def status_parts(
    space: str, state: RunState, spent: Spending, planned: Mapping[str, float]
) -> Iterator[str | Table]:
    """Yields the state of a run for the terminal.

    Args:
        space: The study's name.
        state: Its state.
        spent: Its cost to date.
        planned: GiB of a worker by base model, as the plan expects.
    """
    share = 100 * len(state.done) / max(state.num_cells, 1)
    rows = [
        ("cells", f"{state.num_cells}"),
        ("done", f"{len(state.done)} ({share:.0f} %)"),
        ("running", f"{len(state.running)}"),
        ("waiting", _waiting(state)),
        ("failed", f"{len(state.failed)}"),
        ("spent", _spent(state, spent)),
        *_memory(state, planned),
        ("sweep", _sweep(state)),
        ("ETA", _eta(state)),
    ]
    yield "\n".join((space, *aligned(rows, indent=2)))
    if state.running:
        yield "\nrunning"
        yield _running_table(state)
        yield from _more(len(state.running))
    if state.not_valid:
        yield "\ninvalid records (the sweep's command replaces them)"
        yield from (f"  {fault}" for fault in list(state.not_valid.values())[:SHOWN])
        yield from _more(len(state.not_valid))
    if state.failed:
        yield "\nfailed (the sweep's command tries them again)"
        yield from _failure_lines(state)


def _planned_memory(plan: PlanSummary) -> Mapping[str, float]:
    bases = () if plan.cost is None else plan.cost.bases
    return {base.model: base.memory_gib for base in bases if base.memory_gib is not None}


def _memory(state: RunState, planned: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yields a row with the base models of the highest measured peaks, if any was measured."""
    highest = sorted(state.peak_memory_of.items(), key=lambda pair: -pair[1])
    peaks = [
        f"{model} {gib(peak)}" + (f" of {planned[model]:.1f} planned" if model in planned else "")
        for model, peak in highest[:NUM_NAMED]
    ]
    rest = len(highest) - len(peaks)
    if peaks:
        yield "memory", f"at most {', '.join(peaks)}{f', less for {rest} more' if rest else ''}"


def _spent(state: RunState, spent: Spending) -> str:
    text = f"{clock(state.cell_seconds)} of cells"
    if state.gpu_seconds:
        text += f", {state.gpu_seconds / 3600:.2f} GPU-hours"
    if spent.cost is not None:
        text += f", about ${spent.cost.spot:.2f} on spot (${spent.cost.on_demand:.2f} on-demand)"
        text += f" on {', '.join(spent.instances)}"
    if spent.unpriced:
        text += f"; unknown price: {', '.join(spent.unpriced)} (name a type with --instance)"
    return text


def _sweep(state: RunState) -> str:
    if state.heartbeat is None:
        return "not running"
    age = f"last heartbeat {clock(state.heartbeat.age)} ago by this machine's clock"
    return f"running, {age}" if state.is_at_work else f"not running, {age}"


def _waiting(state: RunState) -> str:
    lost = f" ({len(state.lost)} started by a process that has ended)" if state.lost else ""
    return f"{len(state.waiting)}{lost}"


def _eta(state: RunState) -> str:
    if not state.running and not state.waiting:
        return "only failed cells are left" if state.failed else "all cells are done"
    if not state.is_at_work:
        left = "" if state.seconds_left is None else f"; {clock(state.seconds_left)} of cells left"
        return f"unknown: no sweep is running (its command continues from here){left}"
    seconds = state.eta_seconds
    if seconds is not None:
        return f"{clock(seconds)} with {len(state.running)} cells at once, as now"
    if state.seconds_left is None:
        return "unknown: no cell has finished"
    return f"{clock(state.seconds_left)} of cells are left; none is running"


def _running_table(state: RunState) -> Table:
    longest = sorted(state.running, key=lambda cell: -cell.seconds)
    return Table(
        header=("cell", "host", "time", ""),
        rows=[
            (
                cell.planned.label,
                cell.host,
                clock(cell.seconds),
                "much longer than expected: its machine may be lost" if cell.is_overdue else "",
            )
            for cell in longest[:SHOWN]
        ],
        numbers=("time",),
    )


def _failure_lines(state: RunState) -> list[str]:
    """One line per reason, the most frequent first, with an example cell."""
    reasons = Counter(cell.failure.reason for cell in state.failed)
    first = {cell.failure.reason: cell.planned for cell in reversed(state.failed)}
    lines = [
        f"  {count} x {reason}  (such as {first[reason].label}, {first[reason].id})"
        for reason, count in reasons.most_common(SHOWN)
    ]
    return [*lines, *_more(len(reasons))]


def _more(count: int) -> list[str]:
    return [f"  ... and {count - SHOWN} more"] if count > SHOWN else []


def as_json(space: str, state: RunState, spent: Spending) -> dict[str, Any]:
    """Returns the state of a run as plain values; unknown ones are None."""
    return {
        "space": space,
        "cells": state.num_cells,
        "done": len(state.done),
        "running": [
            {
                "cell": cell.planned.id,
                "label": cell.planned.label,
                "host": cell.host,
                "seconds": round(cell.seconds, 1),
                "overdue": cell.is_overdue,
            }
            for cell in state.running
        ],
        "waiting": len(state.waiting),
        "lost": [cell.id for cell in state.lost],
        "not_valid": dict(state.not_valid),
        "sweep_is_at_work": state.is_at_work,
        "last_sign_seconds": None if state.heartbeat is None else round(state.heartbeat.age, 1),
        "failed": [
            {
                "cell": cell.planned.id,
                "label": cell.planned.label,
                "reason": cell.failure.reason,
                "seconds": cell.failure.seconds,
            }
            for cell in state.failed
        ],
        "cell_seconds": state.cell_seconds,
        "gpu_seconds": state.gpu_seconds,
        "peak_memory": dict(state.peak_memory_of),
        "dollars": None
        if spent.cost is None
        else {"spot": spent.cost.spot, "on_demand": spent.cost.on_demand},
        "models_without_price": list(spent.unpriced),
        "cell_seconds_left": state.seconds_left,
        "eta_seconds": state.eta_seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
