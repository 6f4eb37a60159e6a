"""Standard output and error of every command: safe to read on a terminal, and never in the way.

A level or a question may hold any character, and a pipe may close at any time. Neither ends a
command: all of them print through the two streams of this module.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ParamSpec, TextIO, cast

P = ParamSpec("P")

OUTPUT_LOST, BAD_INPUT = 1, 2
"""Exit statuses of a command whose output could not be written, and of one that cannot run."""

SHOWN = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}
"""Control characters as they are shown: a terminal would obey the ones that data brings along."""

CURSOR_MOVES = re.compile(r"\n*(\x1b\[A)*")
"""All of what a progress bar writes to reach the line of another."""


class Stream:
    """Writes to a text stream what can be written; all else is asked of that stream itself.

    A character without a code in the stream's encoding becomes `?`, a control character its escape
    sequence. Only a carriage return that starts a text stays: progress lines begin with it. The
    first error of the stream is kept, and what follows is dropped.
    """

    def __init__(self, real: TextIO) -> None:
        self._real = real
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def write(self, text: str) -> int:
        """Writes a text, or drops it where the stream has failed."""
        if self.error is None:
            try:
                self._real.write(printable(text, self._real.encoding))
            except OSError as error:
                self._fail(error)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hands on what has been written."""
        if self.error is None:
            try:
                self._real.flush()
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Leads the stream to nowhere: the interpreter flushes it again at its end."""
        self.error = error
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._real.fileno())
            os.close(nowhere)


def printable(text: str, encoding: str | None) -> str:
    """Returns a text as a terminal of an encoding may show it (None: any)."""
    if not CURSOR_MOVES.fullmatch(text):
        start = text.startswith("\r")
        text = text[:start] + text[start:].translate(SHOWN)
    encoding = encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


@contextmanager
def streams() -> Iterator[tuple[Stream, Stream]]:
    """Puts the streams of this module in the place of standard output and error."""
    before = sys.stdout, sys.stderr
    # A descriptor that the caller has closed would go to the next file that is opened.
    out, err = (Stream(real or open(os.devnull, "w")) for real in before)  # noqa: SIM115
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out, err
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def command(*, needs_output: bool) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Makes a function the `main` of a command, which prints through the streams of this module.

    A reader that has seen enough (`| head`) changes nothing: the command ends as it would have.
    Output that is lost in another way (a full disk) is reported in one line.

    Args:
        needs_output: Losing the output is a failure (status 1). Otherwise the exit status stays
            that of the cells.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            with streams() as (out, err):
                if sys.flags.optimize > 1:
                    print(
                        "error: Python runs without docstrings (-OO or PYTHONOPTIMIZE=2), which "
                        "transformers reads: unset PYTHONOPTIMIZE, or set it to 1",
                        file=err,
                    )
                    return BAD_INPUT
                status = main(*args, **kwargs)
                out.flush()
                if out.error is None or out.error.errno == errno.EPIPE:
                    return status
                print(f"error: the output could not be written: {out.error}", file=err)
                return status or OUTPUT_LOST * needs_output

        return run

    return decorate
