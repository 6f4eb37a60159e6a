"""The progress line: what it says, and how often in a file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from study.running import progress
from study.running.blocks import plan_units
from study.running.pace import Pace
from study.running.progress import ProgressReporter
from tests.support.fakes import FakeStudy, fake_space
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import open_storage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Follower:
    """A reporter on a study whose cells take 20 s each, one after the other."""

    def __init__(
        self, folder: Path, stream: io.StringIO, *, assumed_speed: float | None = None
    ) -> None:
        self.study = FakeStudy(storage=open_storage(str(folder)), space=fake_space(seeds=2)).write()
        self.stream, self.seconds = stream, 0.0
        units = plan_units(self.study.plan)
        self.cells = [cell for unit in units for cell in unit]
        pace = Pace(units)
        pace.begin(units, assumed_speed=assumed_speed)
        self.reporter = ProgressReporter(
            self.study.storage,
            units,
            pace=pace,
            on_finished=lambda cell, record: None,
            stream=stream,
            now=lambda: self.seconds,
        )

    def claim(self, cell: PlannedCell) -> None:
        self.study.storage.write_bytes(layout.running(cell.id), b"{}")

    def end(self, cell: PlannedCell) -> None:
        self.study.storage.delete(layout.running(cell.id))
        self.study.finish_cell(cell)

    def wait(self, seconds: int) -> None:
        """Polls once a second."""
        for _ in range(seconds):
            self.seconds += 1.0
            self.reporter.poll()
            self.reporter.show()

    def times(self) -> list[int]:
        """Returns the seconds at which the lines were printed."""
        lines = self.stream.getvalue().splitlines()
        return [int(m) * 60 + int(s) for m, s in (line.split()[0].split(":") for line in lines)]


def test_a_file_gets_a_line_at_most_every_10_seconds(tmp_path: Path) -> None:
    follower = Follower(tmp_path, io.StringIO())
    for cell in follower.cells[:6]:
        follower.claim(cell)
        follower.wait(2)
        follower.end(cell)
    times = follower.times()
    assert times == [10]
    follower.wait(120)  # no cell ends
    times = follower.times()
    assert times == [10, 20, 80]


def test_the_line_says_what_is_known(tmp_path: Path) -> None:
    follower = Follower(tmp_path, Terminal())
    first, second, third = follower.cells[:3]

    def line() -> str:
        follower.wait(1)
        return follower.stream.getvalue().rpartition("\r")[2].rstrip()

    total = len(follower.cells)
    assert line() == f"0:01  0/{total} cells, workers are starting"
    follower.claim(first)
    assert line() == f"0:02  0/{total} cells, 1 running, ETA unknown until a cell has finished"
    follower.end(first)
    follower.claim(second)
    assert re.fullmatch(
        rf"0:03  1/{total} cells, 1 running, ETA about \d+:\d\d \(\d+ kinds of cells untimed\)",
        line(),
    )
    follower.end(second)
    follower.study.fail_cell(third)
    assert f"2/{total} cells, 1 failed, ETA about" in line()
    for cell in follower.cells[3:-1]:
        follower.end(cell)
    follower.claim(follower.cells[-1])
    assert re.fullmatch(rf"0:05  {total - 2}/{total} cells, 1 running, 1 failed, ETA 0:0\d", line())


def test_on_cpus_the_first_eta_is_a_guess(tmp_path: Path) -> None:
    follower = Follower(tmp_path, Terminal(), assumed_speed=1e8)
    follower.claim(follower.cells[0])
    follower.wait(1)
    assert "1 running, ETA about" in follower.stream.getvalue()
    assert "(a guess, no cell timed)" in follower.stream.getvalue()


def test_the_line_of_a_narrow_terminal_does_not_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    follower = Follower(tmp_path, Terminal())
    follower.end(follower.cells[0])
    follower.claim(follower.cells[1])
    follower.wait(3)
    assert max(map(len, follower.stream.getvalue().split("\r"))) == 39


def test_a_run_of_several_at_once_is_not_slow_between_two_cells(tmp_path: Path) -> None:
    follower = Follower(tmp_path, Terminal())
    follower.end(follower.cells[0])
    for cell in follower.cells[1:3]:
        follower.claim(cell)
    follower.wait(1)
    for cell in follower.cells[1:3]:
        follower.end(cell)
    follower.wait(1)
    assert progress.AT_ONCE_POLLS > 1
    before, after = (
        int(m) * 60 + int(s)
        for m, s in re.findall(r"ETA (?:about )?(\d+):(\d\d)", follower.stream.getvalue())
    )
    assert after <= before
