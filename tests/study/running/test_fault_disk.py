"""A disk that is full, and sweeps that start on it at once."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.cli.command import FAILED, OK
from study.sweep import main
from tests.support.fault_study import FaultStudy
from tests.support.lock_race import outcomes_of_race
from tests.support.small_study import scores_of
from trainables.storage import layout, lock
from trainables.storage.filesystem import Storage
from trainables.storage.heartbeat import STALE_S

TWIN = ("--address", "in-process")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The scores of the study when it runs undisturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = FaultStudy(folder=folder, epochs=1)
    assert main([*study.arguments, "--out", str(folder / "runs"), *TWIN]) == OK
    return scores_of(folder / "runs")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mounts a file system in memory; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk to fill: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_sweep_clearly_and_freed_it_goes_on(
    tmp_path: Path, expected: Mapping[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    study, disk = FaultStudy(folder=tmp_path / "study", epochs=1), tmp_path / "disk"
    out, filler = disk / "runs", disk / "filler"
    with small_disk(disk, "16m"):
        filler.write_bytes(bytes(16 * 2**20 - 96 * 2**10))  # the plan and some cells fit
        arguments = [*study.arguments, "--out", str(out), *TWIN]
        assert main(arguments) == FAILED
        said = "".join(capfd.readouterr())
        assert "No space left on device" in said and "Traceback" not in said
        assert "continues from here" in said or "tries them again" in said
        kept = scores_of(out)
        assert kept and kept == {id_: expected[id_] for id_ in kept}
        assert len(kept) < study.num_cells
        assert not list(out.rglob("*.tmp")), "nothing half-written is left"
        filler.unlink()
        assert main(arguments) == OK
        said = capfd.readouterr().out
        assert "is not valid" not in said, "nothing half-written was taken for a record"
        assert scores_of(out) == expected


def test_a_cell_whose_scores_do_not_fit_fails_alone(
    tmp_path: Path,
    expected: Mapping[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, out = FaultStudy(folder=tmp_path / "study", epochs=1), tmp_path / "runs"
    for_scores, for_sign, *_ = sorted(expected)
    full = (layout.scores(for_scores), layout.running(for_sign))
    real = Storage._put

    def put(self: Storage, path: str, content: bytes) -> None:
        if any(key in path for key in full):
            Path(path).write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, path, content)

    arguments = [*study.arguments, "--out", str(out), *TWIN]
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "_put", put)
        assert main(arguments) == FAILED
    said = capsys.readouterr().err
    assert said.count("FAILED") == 2 and said.count("No space left on device") == 2
    assert scores_of(out) == {
        id_: content for id_, content in expected.items() if id_ not in (for_scores, for_sign)
    }
    assert main(arguments) == OK
    assert scores_of(out) == expected


@pytest.mark.parametrize("is_stale", [False, True])
def test_of_many_that_take_the_lock_at_once_exactly_one_gets_it(
    is_stale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all of them find the lock of a dead sweep."""
    monkeypatch.setattr(lock, "SETTLE_S", 0.3)
    if is_stale:
        holder = {"token": "dead", "host": "elsewhere", "pid": 1, "time": time.time() - STALE_S - 1}
        (tmp_path / layout.LOCK).write_text(json.dumps(holder))
        os.utime(tmp_path / layout.LOCK, (time.time() - STALE_S - 1,) * 2)
    assert outcomes_of_race(str(tmp_path), 8) == ["held"] + 7 * ["refused"]
    assert list(tmp_path.iterdir()) == []
