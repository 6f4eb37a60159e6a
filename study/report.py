"""`python -m study.report RUN`: rebuilds the report of a study from its records.

RUN is a study's folder inside a run folder (`runs/micro`). The command trains and scores nothing,
so it also works while the study is running. `--from TABLE.csv` instead prints the intervals that a
published table of accuracies allows. `--compare OTHER` compares two studies.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.explain import count
from study.analysis.means_tables import COLUMNS, read_means_table
from study.analysis.published.comparison import compare
from study.analysis.published.papers import PAPERS
from study.analysis.run_comparison.coordinates import ComparedRun
from study.analysis.run_comparison.differences import compare_runs
from study.analysis.surface import Surface, compute_surface
from study.artifacts.plan import Plan, collector_paused, read_plan
from study.artifacts.study_folder import open_run
from study.cli import options
from study.cli.command import OK, checking_input, command, sweep_line
from study.cli.console import show
from study.reporting.content import ViewChoice, gather
from study.reporting.files import write_report
from study.reporting.legacy import legacy_rows
from study.reporting.means_tables import means_parts
from study.reporting.run_comparison.files import write_comparison
from study.reporting.run_comparison.terminal import comparison_parts
from study.reporting.style import FORMATS
from study.reporting.summary import result_parts
from study.reporting.surface_views.places import AXES
from study.reporting.surface_views.views import VALUES
from study.tracking.tracker import replay
from study.tracking.wandb_report import save_wandb_report
from trainables.storage import layout
from trainables.storage.filesystem import Storage


@command(
    examples={
        "runs/micro": "Rebuild the report of the default study and print its result.",
        "runs/micro --compare s3://bucket/runs/micro": "Compare two runs, paired by item.",
    },
)
def main(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="study folder, such as runs/micro or s3://bucket/runs/micro"
        ),
    ] = None,
    all_points: options.AllPoints = False,
    x: Annotated[
        str | None, typer.Option("--x", metavar="AXIS", help=f"one of {', '.join(AXES)}")
    ] = None,
    y: Annotated[
        str | None,
        typer.Option("--y", metavar="AXIS", help="a second axis; the others become facets"),
    ] = None,
    value: Annotated[
        str, typer.Option("--value", metavar="VALUE", help=f"one of {', '.join(VALUES)}")
    ] = "sgr",
    fix: Annotated[
        list[str] | None,
        typer.Option(
            "--fix",
            metavar="AXIS=CATEGORY",
            help="show one category of an axis only, such as method=lora (may be repeated)",
        ),
    ] = None,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures", help="also draw the figures for papers: PDF, SVG and PNG in report/"
        ),
    ] = False,
    legacy_bootstrap: Annotated[
        bool,
        typer.Option(
            "--legacy-bootstrap", help="add the paper's mean +/- half-width, to compare tables"
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="PAPER",
            help="compare with published results at matching coordinates; one of "
            f"{', '.join(PAPERS)}",
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="RUN",
            help="instead of the report: compare the study with this one and write "
            "report/comparison.html and comparison.parquet",
        ),
    ] = None,
    wandb: Annotated[
        bool,
        typer.Option(
            "--wandb", help="send W&B the runs, or parts of runs, that it lacks; from the records"
        ),
    ] = False,
    wandb_report: Annotated[
        bool,
        typer.Option(
            "--wandb-report",
            help="build a W&B Report (needs wandb-workspaces), saved as a draft if logged in",
        ),
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="TABLE.csv",
            help=f"instead of RUN: a published table with the columns {', '.join(COLUMNS)}",
        ),
    ] = None,
) -> int:
    """Rebuilds the surface and the report of a study from its records, finished or not.

    Trains and scores nothing. With --compare, compares two studies instead. With --from, prints SGR
    of a published table and writes nothing.

    Exit status: 0 done, 1 the report was written but printing failed, 2 bad input (nothing
    was written).
    """
    report_options = (x, y, fix, figures, legacy_bootstrap, against, wandb, wandb_report)
    if table is not None:
        with checking_input():
            if any((run, all_points, other, *report_options)):
                raise ValueError("--from prints only this table: leave out RUN and all options")
            parts = tuple(means_parts(read_means_table(table)))
        show(*parts)
        return OK
    with checking_input():
        if run is None:
            raise ValueError("name a study folder, such as runs/micro, or a table with --from")
        if other is not None:
            if any(report_options):
                raise ValueError(
                    "--compare replaces the report: leave out the options of the report"
                )
            return _compare(run, other, all_rows=all_points)
        storage, plan, surface = _read(run)
        space = plan.space.name
        legacy = legacy_rows(plan, surface) if legacy_bootstrap else ()
        comparison = compare(plan, surface, against) if against else None
        choice = ViewChoice(x=x, y=y, value=value, fixed=_fixed_categories(fix or ()))
        content = gather(storage, plan, surface, choice=choice, legacy=legacy, against=comparison)
        formats = FORMATS if figures else ("png",) if wandb else ()
        path = write_report(storage, plan, surface, content, figure_formats=formats)
        if wandb:
            replay(storage, plan, surface)
    files = [f"Report:  {path}", f"Surface: {storage.path(layout.surface(space))}"]
    show(*result_parts(plan, surface, content, files=files, table=all_points))
    if wandb_report:
        print(f"W&B report: {save_wandb_report(plan, surface)}")
    return OK


def _read(run: str) -> tuple[Storage, Plan, Surface]:
    """Returns a study's run folder, its plan and its surface.

    Raises:
        ValueError: If it is no study, or has no record.
    """
    storage, space = open_run(run)
    plan = read_plan(storage, space)
    with collector_paused():
        surface = compute_surface(storage, plan)
    if not surface.scores.records:
        raise ValueError(
            f"{run} has no record of any of the {count(len(plan.cells), 'cell')} of {space}: run "
            f"{sweep_line(space, storage.root)} first"
        )
    return storage, plan, surface


def _compare(run: str, other: str, *, all_rows: bool) -> int:
    """Compares two studies: prints the result and writes it to the folder of the first."""
    storage, plan, surface = _read(run)
    _, other_plan, other_surface = _read(other)
    comparison = compare_runs(
        ComparedRun(address=run, plan=plan, surface=surface),
        ComparedRun(address=other, plan=other_plan, surface=other_surface),
    )
    page, table = write_comparison(storage, plan.space.name, comparison)
    show(*comparison_parts(comparison, files=[f"Page:  {page}", f"Table: {table}"], table=all_rows))
    return OK


def _fixed_categories(pairs: Sequence[str]) -> dict[str, str]:
    fixed = {}
    for pair in pairs:
        axis, separator, category = pair.partition("=")
        if not separator:
            raise ValueError(f"--fix must be AXIS=CATEGORY, got {pair!r}")
        fixed[axis] = category
    return fixed


if __name__ == "__main__":
    sys.exit(main())
