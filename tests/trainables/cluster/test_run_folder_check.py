"""A run folder on the driver's own disk: nodes that do not see it say so, and all ends at once."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from study import sweep
from study.cli.command import BAD_INPUT
from tests.support.fakes import FakeStudy, fake_space
from tests.support.small_study import SmallStudy
from trainables.cells.planned import Block, RunContext
from trainables.cluster import ray_executor, run_folder_check
from trainables.cluster.block_trial import GroupEnd, run_to_the_end
from trainables.cluster.capacity import HEAD_RESOURCE, ClusterLimits, NodeKind
from trainables.cluster.run_folder_check import RunFault, check_reachable, check_shared
from trainables.errors import ClusterError
from trainables.storage import layout, mounts
from trainables.storage.filesystem import open_storage

HEAD = NodeKind(name="", resources={"CPU": 2, HEAD_RESOURCE: 1}, count=1)
GPU_NODES = NodeKind(name="g5", resources={"CPU": 8, "GPU": 1}, count=4)
GROWING = ClusterLimits(kinds=(HEAD, GPU_NODES), most_workers=4, is_autoscaled=True)


@pytest.fixture(autouse=True)
def _looks_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder_check, "ATTEMPT_INTERVAL_S", 0.0)


def signed(folder: Path, token: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / layout.LOCK).write_text(json.dumps({"token": token, "host": "driver"}))
    return folder


def test_a_worker_sees_the_folder_where_the_drivers_own_sign_lies(tmp_path: Path) -> None:
    here = signed(tmp_path / "here", "mine")
    other = signed(tmp_path / "other", "of a sweep that ran on this node once")
    assert check_reachable(RunContext(out=str(here), tasks={}, models={}, token="mine")) is None
    for out in (other, tmp_path / "nothing"):
        fault = check_reachable(RunContext(out=str(out), tasks={}, models={}, token="mine"))
        assert fault is not None and str(out) in fault and "a bucket" in fault
    assert not (tmp_path / "nothing").exists(), "looking leaves nothing"
    assert check_reachable(RunContext(out=str(other), tasks={}, models={})) is None, (
        "nobody holds the folder: nobody looks"
    )


def test_a_sign_that_comes_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network disks show a new file a moment later."""
    monkeypatch.setattr(run_folder_check.time, "sleep", lambda _: signed(tmp_path / "late", "mine"))
    assert (
        check_reachable(RunContext(out=str(tmp_path / "late"), tasks={}, models={}, token="mine"))
        is None
    )


def test_a_block_whose_worker_does_not_see_the_folder_starts_no_other_group(
    tmp_path: Path,
) -> None:
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=fake_space(seeds=1))
    starts = []

    def run_group() -> GroupEnd:
        starts.append(1)
        return GroupEnd(fault=RunFault("not here"), is_permanent=True)

    block = Block(
        index=0, units=(study.plan.cells,), workers=1, cpus_per_worker=1, gpus_per_worker=0
    )
    fault = run_to_the_end(block, study.storage, run_group)
    assert isinstance(fault, RunFault) and fault == "not here"
    assert len(starts) == 1


def on_file_system(name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    lines = folder / "mounts"
    lines.write_text(f"something / {name} rw 0 0\n")
    patch.setattr(mounts, "MOUNTS", lines)


def test_a_growing_cluster_takes_no_folder_of_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = open_storage(str(tmp_path / "runs"))
    on_file_system("ext4", tmp_path, monkeypatch)
    with pytest.raises(ClusterError, match=r"would not see .*runs: its file system \(ext4\)"):
        check_shared(local, GROWING)
    check_shared(open_storage("s3://bucket/runs?region=us-east-1"), GROWING)
    check_shared(
        local, ClusterLimits(kinds=(HEAD, GPU_NODES))
    )  # nodes that are there look for themselves
    check_shared(local, ClusterLimits(kinds=(HEAD,), most_workers=4, is_autoscaled=True))
    check_shared(local, ClusterLimits(kinds=GROWING.kinds, most_workers=0, is_autoscaled=True))
    on_file_system("nfs4", tmp_path, monkeypatch)
    check_shared(local, GROWING)


def test_the_sweep_refuses_it_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray_executor, "connect", lambda address, *, dashboard: nullcontext())
    monkeypatch.setattr(ray_executor, "_living_nodes", list)
    monkeypatch.setattr(ray_executor, "growth", lambda nodes: GROWING)
    on_file_system("ext4", tmp_path, monkeypatch)
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    assert sweep.main([*study.arguments, "--out", str(out)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "would not see the run folder" in said and "--out" in said
    assert not out.exists()
