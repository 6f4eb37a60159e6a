"""`python -m study.plan SPACE`: prints what a study would run, and what it could resolve."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from search_spaces.registry import find_space
from study.analysis.power_analysis import estimate_power, power_parts
from study.analysis.surface import Surface, compute_surface
from study.artifacts.plan import Plan
from study.cli import options
from study.cli.command import OK, checking_input, command
from study.cli.console import show
from study.cli.pricing import load_pricing, rental_notes
from study.cost.budget import price_plan
from study.planning.planner import make_plan
from study.planning.preview.invalidated import describe_invalidated_cells
from study.planning.preview.offline_estimate import estimate_plan
from study.planning.preview.summary import format_estimate, format_plan
from trainables.errors import UnavailableError
from trainables.storage import layout
from trainables.storage.filesystem import open_storage


@command(
    examples={
        "micro": "Show the cells of the default study and what each point could resolve.",
        "arc --target-width 0.3": "Show the seeds or items that intervals of width 0.3 would need.",
    },
)
def main(
    space_name: options.SpaceName,
    out: options.Out = "runs/",
    target_width: Annotated[
        float | None,
        typer.Option(
            "--target-width",
            metavar="W",
            help="print how many seeds or items an SGR interval of this width needs",
        ),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            "--pilot",
            metavar="RUNS",
            help="run folder with finished cells of this space, to take gaps and variances from "
            "(default: stated assumptions)",
        ),
    ] = None,
    data_root: options.DataRoot = None,
    skip_bad_rows: options.SkipBadRows = False,
    prices: options.Prices = None,
    instance: options.Instance = None,
) -> int:
    """Prints what a study would run and what each of its points could resolve.

    Runs and writes nothing; --out is read for model-based measures.

    Exit status: 0 done, 1 the output could not be written, 2 bad input.
    """
    with checking_input():
        space = find_space(space_name)
        pricing = load_pricing(prices, instance)
        try:
            storage = open_storage(out)
            plan, _ = make_plan(space, data_root, storage, skip_bad_rows=skip_bad_rows)
        except UnavailableError as error:
            estimate = estimate_plan(space, data_root, skip_bad_rows=skip_bad_rows)
            text, cost = format_estimate(estimate, str(error), pricing)
            show(text, *rental_notes(cost, pricing, space))
            return OK
        pilot_surface = None if pilot is None else _read_pilot(pilot, plan)
        points = estimate_power(plan, target_width=target_width, pilot=pilot_surface)
        lost = describe_invalidated_cells(storage, plan)
    cost = price_plan(plan, pricing)
    print(format_plan(plan.model_copy(update={"cost": cost})))
    show(
        *rental_notes(cost, pricing, space),
        *lost,
        "",
        *power_parts(points, target_width=target_width),
    )
    return OK


def _read_pilot(out: str, plan: Plan) -> Surface:
    """Returns the surface of the plan's finished cells in a run folder.

    Raises:
        ValueError: If none of the plan's cells is finished.
    """
    storage = open_storage(out)
    if not storage.exists(layout.items(plan.space.name)):
        raise ValueError(
            f"{out} has no study {plan.space.name}: a pilot must be a run of this space"
        )
    surface = compute_surface(storage, plan)
    if not surface.scores.records:
        raise ValueError(f"{out} has no finished cell of {plan.space.name}")
    return surface


if __name__ == "__main__":
    sys.exit(main())
