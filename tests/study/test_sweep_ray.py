"""The command on a real local Ray: equal bytes for any workers, after a kill, after Ctrl-C."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import pytest

from study.console import OK
from study.sweep import main
from tests.support.small_study import SmallStudy, output_of, scores_of, wait_until
from trainables.storage import layout

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The scores of the study when it runs undisturbed, in one process."""
    folder = tmp_path_factory.mktemp("twin")
    study = SmallStudy(folder=folder, epochs=40)
    arguments = [*study.arguments, "--out", str(folder / "runs"), "--address", "in-process"]
    assert main(arguments) == OK
    return dict(scores_of(folder / "runs"))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_byte(
    workers: int, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    study = SmallStudy(folder=tmp_path / "study", workers=workers, epochs=40)
    status, said = study.run(tmp_path / "runs")
    assert status == OK, said
    assert scores_of(tmp_path / "runs") == expected
    assert f"{study.num_cells}/{study.num_cells} cells" in said
    assert not (tmp_path / "runs" / "small" / "ray").exists(), "Ray's own files are removed"


def test_killed_driver_loses_only_cells_in_flight(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    study = SmallStudy(folder=tmp_path / "study", epochs=40)
    out = tmp_path / "runs"
    process = study.start(out, new_session=True)
    wait_until(lambda: len(scores_of(out)) >= 3, process)
    process.send_signal(signal.SIGKILL)
    output_of(process)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/record.json")}
    assert 3 <= len(kept) < study.num_cells
    status, said = study.run(out)
    assert status == OK, said
    assert scores_of(out) == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "kept cells are not run again"


def is_under_way(out: Path, num_cells: int) -> bool:
    """Returns whether so many cells have ended, and another one is in hand."""
    return len(scores_of(out)) >= num_cells and any(out.glob("running/*.json"))


def test_a_signal_stops_cleanly_and_the_next_run_goes_on(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    study = SmallStudy(folder=tmp_path / "study", epochs=40)
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
    status, said = study.run(out)
    assert status == OK, said
    assert scores_of(out) == expected
