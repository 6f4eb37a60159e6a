"""`python -m study.sweep [SPACE]`: plans a study, runs its missing cells, and reports."""

from __future__ import annotations

import sys
from pathlib import Path

from search_spaces.registry import find_space
from search_spaces.space import Space
from study.artifacts.items import write_items
from study.artifacts.plan import Plan, write_plan
from study.cli import options
from study.cli.command import FAILED, OK, checking_input, command
from study.cli.console import show
from study.cli.pricing import check_dashboard, load_pricing, rental_notes
from study.cost.budget import Budget, price_plan
from study.cost.jobs import PricingOptions, Timings, check_budget, check_memory
from study.planning.planner import Inputs, make_plan
from study.planning.preview.invalidated import describe_invalidated_cells
from study.planning.preview.offline_estimate import estimate_plan
from study.planning.preview.summary import format_estimate, format_plan
from study.running.blocks import plan_units
from study.running.executor import missing_cells, run_cells
from study.running.outcomes import print_incomplete_cells
from study.running.pace import Pace
from study.tracking.tracker import open_tracker
from trainables.errors import UnavailableError
from trainables.storage import layout
from trainables.storage.filesystem import Storage, check_writable, open_storage
from trainables.storage.lock import held


@command(
    keeps="Finished cells",
    examples={
        "--dry-run": "Print the plan of the default study and its price, and stop.",
        "arc --out s3://bucket/runs --max-cost 50": "Run a study, unless it costs over $50.",
    },
)
def main(
    space_name: options.SpaceName = "micro",
    out: options.Out = "runs/",
    data_root: options.DataRoot = None,
    skip_bad_rows: options.SkipBadRows = False,
    address: options.Address = None,
    dashboard: options.Dashboard = False,
    dry_run: options.DryRun = False,
    max_cost: options.MaxCost = None,
    prices: options.Prices = None,
    instance: options.Instance = None,
    table: options.AllPoints = False,
) -> int:
    """Runs a study: every missing cell of a space on Ray, then its SGR surface and report.

    Finished cells are kept; the same command continues where it stopped.

    Exit status: 0 done, 1 a cell failed or the run folder became unavailable, 2 bad input (no work
    was started), 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal.
    """
    with checking_input():
        check_dashboard(address, dashboard=dashboard)
        space = find_space(space_name)
        storage = open_storage(out)
        pricing = load_pricing(prices, instance, address=address, max_cost=max_cost)
        if dry_run:
            return _dry_run(space, data_root, storage, pricing, skip_bad_rows, max_cost)
        print(f"Planning {space.name} ...", flush=True)
        plan, inputs = make_plan(space, data_root, storage, skip_bad_rows=skip_bad_rows)
        check_writable(storage)
    with held(storage):
        return run_study(
            plan,
            inputs,
            storage,
            address=address,
            pricing=pricing,
            max_cost=max_cost,
            table=table,
            dashboard=dashboard,
        )


def run_study(
    plan: Plan,
    inputs: Inputs,
    storage: Storage,
    *,
    address: str | None,
    pricing: PricingOptions,
    max_cost: float | None,
    table: bool = False,
    dashboard: bool = False,
) -> int:
    """Runs a plan's missing cells and updates its surface and report; returns the exit status.

    Args:
        plan: What to run.
        inputs: The loaded tasks and resolved models of the plan.
        storage: The run folder.
        address: Address of a Ray cluster, None for the surrounding or a local one, or `in-process`.
        pricing: What nodes cost.
        max_cost: Budget for the missing cells, $; None: no limit.
        table: Whether to print every point.
        dashboard: Whether to start Ray's dashboard.

    Raises:
        ClusterError: If the cluster is unreachable or too small for a block; before any file is
            written.
        CostError: If the missing cells exceed the budget; before any file is written.
    """
    # Imported here: a dry run needs neither plotting nor statistics.
    from study.analysis.surface import compute_surface
    from study.reporting.content import gather
    from study.reporting.files import write_report
    from study.reporting.summary import result_parts

    timings, pace = Timings(), Pace(plan_units(plan))
    keeps_adapters = plan.space.keep is not None
    missing = missing_cells(storage, plan.cells, timings, pace, keeps_adapters=keeps_adapters)
    budget = Budget(plan, missing, pricing, timings, max_cost)
    print(format_plan(plan, num_finished=len(plan.cells) - len(missing)))
    _print_invalidated(storage, plan)
    with open_tracker(storage, plan, missing) as tracker:
        run_cells(
            plan,
            inputs,
            storage,
            missing,
            tracker.log_cell,
            pace=pace,
            address=address,
            write=lambda: _write_plan(storage, budget.plan(), inputs),
            budget=budget,
            dashboard=dashboard,
        )
        surface = compute_surface(storage, plan)
        content = gather(storage, plan, surface)
        formats = tracker.figure_formats
        report = write_report(storage, plan, surface, content, figure_formats=formats)
        tracker.log_surface(surface)
        files = [
            f"Report:  {report}",
            f"Surface: {storage.path(layout.surface(plan.space.name))}",
            f"Records: {storage.path(layout.CELLS)}",
        ]
        show(*result_parts(plan, surface, content, files=files, table=table))
    return FAILED if print_incomplete_cells(storage, plan.cells) else OK


def _write_plan(storage: Storage, plan: Plan, inputs: Inputs) -> None:
    """Writes the plan and the test items, which the surface is computed from."""
    write_items(storage, plan, inputs.tasks)
    write_plan(storage, plan)


def _print_invalidated(storage: Storage, plan: Plan) -> None:
    for sentence in describe_invalidated_cells(storage, plan):
        print(sentence, flush=True)


def _dry_run(
    space: Space,
    data_root: Path | None,
    storage: Storage,
    pricing: PricingOptions,
    skip_bad_rows: bool,
    max_cost: float | None,
) -> int:
    try:
        plan, _ = make_plan(space, data_root, storage, skip_bad_rows=skip_bad_rows)
    except UnavailableError as error:
        estimate = estimate_plan(space, data_root, skip_bad_rows=skip_bad_rows)
        text, cost = format_estimate(estimate, str(error), pricing)
        print(text)
    else:
        cost = price_plan(plan, pricing)
        print(format_plan(plan.model_copy(update={"cost": cost})))
        _print_invalidated(storage, plan)
    for note in rental_notes(cost, pricing, space):
        print(note)
    check_memory(cost)
    check_budget(cost, max_cost)
    return OK


if __name__ == "__main__":
    sys.exit(main())
