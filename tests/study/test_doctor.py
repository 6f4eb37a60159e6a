"""The doctor: each check passes here, and gives advice on a faulty machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study import doctor
from study.cli.command import OK
from study.doctor import PROBLEM, main
from trainables.cluster import machine_checks
from trainables.cluster.machine_checks import Check, run_check
from trainables.errors import StorageError
from trainables.storage.filesystem import Storage


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips the checks that import torch, which are tested separately."""
    monkeypatch.setattr(doctor, "machine_checks", lambda *, is_deep: {})


def constraints(tmp_path: Path, **versions: str) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("# a comment\n" + "".join(f"{n}=={v}\n" for n, v in versions.items()))
    return path


@pytest.mark.usefixtures("quick")
def test_ready_machine_exits_with_0_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "runs")]) == OK
    said = capsys.readouterr().out
    for name in ("packages", "storage", "disk", "W&B"):
        assert f" {name} " in said
    assert list(tmp_path.iterdir()) == []


def test_an_installed_package_has_no_pins_to_compare_with(tmp_path: Path) -> None:
    check = doctor.check_packages(tmp_path / "constraints.txt")
    assert check.status == "ok" and "only the sources have the tested versions" in check.text


@pytest.mark.usefixtures("quick")
def test_problem_exits_with_1_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file" / "runs")]) == PROBLEM
    said = capsys.readouterr().out
    assert "problem  storage" in said and "-> check name, network and credentials" in said


@pytest.mark.usefixtures("quick")
def test_json_holds_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--data-root", str(tmp_path / "none"), "--json"])
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["data"]["status"] == "problem" and found["data"]["advice"]
    assert found["disk"]["status"] == "ok"


def test_check_that_raises_is_a_problem_of_its_own() -> None:
    def broken() -> Check:
        raise OSError("libcudart.so: cannot open")

    check = run_check(broken)
    assert check.status == "problem" and "libcudart.so" in check.text and check.advice


def test_packages_are_compared_with_the_pinned_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda _: ["Some_Pack>=1", "torch", 'x; extra == "dev"']
    )
    found = {"some-pack": "1.5", "torch": "2.13.0+cpu"}
    monkeypatch.setattr(doctor, "version", found.__getitem__)
    same = constraints(tmp_path, some_pack="1.5", torch="2.13.0")
    result = doctor.check_packages(same)
    assert result.status == "ok" and "2 packages as pinned" in result.text
    other = doctor.check_packages(constraints(tmp_path, some_pack="1.6", torch="2.13.0"))
    assert other.status == "warning" and "some-pack 1.5 (pinned 1.6)" in other.text


def test_missing_package_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["no-such-package-here>=1"])
    check = doctor.check_packages(constraints(tmp_path))
    assert check.status == "problem" and "no-such-package-here" in check.text


