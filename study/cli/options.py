"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def dollars(text: str) -> float:
    """Returns an amount of money, $.

    Raises:
        typer.BadParameter: If it is not a finite number of 0 or more: `nan` would pass every
            comparison, and so any price.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise typer.BadParameter(f"dollars must be a number of 0 or more, got {text!r}")
    return value


def _space_names(incomplete: str) -> list[str]:
    from search_spaces.registry import named_spaces

    return [name for name in named_spaces() if name.startswith(incomplete)]


SpaceName = Annotated[
    str,
    typer.Argument(
        metavar="SPACE",
        help="name of a shipped study, or path/to/file.py:function",
        autocompletion=_space_names,
    ),
]

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="study folder, such as runs/micro or s3://bucket/runs/micro"
    ),
]

Out = Annotated[
    str,
    typer.Option(
        "--out", metavar="RUNS", help="run folder: a local path, s3://bucket/... or gs://bucket/..."
    ),
]

DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="folder with local copies of data sets; `data --help` lists the files of each task "
        "(default: the Hugging Face Hub)",
    ),
]

AllPoints = Annotated[
    bool, typer.Option("--table", help="print every point, instead of a summary of 25 lines")
]

SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="drop unusable rows, and print how many and why"),
]

Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="an existing Ray cluster (default: the surrounding one, else a local Ray); "
        "'in-process' runs everything in this process, for debugging",
    ),
]

Dashboard = Annotated[
    bool,
    typer.Option("--dashboard", help="start the dashboard of a local Ray and print its address"),
]

DryRun = Annotated[bool, typer.Option("--dry-run", help="print the plan and stop")]

MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="DOLLARS",
        parser=dollars,
        help="exit with status 2 before starting any work if the remaining work is expected to "
        "cost more on on-demand nodes; also limits the number of nodes",
    ),
]

Prices = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help="price table in the format of the shipped prices.toml (default: that file)",
    ),
]

Instance = Annotated[
    str | None,
    typer.Option(
        "--instance",
        metavar="TYPE",
        help="node type of every worker, such as g6.2xlarge (default: the cheapest that fits, "
        "among the types of this cluster if it names them, else of the price table)",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
