"""`python -m study.report RUN`: the report of a study, made again from its records.

RUN is a study's folder inside a run folder (`runs/micro`). Nothing is trained or scored: the report
is a mirror of the records, and works as well while a study is still running.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from study.analysis.published.comparison import PAPERS, compare, format_comparison
from study.analysis.surface import compute_surface
from study.artifacts.plan import read_plan
from study.cli import open_run
from study.console import command
from study.reporting.content import ViewChoice, gather
from study.reporting.files import write_report
from study.reporting.legacy import format_legacy, legacy_rows
from study.reporting.surface_views.places import AXES
from study.reporting.surface_views.views import VALUES
from study.reporting.terminal import format_table, print_findings
from study.tracking.tracker import replay
from study.tracking.wandb_report import save_wandb_report
from trainables.storage import layout

OK, BAD_INPUT = 0, 2


@command(needs_output=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: done. 1: the report is there, but the output could not be written. 2: bad input (one line
    says what).
    """
    options = _parser().parse_args(arguments)
    try:
        storage, space = open_run(options.run)
        plan = read_plan(storage, space)
        surface = compute_surface(storage, plan)
        if not surface.scores.records:
            raise ValueError(
                f"{options.run} has no record of any of the {len(plan.cells)} cells of "
                f"{space}: run `python -m study.sweep` first"
            )
        legacy = legacy_rows(plan, surface) if options.legacy_bootstrap else ()
        against = compare(plan, surface, options.against) if options.against else None
        content = gather(
            storage, plan, surface, choice=_choice(options), legacy=legacy, against=against
        )
        path = write_report(storage, plan, surface, content)
        if options.wandb:
            replay(storage, plan, surface)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    print(format_table(surface))
    print_findings(content)
    if legacy:
        print(f"\nThe paper's block bootstrap beside ours\n{format_legacy(legacy)}")
    if against is not None:
        print(f"\n{format_comparison(against)}")
    print(f"\nReport:  {path}")
    print(f"Surface: {storage.path(layout.surface(space))}")
    if options.wandb_report:
        print(f"W&B report: {save_wandb_report(plan, surface)}")
    return OK


def _choice(options: argparse.Namespace) -> ViewChoice:
    fixed = {}
    for pair in options.fix:
        axis, separator, category = pair.partition("=")
        if not separator:
            raise ValueError(f"--fix wants AXIS=CATEGORY, got {pair!r}")
        fixed[axis] = category
    return ViewChoice(x=options.x, y=options.y, value=options.value, fixed=fixed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.report",
        description="Make surface and report of a study again from its records, finished or not.",
        epilog="exit status: 0 done, 1 the report is there but the output could not be written, 2 "
        "bad input (nothing was written)",
    )
    parser.add_argument("run", metavar="RUN", help="folder of the study, such as runs/micro")
    parser.add_argument("--x", metavar="AXIS", help=f"one of {', '.join(AXES)}")
    parser.add_argument("--y", metavar="AXIS", help="another axis; what is on neither is faceted")
    parser.add_argument(
        "--value", default="sgr", help=f"what is shown: {', '.join(VALUES)} (default: sgr)"
    )
    parser.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="AXIS=CATEGORY",
        help="keep one category of an axis only, such as method=lora (may be repeated)",
    )
    parser.add_argument(
        "--legacy-bootstrap",
        action="store_true",
        help="add the paper's mean +/- half-width beside ours, for comparing tables",
    )
    parser.add_argument(
        "--against",
        metavar="PAPER",
        help="lay the study beside published results where coordinates match; one of "
        f"{', '.join(PAPERS)}",
    )
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="replay the study to W&B from its records: one run a cell and one for the aggregation",
    )
    parser.add_argument(
        "--wandb-report",
        action="store_true",
        help="build a W&B Report (needs wandb-workspaces), saved as a draft when logged in",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
