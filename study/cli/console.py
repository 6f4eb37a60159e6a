"""How every command prints.

A level name or a question may hold any character, and a pipe may close at any time. Neither may
break a command: all of them print through the two streams of this module.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TextIO, cast

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from study.formatting import Table, text_of, without_controls

CURSOR_MOVES = re.compile(r"\n*(\x1b\[A)*")
"""All that a progress bar writes to reach another bar's line."""


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