def test_every_dependency_of_the_project_is_pinned() -> None:
    pinned = doctor.pinned_versions(doctor.CONSTRAINTS.read_text())
    assert set(doctor.required_packages()) <= set(pinned)


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, "ok"), (9, "ok"), (15, "warning"), (3600, "problem")]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_clock_is_compared_with_that_of_the_run_folder(
    seconds: float, status: str, sign: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.time.time
    monkeypatch.setattr(doctor.time, "time", lambda: real() + sign * seconds)
    check = doctor.check_storage(str(tmp_path / "runs"))
    assert check.status == status
    if status != "ok":
        assert float(check.text.split()[-2]) == pytest.approx(seconds, abs=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [StorageError, OSError])
def test_run_folder_that_is_lost_before_its_clock_is_read_is_no_broken_environment(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise kind("connection refused")

    monkeypatch.setattr(Storage, "modified", lost)
    check = doctor.check_storage(str(tmp_path))
    assert check.status == "problem" and "connection refused" in check.text
    assert "--out" in check.advice and "environment" not in check.advice


@pytest.mark.parametrize(("free", "status"), [(50, "ok"), (10, "warning"), (0.5, "problem")])
def test_disk(free: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_gb", lambda path: free if path.name == "runs" else 100.0)
    check = doctor.check_disk("runs")
    assert check.status == status and "for results" in check.text


def test_disk_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    free = doctor.free_gb(tmp_path)
    assert doctor.free_gb(tmp_path / "a" / "b") == pytest.approx(free, rel=0.1)


def test_data_folders(tmp_path: Path) -> None:
    assert doctor.check_data(tmp_path).status == "warning"
    (tmp_path / "mmlu_stem5").mkdir()
    assert doctor.check_data(tmp_path).status == "warning", "MMLU is read from DIR/mmlu"
    (tmp_path / "arc").mkdir()
    assert doctor.check_data(tmp_path).text == "local copies: DIR/arc"
    (tmp_path / "mmlu").mkdir()
    (tmp_path / "hub").mkdir()
    assert doctor.check_data(tmp_path).text == "local copies: DIR/arc, DIR/hub, DIR/mmlu"


def test_tracking_says_the_mode_and_never_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "secret-key-of-mine")
    check = doctor.check_tracking()
    assert check.text.startswith("online") and "secret" not in repr(check)
    monkeypatch.setenv("WANDB_MODE", "onlin")
    assert doctor.check_tracking().status == "problem"


def test_four_bits_run_here() -> None:
    check = machine_checks.check_nf4()
    assert check.status == "ok", check.text


def test_four_bits_that_come_out_wrong_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes.nn

    real = bitsandbytes.nn.Linear4bit.forward
    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", lambda s, x: -real(s, x))
    check = machine_checks.check_nf4()
    assert check.status == "problem" and "200 %" in check.text


@pytest.mark.parametrize("cuda", [None, "13.0"])
def test_driver_without_a_gpu_in_torch_is_a_problem_with_torchs_reason(
    cuda: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found 12020).\nUpdate")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(machine_checks.shutil, "which", lambda _: None)
    expected = "problem" if Path("/dev/nvidia0").exists() else "warning"
    assert machine_checks.check_gpus().status == expected
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: f"/bin/{name}")
    check = machine_checks.check_gpus()
    assert check.status == "problem" and check.text.endswith("too old (found 12020).")
    assert ("driver for CUDA 13.0" if cuda else "torch's CUDA build") in check.advice


@pytest.mark.parametrize(("is_deep", "on_gpu"), [(False, False), (True, False), (False, True)])
def test_deepspeed_is_tried_on_a_gpu_or_on_request(
    is_deep: bool, on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    tried: list[Callable[[], str]] = []

    def in_subprocess(function: Callable[[], str]) -> Check:
        tried.append(function)
        return Check("ok", "a step")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(machine_checks, "_in_subprocess", in_subprocess)
    assert machine_checks.check_deepspeed(is_deep=is_deep).status == "ok"
    assert tried == [machine_checks.train_with_deepspeed] * (is_deep or on_gpu)


def test_ray_is_started_on_request_only() -> None:
    shallow = machine_checks.machine_checks(is_deep=False)
    deep = machine_checks.machine_checks(is_deep=True)
    assert set(deep) - set(shallow) == {"Ray"}


def no_such_package() -> str:
    """Stands for a function of a package that cannot be imported."""
    return ""


def test_deep_check_that_fails_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    check = machine_checks._in_subprocess(no_such_package)
    assert check.status == "problem" and "no_such_package" in check.text
    assert sys.executable in check.advice
    monkeypatch.setattr(machine_checks, "DEEP_TIMEOUT_S", 0.01)
    assert "no result within" in machine_checks._in_subprocess(machine_checks.start_ray).text


@pytest.mark.ray
def test_ray_starts_here() -> None:
    check = machine_checks._in_subprocess(machine_checks.start_ray)
    assert check.status == "ok" and "ran a task" in check.text, check.text
