"""Runs a command as the shell would, and holds what it did against what every command promises."""

from __future__ import annotations

import io
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings

OK, BAD_INPUT = 0, 2

CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")
"""What a terminal may take as a command; a tab and the end of a line are none."""

Command = Callable[[Sequence[str]], int]
"""A command's `main`."""


def examples(number: int) -> settings:
    """Returns settings under which every run draws the same examples, and that many."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left on its streams, and its exit status."""

    status: int
    out: str
    err: str


def run(command: Command, *arguments: str, keeps: Path) -> Outcome:
    """Runs a command and checks what holds whatever its input is.

    It ends with one of the documented statuses: no exception leaves it, no traceback is shown, and
    nothing that a terminal would obey. Bad input gives one line on stderr, and changes no file.

    Args:
        command: Its `main`.
        arguments: Of its command line.
        keeps: The folder with its input and its run folder.
    """
    before = files_of(keeps)
    outcome = _call(command, arguments)
    shown = outcome.out + outcome.err
    assert outcome.status in (0, 1, 2), shown
    assert "Traceback" not in shown
    assert (found := CONTROL.search(shown)) is None, (found, shown)
    if outcome.status == BAD_INPUT:
        lines = outcome.err.splitlines()
        assert len(lines) == 1 and "error: " in lines[0], outcome.err
        assert "error:" not in outcome.out, outcome.out
        assert files_of(keeps) == before
    else:
        assert "error:" not in outcome.err or outcome.status == 1, outcome.err
    return outcome


def refused(outcome: Outcome, *named: str) -> None:
    """Checks that a command refused its input, in a message that names what is wrong with it."""
    assert outcome.status == BAD_INPUT, outcome.out[:200]
    for text in named:
        assert text in outcome.err, (text, outcome.err)


def accepted(outcome: Outcome) -> None:
    """Checks that a command took its input."""
    assert outcome.status == OK, outcome.err


def _call(command: Command, arguments: Sequence[str]) -> Outcome:
    # Streams with an encoding, as a terminal's: a lone surrogate cannot be written to them.
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = command(arguments)
        except SystemExit as error:  # argparse
            assert isinstance(error.code, int), error.code
            status = error.code
    return Outcome(status=status, out=_text(out), err=_text(err))


def _text(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def files_of(folder: Path) -> Mapping[str, tuple[int, bytes | None]]:
    """Returns every file and folder below one, with its time of change and its bytes."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """Gives an empty folder, and leaves none behind."""
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Tally(Counter[int]):
    """How often examples ended with each exit status."""

    def check(self, **least: float) -> None:
        """Checks that strategies are not vacuous.

        Args:
            least: `ok` and `refused`: the share of examples that end so at least.
        """
        total = self.total()
        assert self[OK] >= least["ok"] * total, self
        assert self[BAD_INPUT] >= least["refused"] * total, self
