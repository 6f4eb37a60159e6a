"""`scarce COMMAND`: every command of this package as one program.

A command's module is imported only when the command is called, so that the help appears at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from study.cli.command import (
    DISTRIBUTION,
    HELP_OPTIONS,
    Command,
    example_lines,
    on_terminal,
    paragraphs,
    run,
)

NAME = "scarce"

HELP = """Measures how much supervision easy labels buy on hard questions.

A study trains base models on easy labels, tests them on hard questions, and reports the supervision
gap recovered (SGR) with intervals. `python -m study.COMMAND` is the same as `scarce COMMAND`."""

EXAMPLES = {
    "sweep --dry-run": "Print the plan of the default study and its price, and stop.",
    "sweep": "Run it on this machine; the results go to runs/micro.",
}

COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Explore": {
        "spaces": "List the shipped studies: cells, GPU-hours, models, question.",
        "models": "List the known base models: size, published accuracies, studies.",
    },
    "Prepare": {
        "doctor": "Check whether this machine is ready for a study.",
        "data": "Describe a task's data: levels, pools, overlap of draws.",
        "verify": "Compare a model's zero-shot accuracy with published numbers.",
        "measure": "Compute the model-based measures that cut a study's levels.",
        "tune": "Search a method's hyper-parameters on easy labels.",
        "cluster": "Check a cluster file before you start the cluster.",
    },
    "Run": {
        "plan": "Show what a study would run and what it could resolve.",
        "sweep": "Run a study: its missing cells, then the surface and the report.",
        "status": "Show the progress of a study, from any machine.",
    },
    "Analyse": {
        "report": "Rebuild a study's report, or compare two studies.",
        "items": "Browse what every arm answers to every test item.",
        "export": "Copy a cell's adapter or probe.",
        "archive": "Write a study's records to a few files, or restore them.",
    },
}
"""Group -> command -> summary."""


class LazyCommands(TyperGroup):
    """Commands known by name and summary; a module is imported when its command is used."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the name of the command, its parser, and the arguments for it."""
        name, stub, rest = super().resolve_command(ctx, args)
        if name is None or stub is None:
            return name, stub, rest
        main: Command = import_module(f"study.{name}").main
        return name, main.parser(f"{NAME} {name}"), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the commands of each group below its name, where the help is plain text."""
        for group, commands in COMMANDS.items():
            with formatter.section(group):
                formatter.write_dl(list(commands.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line, by default that of the process; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return run(_parser, arguments or ["--help"], NAME)


def _parser() -> TyperGroup:
    app = typer.Typer(
        cls=LazyCommands,
        help=paragraphs(HELP),
        epilog=example_lines(NAME, EXAMPLES),
        context_settings=HELP_OPTIONS,
        rich_markup_mode="rich" if on_terminal() else None,
    )
    app.callback()(_options)
    for group, commands in COMMANDS.items():
        for name, summary in commands.items():
            app.command(name, help=summary, rich_help_panel=group)(_stub)
    return cast(TyperGroup, get_command(app))


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(DISTRIBUTION, version(DISTRIBUTION))
        raise typer.Exit


def _options(
    _version: Annotated[
        bool | None,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version),
    ] = None,
) -> None:
    """Declares the options of the program itself."""


def _stub() -> None:
    """Stands for a command in the list of commands."""


if __name__ == "__main__":
    sys.exit(main())
