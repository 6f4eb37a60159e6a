"""`python -m study.report RUN`: the report of a study, made again from its records.

RUN is a study's folder inside a run folder (`runs/micro`). Nothing is trained or scored: the report
is a mirror of the records, and works as well while a study is still running.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from study.against import compare, format_comparison
from study.alignment_text import format_win_rates
from study.console import command
from study.facts.papers import PAPERS
from study.planned import Plan, read_plan
from study.reporting.axes import AXES, VALUES
from study.reporting.content import Content, ViewChoice, gather
from study.reporting.files import write_tables
from study.reporting.legacy import format_legacy, legacy_rows
from study.reporting.page import render_page
from study.reporting.terminal import format_table
from study.run_folder import open_run
from study.surface import Surface, compute_surface, write_surface
from study.tracking import replay
from study.wandb_report import save_wandb_report
from trainables import layout
from trainables.storage import Storage, written_together

__all__ = ["format_table", "gather", "print_findings", "write_report"]

OK, BAD_INPUT = 0, 2


def write_report(
    storage: Storage, plan: Plan, surface: Surface, content: Content | None = None
) -> str:
    """Writes the page, its figures, its tables and surface.parquet; returns the path of the page.

    They appear together: where one cannot be written, the older report stays as it is.

    Args:
        storage: The run folder.
        plan: The study.
        surface: Its surface.
        content: What the report shows, where it has been gathered already.
    """
    content = content or gather(storage, plan, surface)
    name = plan.space.name
    page = layout.report(name, "index.html")
    with written_together(storage, last=page) as staged:
        write_surface(staged, plan, surface)
        for drawing in content.drawings:
            staged.write_bytes(layout.report(name, f"{drawing.name}.png"), drawing.png)
            staged.write_bytes(layout.report(name, f"{drawing.name}.svg"), drawing.svg)
        write_tables(staged, name, content)
        staged.write_bytes(page, render_page(plan, surface, content).encode())
    return storage.path(page)


def print_findings(content: Content) -> None:
    """Prints what stands beside the table of points: policies side by side, and each warning."""
    if content.alignment:
        print(f"\nPolicies under the gold reward\n{format_win_rates(content.alignment)}")
    if content.warnings:
        print("\nWarnings")
    for line in content.warnings:
        print(f"- {line}")


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
        help="keep one category of an axis only, such as method=qlora (may be repeated)",
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
