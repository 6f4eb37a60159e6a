"""Faults, for real: lost nodes, killed processes, a full disk. The scores are always the same.

Faults of a bucket: test_fault_bucket.py. A killed driver: test_sweep_ray.py.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from study.console import BAD_INPUT, FAILED, OK
from study.sweep import main
from tests.support.fault_study import FaultStudy
from tests.support.small_study import scores_of
from trainables.cells.retries import MAX_ATTEMPTS
from trainables.cluster.spot_watcher import drain_this_node
from trainables.errors import RunFolderInUseError
from trainables.storage import layout, lock
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.heartbeat import STALE_S
from trainables.storage.lock import held

TWIN = ("--address", "in-process")


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The scores of the study when it runs undisturbed, in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    study = FaultStudy(folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert main([*study.arguments, "--out", str(folder / "runs"), *TWIN]) == OK
    scores = scores_of(folder / "runs")
    assert len(scores) == study.num_cells
    return scores


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 150
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A head that runs drivers only, and three nodes of one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        head = {"num_cpus": 0, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        yield cluster
        cluster.shutdown()


@pytest.mark.ray
def test_a_study_outlives_a_drained_node_a_lost_node_and_a_killed_worker(
    ray_cluster: Any, tmp_path: Path, expected: Mapping[str, bytes]
) -> None:
    """Blocks are packed for three nodes; one is left, and its worker is killed."""
    drained, lost, left = ray_cluster.nodes
    study, out = FaultStudy(folder=tmp_path / "study"), tmp_path / "runs"
    process = study.start(out, "--address", ray_cluster.address)
    wait_until(lambda: scores_of(out) and workers_of(left, out), process)
    os.kill(workers_of(left, out)[0], signal.SIGKILL)
    ray_cluster.remove_node(lost, allow_graceful=False)
    drain_this_node(
        ray_cluster.address, reason="a test", seconds_left=2, node_ids=[drained.node_id]
    )
    kept = times_of_records(out)
    assert len(kept) < study.num_cells, "the faults came while the study ran"
    time.sleep(2)  # what the notice said
    ray_cluster.remove_node(drained, allow_graceful=False)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == OK, said
    assert scores_of(out) == expected
    assert times_of_records(out).items() >= kept.items(), "kept cells are not run again"
    assert not list(open_storage(str(out)).list(layout.RUNNING))


def workers_of(node: Any, out: Path) -> list[int]:
    """Returns the processes of a node that have a cell in hand."""
    raylet = node.all_processes["raylet"][0].process.pid
    claims = [path.read_text() for path in out.glob("running/*.json")]
    pids = {json.loads(sign)["pid"] for sign in claims if sign}
    return [pid for pid in pids if f"PPid:\t{raylet}\n" in Path(f"/proc/{pid}/status").read_text()]


def times_of_records(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("cells/*/record.json")}


@pytest.mark.ray
def test_a_lost_head_is_said_and_the_next_run_goes_on(
    ray_cluster: Any, tmp_path: Path, expected: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the cluster: there is none afterwards."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "20")
    study, out = FaultStudy(folder=tmp_path / "study"), tmp_path / "runs"
    process = study.start(out, "--address", ray_cluster.address)
    wait_until(lambda: scores_of(out), process)
    head = ray_cluster.head_node.all_processes
    for name in ("gcs_server", "raylet"):
        os.kill(head[name][0].process.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=200)
    assert process.returncode not in (OK, BAD_INPUT), said
    assert "does not answer any more" in said and "continues from here" in said
    kept = times_of_records(out)
    assert main([*study.arguments, "--out", str(out), *TWIN]) == OK
    assert scores_of(out) == expected
    assert times_of_records(out).items() >= kept.items(), "kept cells are not run again"


POISON = """
import importlib.abc, importlib.util, os, sys

class Poison(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainables.cells.runner":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def poisoned(module):
            execute(module)
            real = module.CellRunner.run

            def run(self, planned, unit, share):
                write = real(self, planned, unit, share)
                if planned.id == POISONED:
                    os._exit(13)
                return write

            module.CellRunner.run = run

        spec.loader.exec_module = poisoned
        return spec

sys.meta_path.insert(0, Poison())
"""


@pytest.mark.ray
def test_a_cell_that_kills_its_worker_is_given_up_and_all_others_finish(
    tmp_path: Path, expected: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = FaultStudy(folder=tmp_path / "study", workers=1), tmp_path / "runs"
    poisoned = sorted(expected)[0]
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison" / "sitecustomize.py").write_text(
        POISON.replace("POISONED", repr(poisoned))
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "poison"))
    status, said = study.run(out)
    assert status == FAILED, said
    assert said.count("FAILED") == 1 and f"died {MAX_ATTEMPTS} times" in said
    assert scores_of(out) == {id_: c for id_, c in expected.items() if id_ != poisoned}
    monkeypatch.delenv("PYTHONPATH")
    assert main([*study.arguments, "--out", str(out), *TWIN]) == OK
    assert scores_of(out) == expected


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
    tmp_path: Path, expected: Mapping[str, bytes]
) -> None:
    study, disk = FaultStudy(folder=tmp_path / "study"), tmp_path / "disk"
    out, filler = disk / "runs", disk / "filler"
    with small_disk(disk, "16m"):
        filler.write_bytes(bytes(16 * 2**20 - 96 * 2**10))  # the plan and some cells fit
        status, said = study.run(out, *TWIN)
        assert status == FAILED, said
        assert "No space left on device" in said and "Traceback" not in said
        assert "continues from here" in said or "tries them again" in said
        kept = scores_of(out)
        assert kept and kept == {id_: expected[id_] for id_ in kept}
        assert len(kept) < study.num_cells
        assert not list(out.rglob("*.tmp")), "nothing half-written is left"
        filler.unlink()
        status, said = study.run(out, *TWIN)
        assert status == OK, said
        assert "is not valid" not in said, "nothing half-written was taken for a record"
        assert scores_of(out) == expected


def test_a_cell_whose_scores_do_not_fit_fails_alone(
    tmp_path: Path,
    expected: Mapping[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, out = FaultStudy(folder=tmp_path / "study"), tmp_path / "runs"
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


def test_of_two_sweeps_that_start_at_once_exactly_one_runs(
    tmp_path: Path, expected: Mapping[str, bytes]
) -> None:
    study, out = FaultStudy(folder=tmp_path / "study"), tmp_path / "runs"
    processes = [study.start(out, *TWIN) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert sorted(process.returncode for process in processes) == [OK, BAD_INPUT], said
    refused = next(t for t, p in zip(said, processes, strict=True) if p.returncode == BAD_INPUT)
    assert "in use by another sweep" in refused
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
    begun, ended = threading.Barrier(8), threading.Barrier(8)
    outcomes: list[str] = []

    def start() -> None:
        begun.wait(30)
        try:
            with held(open_storage(str(tmp_path))):
                outcomes.append("held")
                ended.wait(30)
        except RunFolderInUseError:
            outcomes.append("refused")
            ended.wait(30)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("held") == 1 and len(outcomes) == 8
    assert list(tmp_path.iterdir()) == []
