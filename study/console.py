"""How every command reads its arguments, prints, and ends.

A level name or a question may hold any character, and a pipe may close at any time. Neither may
break a command: all of them print through the two streams of this module.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, Literal, Protocol, TextIO, cast

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from typer.main import get_command

from study.formatting import Table, text_of, without_controls
from trainables import stop_signals
from trainables.errors import BadInputError, LockLostError

OK, FAILED, BAD_INPUT = 0, 1, 2
"""Exit statuses: done; a cell failed or the output was lost; bad input, and no work started."""

CURSOR_MOVES = re.compile(r"\n*(\x1b\[A)*")
"""All that a progress bar writes to reach another bar's line."""


class Main(Protocol):
    """The entry point of a command."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Runs a command line, by default the process's own; returns the exit status."""


class Stream:
    """A text stream that never raises and passes no control character on.

    A character outside the stream's encoding prints as `?`, a control character as its escape
    sequence. Only a carriage return at the start of a text passes, since progress lines begin with
    it. The first error of the underlying stream is kept, and later output is dropped.
    """

    def __init__(self, real: TextIO) -> None:
        self._real = real
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def write(self, text: str) -> int:
        """Writes a text, unless the stream has failed."""
        if CURSOR_MOVES.fullmatch(text):
            return self.write_styled(text)
        start = text.startswith("\r")
        self.write_styled(text[:start] + without_controls(text[start:]))
        return len(text)

    def write_styled(self, text: str) -> int:
        """Writes a text with the terminal sequences that rich put into it."""
        encoding = self._real.encoding or "utf-8"
        self._guard(lambda: self._real.write(text.encode(encoding, "replace").decode(encoding)))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes the underlying stream."""
        self._guard(self._real.flush)

    def _guard(self, use: Callable[[], object]) -> None:
        """Uses the stream; after an error, points it at the null device.

        The interpreter flushes it once more when it exits.
        """
        if self.error is not None:
            return
        try:
            use()
        except OSError as error:
            self.error = error
            with suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._real.fileno())
                os.close(null)


class StyledStream:
    """A view of a `Stream` for rich and typer, whose terminal sequences may pass."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text without escaping."""
        write = (
            self._stream.write_styled if isinstance(self._stream, Stream) else self._stream.write
        )
        return write(text)


def show(*parts: str | Table, style: str = "", stream: TextIO | None = None) -> None:
    """Prints texts and tables: fitted to a terminal by rich, plain and unwrapped elsewhere.

    Args:
        parts: Printed one below the other.
        style: Of rich, for a terminal.
        stream: Standard output by default.
    """
    stream = stream or sys.stdout
    if stream.isatty():
        terminal = Console(file=cast(TextIO, StyledStream(stream)), highlight=False)
        for part in parts:
            terminal.print(_fitted(part) if isinstance(part, Table) else _clean(part), style=style)
    else:
        print(text_of(parts), file=stream, flush=True)


def _fitted(table: Table) -> RichTable:
    fitted = RichTable(box=None, pad_edge=False, header_style="bold")
    for name in table.header:
        is_number = name in table.numbers
        justify: Literal["right", "left"] = "right" if is_number else "left"
        fitted.add_column(_clean(name), justify=justify, no_wrap=is_number, overflow="fold")
    for row in table.rows:
        fitted.add_row(*map(_clean, row))
    return fitted


def _clean(text: str) -> Text:
    return Text(without_controls(text))


@contextmanager
def streams() -> Iterator[Stream]:
    """Replaces standard output and error by the streams of this module; yields the first."""
    before = sys.stdout, sys.stderr
    # A descriptor that the caller has closed would go to the next file that is opened.
    out, err = (Stream(real or open(os.devnull, "w")) for real in before)  # noqa: SIM115
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


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


def command(
    *, keeps: str | None = None, epilog: str | None = None
) -> Callable[[Callable[..., int]], Main]:
    """Turns a function into the `main` of a command.

    Its parameters are the arguments (typer), its docstring is the help. `main` takes the command
    line and returns the exit status.

    A closed pipe (`| head`) does not change the status. Output lost in another way (a full disk) is
    reported in one line; it is a failure unless the command runs cells, whose results are files.

    Args:
        keeps: What the next run continues from, for a command that runs cells in its run folder
            `out`. Such a command handles signals, and a failing run folder ends it with status 1.
        epilog: Text below the options in the help.
    """

    def decorate(function: Callable[..., int]) -> Main:
        @functools.wraps(function)
        def main(arguments: Sequence[str] | None = None) -> int:
            with streams() as out:
                if sys.flags.optimize > 1:
                    return _refuse(
                        "Python runs without docstrings (-OO or PYTHONOPTIMIZE=2), which "
                        "transformers reads: unset PYTHONOPTIMIZE, or set it to 1"
                    )
                status = _run(function, arguments, keeps, epilog)
                out.flush()
                if out.error is None or out.error.errno == errno.EPIPE:
                    return status
                _refuse(f"the output could not be written: {out.error}")
                return status or FAILED * (keeps is None)

        return main

    return decorate


def _run(
    function: Callable[..., int],
    arguments: Sequence[str] | None,
    keeps: str | None,
    epilog: str | None,
) -> int:
    """Parses the command line and calls the function; maps every expected error to a status."""
    try:
        values = _parse(function, arguments, epilog)
        if values is None:
            return OK
        if keeps is None:
            return function(**values)
        with stop_signals.signals_handled():
            return _run_cells(function, values, keeps)
    except typer.TyperException as error:
        return _refuse(f"{' '.join(error.format_message().split()).rstrip('.')} (see --help)")
    except BadInputError as error:
        return _refuse(error)


def _run_cells(function: Callable[..., int], values: dict[str, Any], keeps: str) -> int:
    rest = f"{keeps} are kept: the same command continues from here."
    try:
        return function(**values)
    except LockLostError as error:
        return _refuse(error, FAILED)
    except OSError as error:
        return _refuse(f"{values['out']} cannot be read or written: {error}\n{rest}", FAILED)
    except KeyboardInterrupt:
        print(f"\nStopped. {rest}")
        return stop_signals.exit_status()


def _refuse(error: object, status: int = BAD_INPUT) -> int:
    """Prints an error; returns the exit status."""
    show(f"error: {error}", style="red", stream=sys.stderr)
    return status


def _parse(
    function: Callable[..., int], arguments: Sequence[str] | None, epilog: str | None
) -> dict[str, Any] | None:
    """Returns the values of a command line by parameter; None where it asked for the help.

    Raises:
        typer.TyperException: If the command line is not valid.
    """

    @functools.wraps(function)
    def values(**parsed: Any) -> dict[str, Any]:
        return parsed

    # Panels only on a terminal: elsewhere the help is plain text.
    app = typer.Typer(
        add_completion=False, rich_markup_mode="rich" if sys.stdout.isatty() else None
    )
    text = "\n\n".join(" ".join(lines.split()) for lines in (function.__doc__ or "").split("\n\n"))
    settings = {"help_option_names": ["-h", "--help"]}
    app.command(help=text, epilog=epilog, context_settings=settings)(values)
    name = f"python -m {function.__globals__['__spec__'].name}"
    with redirect_stdout(cast(TextIO, StyledStream(sys.stdout))):
        parsed = get_command(app).main(arguments, prog_name=name, standalone_mode=False)
    return parsed if isinstance(parsed, dict) else None
