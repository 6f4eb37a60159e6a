"""How every command reads its command line, and how it ends."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TextIO, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from study.cli.console import StyledStream, show, streams
from trainables import stop_signals
from trainables.errors import BadInputError, LockLostError
from trainables.invocation import command_line

OK, FAILED, BAD_INPUT = 0, 1, 2
"""Exit statuses: done; a cell failed or the output was lost; bad input, and no work started."""

DISTRIBUTION = "scarce-labels"
"""Name of the installed package."""

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


@contextmanager
def checking_input() -> Iterator[None]:
    """Wraps the part of a command that reads its input.

    Raises:
        BadInputError: In place of a ValueError or OSError.
    """
    try:
        yield
    except BadInputError:
        raise
    except (ValueError, OSError) as error:
        raise BadInputError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Command:
    """The `main` of a command: called with a command line, it returns the exit status."""

    function: Callable[..., int]
    """Its parameters are the arguments (typer), its docstring is the help."""
    keeps: str | None
    """What the next run continues from; None: the command runs no cells."""
    examples: Mapping[str, str]
    """Arguments -> what the command does with them."""
    notes: str
    """Last part of the help."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Runs a command line, by default that of the process; returns the exit status."""
        program = command_line(self.function.__globals__["__spec__"].name.removeprefix("study."))
        return run(partial(self.parser, program), arguments, program)

    def parser(self, program: str) -> TyperCommand:
        """Returns the parser, which turns a command line into a `Call`.

        Args:
            program: What the examples of the help begin with, such as `python -m study.sweep`.
        """

        @wraps(self.function)
        def call(**values: Any) -> Call:
            return Call(self, values)

        # Panels only on a terminal: elsewhere the help is plain text.
        app = typer.Typer(add_completion=False, rich_markup_mode="rich" if on_terminal() else None)
        app.command(
            help=paragraphs(self.function.__doc__ or ""),
            epilog=f"{example_lines(program, self.examples)}\n\n{self.notes}",
            context_settings=HELP_OPTIONS,
        )(call)
        return cast(TyperCommand, get_command(app))


@dataclass(frozen=True, slots=True)
class Call:
    """A command and the values of its parameters."""

    command: Command
    values: Mapping[str, Any]

    def __call__(self) -> int:
        """Runs the command; returns the exit status."""
        if self.command.keeps is None:
            return self.command.function(**self.values)
        with stop_signals.signals_handled():
            return self._run_cells(self.command.keeps)

    def _run_cells(self, keeps: str) -> int:
        rest = f"{keeps} are kept: the same command continues from here."
        try:
            return self.command.function(**self.values)
        except LockLostError as error:
            return _refuse(error, FAILED)
        except OSError as error:
            out = self.values["out"]
            return _refuse(f"{out} cannot be read or written: {error}\n{rest}", FAILED)
        except KeyboardInterrupt:
            print(f"\nStopped. {rest}")
            return stop_signals.exit_status()


def command(
    *, examples: Mapping[str, str], keeps: str | None = None, notes: str = ""
) -> Callable[[Callable[..., int]], Command]:
    """Turns a function into the `main` of a command.

    Args:
        examples: Arguments -> what the command does with them, for the help.
        keeps: What the next run continues from, for a command that runs cells in its run folder
            `out`. Such a command handles signals, and a failing run folder ends it with status 1.
        notes: Last part of the help.
    """

    def decorate(function: Callable[..., int]) -> Command:
        return Command(function=function, keeps=keeps, examples=examples, notes=notes)

    return decorate


def run(
    make_parser: Callable[[], TyperCommand | TyperGroup],
    arguments: Sequence[str] | None,
    program: str,
) -> int:
    """Parses a command line and runs its command; returns the exit status.

    A closed pipe (`| head`) does not change the status. Output lost in another way (a full disk) is
    reported in one line; it is a failure unless the command runs cells, whose results are files.

    Args:
        make_parser: Returns what turns the command line into a `Call`.
        arguments: The command line; None: that of the process.
        program: Name of the program in usage and errors.
    """
    with streams() as out:
        if sys.flags.optimize > 1:
            return _refuse(
                "Python runs without docstrings (-OO or PYTHONOPTIMIZE=2), which "
                "transformers reads: unset PYTHONOPTIMIZE, or set it to 1"
            )
        call, status = None, OK
        try:
            call = _parse(make_parser(), arguments, program)
            if call is not None:
                status = call()
        except typer.TyperException as error:
            status = _refuse(_usage_error(error, program))
        except BadInputError as error:
            status = _refuse(error)
        out.flush()
        if out.error is None or out.error.errno == errno.EPIPE:
            return status
        _refuse(f"the output could not be written: {out.error}")
        return status or FAILED * (call is None or call.command.keeps is None)


def _parse(
    parser: TyperCommand | TyperGroup, arguments: Sequence[str] | None, program: str
) -> Call | None:
    """Returns the command that a command line asks for; None where it asked for the help.

    Raises:
        typer.TyperException: If the command line is not valid.
    """
    with redirect_stdout(cast(TextIO, StyledStream(sys.stdout))):
        call = parser.main(arguments, prog_name=program, standalone_mode=False)
    return call if isinstance(call, Call) else None


def _usage_error(error: typer.TyperException, program: str) -> str:
    context = getattr(error, "ctx", None)
    path = program if context is None else context.command_path
    return f"{' '.join(error.format_message().split()).rstrip('.')} (see `{path} --help`)"


def _refuse(error: object, status: int = BAD_INPUT) -> int:
    """Prints an error; returns the exit status."""
    show(f"error: {error}", style="red", stream=sys.stderr)
    return status


def sweep_line(space: str, out: str) -> str:
    """Returns the command that runs a study's missing cells, for messages.

    Args:
        space: Name of the study.
        out: Its run folder.
    """
    return f"`{command_line(f'sweep SPACE --out {out}')}` with the SPACE of study {space}"


def on_terminal() -> bool:
    """Returns whether the help can have panels and colours."""
    return sys.stdout.isatty()


def paragraphs(docstring: str) -> str:
    """Returns a docstring with a line per paragraph, for the help to wrap."""
    return "\n\n".join(" ".join(lines.split()) for lines in docstring.split("\n\n"))


def example_lines(program: str, examples: Mapping[str, str]) -> str:
    """Returns examples for a help text, as lines that are not wrapped.

    Args:
        program: What a command line begins with.
        examples: Arguments -> what the program does with them.
    """
    # Plain help wraps no line of a paragraph that begins with \b.
    lines = ["" if on_terminal() else "\b", "Examples:"]
    for arguments, what in examples.items():
        lines += [f"  {program} {arguments}".rstrip(), f"      {what}"]
    return "\n".join(lines)
