"""`python -m study.sweep [SPACE]`: plans a study, runs its missing cells, and reports on all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from search_spaces.registry import find_space
from search_spaces.space import Space
from study.artifacts.items import write_items
from study.artifacts.plan import Plan, write_plan
from study.cli import (
    add_data_flags,
    add_max_cost_flag,
    add_pricing_flags,
    load_pricing,
    refuse,
    run_command,
)
from study.console import command
from study.cost.budget import Budget, price_plan
from study.cost.jobs import PricingOptions, Timings, check_budget, check_memory
from study.planning.planner import Inputs, make_plan
from study.planning.preview.invalidated import describe_invalidated_cells
from study.planning.preview.summary import format_estimate, format_plan
from study.running.executor import OK, STATUS_OF_SIGNALS, exit_status, missing_cells, run_cells
from study.tracking.tracker import open_tracker
from trainables.cluster.capacity import IN_PROCESS
from trainables.errors import UnavailableError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, check_writable, open_storage
from trainables.storage.lock import held


@command(needs_output=False)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: every cell has a valid record. 1: a cell failed (the rest of the study is done), or the run
    folder did not answer any more. 2: bad input, nothing was started. 130, 143, 129: stopped by
    Ctrl-C, by SIGTERM, by a closed terminal; the next run goes on from there.
    """
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), out=options.out)


def _run(options: argparse.Namespace) -> int:
    try:
        space = find_space(options.space)
        storage = open_storage(options.out)
        pricing = load_pricing(
            options.prices, options.instance, address=options.address, max_cost=options.max_cost
        )
        if options.dry_run:
            return _dry_run(space, options, storage, pricing)
        print(f"Planning {space.name} ...", flush=True)
        plan, inputs = make_plan(
            space, options.data_root, storage, skip_bad_rows=options.skip_bad_rows
        )
        check_writable(storage)
    except (OSError, ValueError) as error:
        return refuse(error)
    with held(storage):
        return run_study(
            plan,
            inputs,
            storage,
            address=options.address,
            pricing=pricing,
            max_cost=options.max_cost,
        )


def run_study(
    plan: Plan,
    inputs: Inputs,
    storage: Storage,
    *,
    address: str | None,
    pricing: PricingOptions,
    max_cost: float | None,
) -> int:
    """Runs a plan's missing cells and refreshes its surface and report; returns an exit status.

    Args:
        plan: What to run.
        inputs: The loaded tasks and resolved models of the plan.
        storage: The run folder.
        address: A Ray cluster's address, None for the surrounding or a local one, or `in-process`.
        pricing: What nodes cost.
        max_cost: Dollars that what is left to run may cost; None: whatever it takes.

    Raises:
        ClusterError: If the cluster is not there or cannot hold a block; nothing is written then.
        CostError: If it costs too much; nothing is written then.
    """
    # Here, because they load plotting and statistics, which a dry run does without.
    from study.analysis.surface import compute_surface
    from study.reporting.content import gather
    from study.reporting.files import write_report
    from study.reporting.terminal import format_table, print_findings

    timings = Timings()
    missing = missing_cells(storage, plan.cells, timings)
    budget = Budget(plan, missing, pricing, timings, max_cost)
    print(format_plan(plan, num_finished=len(plan.cells) - len(missing)))
    _print_lost(storage, plan)
    with open_tracker(storage, plan, is_active=bool(missing)) as tracker:
        run_cells(
            plan,
            inputs,
            storage,
            missing,
            tracker,
            address=address,
            write=lambda: _write_plan(storage, budget.plan(), inputs),
            budget=budget,
        )
        surface = compute_surface(storage, plan)
        content = gather(storage, plan, surface)
        report = write_report(storage, plan, surface, content)
        tracker.log_surface(surface)
    print(f"\n{format_table(surface)}")
    print_findings(content)
    print(f"\nReport:  {report}")
    print(f"Surface: {storage.path(layout.surface(plan.space.name))}")
    print(f"Records: {storage.path(layout.CELLS)}")
    return exit_status(storage, plan.cells)


def _write_plan(storage: Storage, plan: Plan, inputs: Inputs) -> None:
    """Writes what a surface is computed from."""
    write_items(storage, plan, inputs.tasks)
    write_plan(storage, plan)


def _print_lost(storage: Storage, plan: Plan) -> None:
    for sentence in describe_invalidated_cells(storage, plan):
        print(sentence, flush=True)


def _dry_run(
    space: Space, options: argparse.Namespace, storage: Storage, pricing: PricingOptions
) -> int:
    skip = options.skip_bad_rows
    try:
        plan, _ = make_plan(space, options.data_root, storage, skip_bad_rows=skip)
    except UnavailableError as error:
        text, cost = format_estimate(
            space, str(error), options.data_root, pricing, skip_bad_rows=skip
        )
        print(text)
    else:
        cost = price_plan(plan, pricing)
        print(format_plan(plan.model_copy(update={"cost": cost})))
        _print_lost(storage, plan)
    check_memory(cost)
    check_budget(cost, options.max_cost)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.sweep",
        description="Run a study: every missing cell of a space on Ray, then its SGR surface and "
        "report. Finished cells are kept; the same command goes on where it stopped.",
        epilog="exit status: 0 done, 1 a cell failed, 2 bad input (nothing was started), "
        f"{STATUS_OF_SIGNALS}",
    )
    parser.add_argument(
        "space",
        nargs="?",
        default="micro",
        metavar="SPACE",
        help="name of a shipped study, or path/to/file.py:function (default: micro)",
    )
    parser.add_argument(
        "--out",
        default="runs/",
        help="run folder: a local path, s3://bucket/... or gs://bucket/... (default: runs/)",
    )
    add_data_flags(parser)
    parser.add_argument(
        "--address",
        help="an existing Ray cluster (default: the one this runs on, else a local Ray); "
        f"'{IN_PROCESS}' runs the cells in this process, for debugging",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    add_max_cost_flag(parser, what="what is left to run")
    add_pricing_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
