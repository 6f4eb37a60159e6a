"""The command on a real local Ray: equal bytes for any workers, after a kill, after Ctrl-C.

The data are a function of the study's own file, which driver and workers call.
"""

from __future__ import annotations

import functools
import os
import re
import signal
from pathlib import Path

import pytest

from study.cli.command import OK
from study.sweep import main
from tests.support.small_study import SmallStudy, output_of, scores_of, wait_until
from trainables.storage import layout

TWIN = ("--address", "in-process")

pytestmark = pytest.mark.ray


def study_in(folder: Path, workers: int | None = None) -> SmallStudy:
    return SmallStudy(folder=folder, workers=workers, epochs=40, task="space.py:sums")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The scores of the study when it runs undisturbed, in one process."""
    folder = tmp_path_factory.mktemp("twin")
    study = study_in(folder)
    assert main([*study.arguments, "--out", str(folder / "runs"), *TWIN]) == OK
    return dict(scores_of(folder / "runs"))


def test_killed_driver_loses_only_cells_in_flight_and_workers_do_not_change_a_byte(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    """Two workers until the driver is killed, then one."""
    out = tmp_path / "runs"
    study = study_in(tmp_path / "study", workers=2)
    process = study.start(out, new_session=True)
    wait_until(lambda: len(scores_of(out)) >= 3, process)
    process.send_signal(signal.SIGKILL)
    output_of(process)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/record.json")}
    assert 3 <= len(kept) < study.num_cells
    study = study_in(tmp_path / "study", workers=1)
    status, said = study.run(out)
    assert status == OK, said
    assert scores_of(out) == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "kept cells are not run again"
    assert re.search(r"(\d+)/\1 cells\n", said)
    assert not (out / "small" / "ray").exists(), "Ray's own files are removed"


def is_under_way(out: Path, num_cells: int) -> bool:
    """Returns whether so many cells have ended, and another one is in hand."""
    return len(scores_of(out)) >= num_cells and any(out.glob("running/*.json"))


def test_a_signal_stops_cleanly_and_the_next_run_goes_on(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    study = study_in(tmp_path / "study")
    out = tmp_path / "runs"
    # A terminal's Ctrl-C goes to the whole group, a scheduler's SIGTERM to the command.
    for send, signum, at_least in [(os.killpg, signal.SIGINT, 1), (os.kill, signal.SIGTERM, 8)]:
        process = study.start(out, new_session=True)
        wait_until(functools.partial(is_under_way, out, at_least), process)
        in_hand = {path.stem for path in out.glob("running/*.json")}
        send(process.pid, signum)
        said = output_of(process)
        assert process.returncode == 128 + signum, said
        assert "continues from here" in said and "Traceback" not in said
        assert at_least <= len(scores_of(out)) < study.num_cells
        kept = {path.name for path in out.glob("checkpoints/*")}
        assert in_hand <= kept | set(scores_of(out)), "each ended or left a checkpoint"
        assert not (out / layout.LOCK).exists() and not (out / "running").exists()
    assert main([*study.arguments, "--out", str(out), *TWIN]) == OK
    assert scores_of(out) == expected
