"""`python -m study.plan SPACE`: what a study would run, and what it could resolve."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from search_spaces.registry import find_space
from study.analysis.power_analysis import estimate_power, format_power
from study.analysis.surface import Surface, compute_surface
from study.artifacts.plan import Plan
from study.cli import add_data_flags, add_pricing_flags, load_pricing
from study.console import command
from study.cost.budget import price_plan
from study.planning.planner import make_plan
from study.planning.preview.invalidated import describe_invalidated_cells
from study.planning.preview.summary import format_estimate, format_plan
from trainables.errors import UnavailableError
from trainables.storage import layout
from trainables.storage.filesystem import open_storage

OK, BAD_INPUT = 0, 2


@command(needs_output=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: done. 1: the output could not be written. 2: bad input.
    """
    options = _parser().parse_args(arguments)
    skip = options.skip_bad_rows
    try:
        space = find_space(options.space)
        pricing = load_pricing(options.prices, options.instance)
        try:
            storage = open_storage(options.out)
            plan, _ = make_plan(space, options.data_root, storage, skip_bad_rows=skip)
        except UnavailableError as error:
            text, _ = format_estimate(
                space, str(error), options.data_root, pricing, skip_bad_rows=skip
            )
            print(text)
            return OK
        pilot = None if options.pilot is None else _read_pilot(options.pilot, plan)
        points = estimate_power(plan, target_width=options.target_width, pilot=pilot)
        lost = describe_invalidated_cells(storage, plan)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    print(format_plan(plan.model_copy(update={"cost": price_plan(plan, pricing)})))
    print("\n".join((*lost, "")))
    print(format_power(points, target_width=options.target_width))
    return OK


def _read_pilot(out: str, plan: Plan) -> Surface:
    """Returns what is finished of the plan in a run folder.

    Raises:
        ValueError: If none of the plan's cells is.
    """
    storage = open_storage(out)
    if not storage.exists(layout.items(plan.space.name)):
        raise ValueError(f"{out} holds no study {plan.space.name}: a pilot is a run of this space")
    surface = compute_surface(storage, plan)
    if not surface.scores.records:
        raise ValueError(f"{out} holds no finished cell of {plan.space.name}")
    return surface


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.plan",
        description="Print what a study would run and what each of its points could resolve. "
        "Nothing is run or written.",
        epilog="exit status: 0 done, 1 the output could not be written, 2 bad input",
    )
    parser.add_argument(
        "space", metavar="SPACE", help="name of a space, or path/to/file.py:function"
    )
    parser.add_argument(
        "--out",
        default="runs/",
        help="run folder, which model-based measures are read from (default: runs/)",
    )
    parser.add_argument(
        "--target-width",
        type=float,
        metavar="W",
        help="wanted width of the SGR intervals: says how many seeds or items that takes",
    )
    parser.add_argument(
        "--pilot",
        metavar="RUNS",
        help="run folder with finished cells of this space: gaps and variances are taken from them "
        "(default: stated assumptions)",
    )
    add_data_flags(parser)
    add_pricing_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
