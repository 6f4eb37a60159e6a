"""Quantization that this machine cannot do is said before any work starts, where it would run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.recipes import InContext
from study.console import BAD_INPUT
from study.running.preflight import check_local_devices
from study.sweep import main
from tests.support.fakes import FakeStudy, fake_space
from tests.support.small_study import SmallStudy
from trainables.cluster import head
from trainables.cluster.capacity import IN_PROCESS
from trainables.errors import ClusterError
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
