"""`python -m study.status RUN`: how far a study is, from anywhere that can read its run folder.

RUN is a study's folder inside a run folder (`runs/micro`, `s3://bucket/runs/micro`). Only the plan,
the records and the sweep's signs are read: no Ray, no cluster, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.artifacts.plan import read_plan
from study.cli import open_run
from study.console import command
from study.cost.budget import Spending, cost_to_date
from study.cost.prices import read_prices
from study.formatting import aligned, clock
from study.running.run_state import RunState, read_run_state

OK, CELLS_FAILED, BAD_INPUT = 0, 1, 2

SHOWN = 10
"""Running cells and reasons of failures that the text lists; --json lists all."""


@command(needs_output=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: no cell failed so far. 1: a cell failed, or the output could not be written. 2: bad input.
    """
    options = _parser().parse_args(arguments)
    try:
        storage, space = open_run(options.run)
        plan = read_plan(storage, space)
        state = read_run_state(storage, plan.cells)
        spent = cost_to_date(
            plan, state.gpu_seconds_of, read_prices(options.prices), options.instance
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    if options.json:
        print(json.dumps(as_json(space, state, spent), indent=2))
    else:
        print(as_text(space, state, spent))
    return CELLS_FAILED if state.failed else OK


def as_text(space: str, state: RunState, spent: Spending) -> str:
    """Returns the state of a run as text for the terminal."""
    share = 100 * len(state.done) / max(state.num_cells, 1)
    rows = [
        ("cells", f"{state.num_cells}"),
        ("done", f"{len(state.done)} ({share:.0f} %)"),
        ("running", f"{len(state.running)}"),
        ("waiting", _waiting(state)),
        ("failed", f"{len(state.failed)}"),
        ("spent", _spent(state, spent)),
        ("sweep", _sweep(state)),
        ("ETA", _eta(state)),
    ]
    lines = [space, *aligned(rows, indent=2)]
    if state.running:
        lines += ["", "running", *_running_lines(state)]
    if state.not_valid:
        lines += ["", "records that are not valid (the sweep's command makes them again)"]
        lines += [f"  {fault}" for fault in list(state.not_valid.values())[:SHOWN]]
        lines += _more(len(state.not_valid))
    if state.failed:
        lines += ["", "failed (the sweep's command tries them again)", *_failure_lines(state)]
    return "\n".join(lines)


def _spent(state: RunState, spent: Spending) -> str:
    text = f"{clock(state.cell_seconds)} of cells"
    if state.gpu_seconds:
        text += f", {state.gpu_seconds / 3600:.2f} GPU-hours"
    if spent.cost is not None:
        text += f", about ${spent.cost.spot:.2f} on spot (${spent.cost.on_demand:.2f} on-demand)"
        text += f" on {', '.join(spent.instances)}"
    if spent.unpriced:
        text += f"; no price is known for {', '.join(spent.unpriced)} (--instance names a type)"
    return text


def _sweep(state: RunState) -> str:
    if state.heartbeat is None:
        return "none is at work"
    ago = f"its last sign is {clock(state.heartbeat.age)} old by this machine's clock"
    return f"at work, {ago}" if state.is_at_work else f"none is at work: {ago}"


def _waiting(state: RunState) -> str:
    lost = f" ({len(state.lost)} begun by a process that has ended)" if state.lost else ""
    return f"{len(state.waiting)}{lost}"


def _eta(state: RunState) -> str:
    if not state.running and not state.waiting:
        return "nothing is left to run" if not state.failed else "only failed cells are left"
    if not state.is_at_work:
        left = "" if state.seconds_left is None else f"; {clock(state.seconds_left)} of cells left"
        return f"unknown: no sweep is at work (its command goes on from here){left}"
    seconds = state.eta_seconds
    if seconds is not None:
        return f"{clock(seconds)} with {len(state.running)} cells at once as now"
    if state.seconds_left is None:
        return "unknown: no cell has finished"
    return f"{clock(state.seconds_left)} of cells are left; none is running"


def _running_lines(state: RunState) -> list[str]:
    longest = sorted(state.running, key=lambda cell: -cell.seconds)
    rows = [
        (
            cell.planned.label,
            f"on {cell.host}",
            f"for {clock(cell.seconds)}",
            "much longer than expected: its machine may be lost" if cell.is_overdue else "",
        )
        for cell in longest[:SHOWN]
    ]
    return [*aligned(rows, indent=2), *_more(len(longest))]


def _failure_lines(state: RunState) -> list[str]:
    """One line a reason, the most frequent first, with a cell that has it."""
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
    """Returns the state of a run as plain values; what is unknown is null."""
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
        "dollars": None
        if spent.cost is None
        else {"spot": spent.cost.spot, "on_demand": spent.cost.on_demand},
        "models_without_price": list(spent.unpriced),
        "cell_seconds_left": state.seconds_left,
        "eta_seconds": state.eta_seconds,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.status",
        description="How far a study is, from its plan and records alone.",
        epilog="exit status: 0 no cell failed so far, 1 a cell failed or the output could not be "
        "written, 2 bad input",
    )
    parser.add_argument(
        "run", metavar="RUN", help="folder of the study: runs/micro, s3://bucket/runs/micro"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of text")
    parser.add_argument(
        "--instance",
        metavar="TYPE",
        help="machine type of the workers, such as g5.2xlarge, whose price all GPU-hours have "
        "(default: the plan's)",
    )
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="a price table in the form of study/cost/prices.toml (default: that one)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
