"""This machine is checked before it runs a study: its memory, and its quantization."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.recipes import InContext, ZeroShot
from study.cli.command import BAD_INPUT, OK
from study.cost.fitting import Setting, settings_of
from study.cost.jobs import PricedJob
from study.cost.memory import ModelShape
from study.running import preflight
from study.running.preflight import check_local_devices, check_local_memory
from study.sweep import main
from study.tune import main as tune
from tests.support.fakes import FakeStudy, fake_space
from tests.support.small_study import TINY_SPACE, SmallStudy
from tests.support.tuning_study import TuningStudy
from trainables.cluster import head
from trainables.cluster.capacity import IN_PROCESS
from trainables.cluster.machine_memory import Machine
from trainables.errors import ClusterError, InsufficientMemoryError
from trainables.models.loading import check_quantization
from trainables.storage.filesystem import open_storage


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(head, "cluster_of_this_machine", lambda: None)


@pytest.fixture
def no_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )


def gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    """Pretends that this machine has GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: capabilities[device.index or 0]
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")


def check(tmp_path: Path, address: str | None, *quantizations: str, **changes: object) -> None:
    recipes = tuple(InContext(k=4, quantization=one) for one in dict.fromkeys(quantizations))
    space = fake_space(**{"methods": recipes, **changes})
    plan = FakeStudy(storage=open_storage(str(tmp_path)), space=space).plan
    check_local_devices(plan.space, plan.cells, address)


@pytest.mark.parametrize(
    ("quantization", "capability", "message"),
    [
        ("int8", (7, 0), r"'int8' needs .* 7\.5 or more, and GPU 1 has 7\.0: use nf4 or q.* none"),
        ("int8", (5, 2), r"GPU 1 has 5\.2: use quantization none, or another machine"),
        ("nf4", (5, 2), r"'nf4' needs .* 6\.0 or more, and GPU 1 has 5\.2"),
        ("int8", (7, 5), None),
        ("nf4", (6, 0), None),
        ("none", (3, 5), None),
    ],
)
def test_a_gpu_that_is_too_old_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quantization: str,
    capability: tuple[int, int],
    message: str | None,
) -> None:
    gpus(monkeypatch, (9, 0), capability)
    check_quantization(quantization, "cpu")
    check(tmp_path, IN_PROCESS, quantization)
    check(tmp_path, "auto", quantization)
    check(tmp_path, None, quantization, footprint=Footprint(gpus_per_worker=0))
    if message is None:
        check(tmp_path, None, quantization, "none")
        return
    with pytest.raises(ClusterError, match=message) as caught:
        check(tmp_path, None, "none", quantization)
    assert "toy" in str(caught.value), "names a cell"


def test_a_machine_without_bitsandbytes_is_refused(
    tmp_path: Path, no_bitsandbytes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (None, IN_PROCESS):
        with pytest.raises(ClusterError, match="'nf4' needs bitsandbytes, which is not installed"):
            check(tmp_path, address, "nf4")
        check(tmp_path, address, "none")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    check(tmp_path, None, "nf4")  # the cluster's machines may have it
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(head, "cluster_of_this_machine", lambda: "10.0.0.1:6379")
    check(tmp_path, None, "nf4")


def test_a_sweep_stops_before_anything_is_written(
    tmp_path: Path, no_bitsandbytes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    file = study.folder / "space.py"
    file.write_text(
        file.read_text().replace("InContext(k=2)", "InContext(k=2, quantization='nf4')")
    )
    assert main([*study.arguments, "--out", str(out), "--address", IN_PROCESS]) == BAD_INPUT
    assert "'nf4' needs bitsandbytes" in capsys.readouterr().err
    assert not list(out.rglob("plan.json")) and not list(out.rglob("record.json"))


GIB = 2**30


def this_is(monkeypatch: pytest.MonkeyPatch, memory: float) -> None:
    """Pretends that this machine has some GiB of memory and four cores."""
    machine = Machine(memory=memory * GIB)
    monkeypatch.setattr(preflight, "this_machine", lambda *, with_gpus: machine)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def test_a_study_that_does_not_fit_stops_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.py").write_text(TINY_SPACE)
    SmallStudy(folder=tmp_path / "study")
    data, out = tmp_path / "study" / "data", tmp_path / "runs"
    space = f"{tmp_path / 'space.py'}:tiny"
    run = [space, "--data-root", str(data), "--out", str(out), "--address", IN_PROCESS]
    this_is(monkeypatch, 0.5)
    assert main(run) == BAD_INPUT
    message = capsys.readouterr().err
    assert "base model micro-s: " in message and "GiB of CPU memory for 1 worker, but" in message
    assert "this machine has 0.5 GiB. No setting of this model fits" in message
    assert not list(out.rglob("*.json")) and not list(out.rglob("*.parquet"))
    this_is(monkeypatch, 8)
    assert main(run) == OK
    records = [json.loads(path.read_text()) for path in out.rglob("record.json")]
    assert len(records) == 5
    assert all(GIB / 10 < record["peak_memory"] < 4 * GIB for record in records)


def test_a_search_that_does_not_fit_stops_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = TuningStudy(folder=tmp_path / "study"), tmp_path / "runs"
    this_is(monkeypatch, 0.5)
    run = [study.space, "--data-root", str(study.data_root), "--out", str(out)]
    search = ["--method", "linear-probe", "--trials", "1", "--address", IN_PROCESS]
    assert tune([*run, *search]) == BAD_INPUT
    assert "tiny: linear probe needs" in capsys.readouterr().err
    assert not list(out.rglob("*.json"))


def worker_group(workers: int) -> tuple[Setting, ...]:
    """Each worker takes about 4.6 GiB."""
    job = PricedJob(model="base", recipe=ZeroShot(), num_cells=1, flop=1.0)
    shapes = {"base": ModelShape(num_params=10**9, dtype="float32", vocab_size=32_000)}
    return settings_of([job], shapes, Footprint(workers=workers, gpus_per_worker=0))


def test_worker_groups_count_together_as_far_as_cores_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A local Ray takes 2 GiB more."""
    this_is(monkeypatch, 16)
    two = worker_group(2)
    check_local_memory([two], None)
    with pytest.raises(InsufficientMemoryError, match=r"machine is Footprint\(workers=2\)"):
        check_local_memory([worker_group(4)], None)
    with pytest.raises(InsufficientMemoryError, match=r"next to 1\d\.\d GiB of other processes"):
        check_local_memory([two, two], None)
    check_local_memory([two, two], IN_PROCESS)  # one after the other
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # one group waits for the other's cores
    check_local_memory([two, two], None)


def test_models_of_a_space_are_looked_at_by_their_own_footprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, (7, 0))
    models = (
        BaseModelRef(name="small", footprint=Footprint(gpus_per_worker=0)),
        BaseModelRef(name="large"),
    )
    with pytest.raises(ClusterError, match=r"large.*'int8' needs"):
        check(tmp_path, None, "int8", models=models)
