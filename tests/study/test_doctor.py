"""The doctor: each check is ok here, and says what to do where the thing is not right."""

from __future__ import annotations

import json
import os
import sys
import types
from functools import partial
from pathlib import Path

import pytest

from study import doctor
from study.doctor import OK, PROBLEM, main
from trainables.cluster import cuda_driver, machine_checks
from trainables.cluster.machine_checks import Check, run_check
from trainables.distributed import deepspeed_config
from trainables.errors import StorageError
from trainables.storage.filesystem import Storage


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the checks that import torch: they have tests of their own."""
    monkeypatch.setattr(doctor, "model_checks", lambda *, is_deep: iter(()))


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
    for name in ("Python", "packages", "storage", "clock", "disk", "W&B"):
        assert f" {name} " in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_problem_exits_with_1_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file" / "runs")]) == PROBLEM
    said = capsys.readouterr().out
    assert "problem  storage" in said and "-> name another folder or bucket" in said


@pytest.mark.usefixtures("quick")
def test_json_holds_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--data-root", str(tmp_path / "none"), "--json"])
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["data"]["status"] == "problem" and found["data"]["advice"]
    assert found["Python"]["status"] == "ok"


def test_check_that_raises_is_a_problem_of_its_own() -> None:
    def broken() -> Check:
        raise OSError("libcudart.so: cannot open")

    check = run_check("NF4", broken)
    assert check.status == "problem" and "libcudart.so" in check.text and check.advice


def test_old_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_python().status == "ok"
    monkeypatch.setattr(doctor, "sys", types.SimpleNamespace(version_info=(3, 10, 4)))
    assert doctor.check_python().status == "problem"


def test_packages_are_compared_with_the_pinned_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "requires", lambda _: ["Some_Pack>=1", "torch", 'x; extra == "dev"']
    )
    found = {"some-pack": "1.5", "torch": "2.13.0+cpu"}
    monkeypatch.setattr(doctor, "version", found.__getitem__)
    same = constraints(tmp_path, some_pack="1.5", torch="2.13.0")
    assert doctor.check_packages(same) == Check(name="packages", status="ok", text="2 as pinned")
    other = doctor.check_packages(constraints(tmp_path, some_pack="1.6", torch="2.13.0"))
    assert other.status == "warning" and "some-pack 1.5 (pinned 1.6)" in other.text
    assert doctor.check_packages(tmp_path / "none.txt").status == "warning"


def test_missing_package_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["no-such-package-here>=1"])
    check = doctor.check_packages(constraints(tmp_path))
    assert check.status == "problem" and "no-such-package-here" in check.text


def test_every_dependency_of_the_project_is_pinned() -> None:
    pinned = doctor._pinned((Path(doctor.__file__).parents[1] / "constraints.txt").read_text())
    assert set(doctor._needed("scarce-labels")) <= set(pinned)


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, "ok"), (9, "ok"), (11, "warning"), (301, "problem")]
)
def test_clock(seconds: float, status: str) -> None:
    assert doctor.judge_clock(seconds).status == status


def test_clock_is_that_of_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is an hour ahead or behind of its file system is found."""
    real = doctor.time.time
    assert doctor.check_clock(str(tmp_path)).status == "ok"
    for hours in (-1, 1):
        monkeypatch.setattr(doctor.time, "time", lambda hours=hours: real() + 3600 * hours)
        check = doctor.check_clock(str(tmp_path))
        assert check.status == "problem"
        assert float(check.text.split()[0]) == pytest.approx(3600, abs=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_clock_of_a_run_folder_that_cannot_be_reached_is_not_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    main(["--out", str(tmp_path / "file" / "runs")])
    said = capsys.readouterr().out
    assert "problem  storage" in said and " clock " not in said


@pytest.mark.parametrize("kind", [StorageError, OSError])
def test_run_folder_that_is_lost_before_its_clock_is_read_is_no_broken_environment(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise kind("connection refused")

    monkeypatch.setattr(Storage, "write_bytes", lost)
    check = run_check("clock", partial(doctor.check_clock, str(tmp_path)))
    assert check.status == "problem" and "connection refused" in check.text
    assert "run folder" in check.advice and "environment" not in check.advice


@pytest.mark.parametrize(("free", "status"), [(50, "ok"), (10, "warning"), (0.5, "problem")])
def test_disk(free: float, status: str) -> None:
    check = doctor.judge_disk({"models": 100.0, "results": free})
    assert check.status == status and "for results" in check.text


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    there = doctor.free_gb(tmp_path)
    assert doctor.free_gb(tmp_path / "a" / "b") == pytest.approx(there, rel=0.1)


def test_data_folders(tmp_path: Path) -> None:
    assert doctor.check_data(tmp_path).status == "warning"
    (tmp_path / "arc").mkdir()
    assert doctor.check_data(tmp_path).text == "local copies of arc"


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


def test_driver_without_a_gpu_in_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine_checks.shutil, "which", lambda _: None)
    expected = "problem" if Path("/dev/nvidia0").exists() else "warning"
    assert machine_checks.check_gpus().status == expected
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: f"/bin/{name}")
    assert machine_checks.check_gpus().status == "problem"


@pytest.mark.parametrize(
    ("installed", "cuda", "sees_gpus", "status"),
    [
        ("580.95.05", "13.0", True, "ok"),
        ("595.71", "13.0", True, "ok"),
        ("570.86.15", "13.0", False, "problem"),
        ("570.86.15", "13.0", True, "warning"),  # forward compatibility
        ("570.86.15", "12.6", True, "ok"),
        ("515.1", "12.6", False, "problem"),
        ("470.1", "99.0", False, "ok"),  # nothing is known of it
        ("470.1", None, False, "ok"),
    ],
)
def test_driver_is_compared_with_what_torch_needs(
    installed: str, cuda: str | None, sees_gpus: bool, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(machine_checks, "installed_driver", lambda: installed)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: sees_gpus)
    check = machine_checks.check_driver()
    assert check.status == status and installed in check.text
    assert bool(check.advice) == (status != "ok")


def test_driver_is_looked_at_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, is_looked_at in ((None, False), ("580.1", True)):
        monkeypatch.setattr(machine_checks, "installed_driver", lambda found=installed: found)
        names = [name for name, _ in machine_checks.model_checks(is_deep=False)]
        assert ("NVIDIA driver" in names) == is_looked_at


def test_version_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the loaded module, else from a nvidia-smi that answers."""
    monkeypatch.setattr(cuda_driver, "LOADED", tmp_path / "version")
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cuda_driver.installed_driver() is None
    program.write_text("#!/bin/sh\necho 575.51.03\necho 575.51.03\n")
    program.chmod(0o755)
    assert cuda_driver.installed_driver() == "575.51.03"
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    assert cuda_driver.installed_driver() is None
    (tmp_path / "version").write_text("580.95.05\n")
    assert cuda_driver.installed_driver() == "580.95.05"


@pytest.mark.parametrize(
    ("fault", "is_deep", "on_gpu", "is_built", "is_tried"),
    [
        (None, False, False, False, False),
        (None, True, False, False, True),
        (None, False, True, False, True),
        (None, False, False, True, True),
        ("there is no compiler: install one", True, True, True, False),
    ],
)
def test_deepspeed_runs_where_it_can_and_is_cheap(
    fault: str | None,
    is_deep: bool,
    on_gpu: bool,
    is_built: bool,
    is_tried: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    asked = []

    def find_fault(*, on_gpu: bool) -> str | None:
        asked.append(on_gpu)
        return fault

    tried = Check(name="DeepSpeed", status="ok", text="a step")
    monkeypatch.setattr(deepspeed_config, "find_deepspeed_fault", find_fault)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    monkeypatch.setattr(machine_checks, "_is_deepspeed_built", lambda: is_built)
    monkeypatch.setattr(machine_checks, "_in_own_process", lambda *_: tried)
    check = machine_checks.check_deepspeed(is_deep=is_deep)
    assert asked == [on_gpu]  # what the engine would say here
    assert check.text.endswith(": a step") == is_tried
    assert check.status == ("problem" if fault else "ok")
    if fault:
        assert "there is no compiler" in check.text and "install one" in check.advice


def test_deepspeed_that_is_not_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks.importlib.util, "find_spec", lambda _: None)
    assert machine_checks.check_deepspeed(is_deep=True).status == "warning"


def test_deepspeed_is_built_where_the_result_is_newer_than_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not machine_checks._is_deepspeed_built()
    python = f"py{sys.version_info.major}{sys.version_info.minor}_cpu"
    folder = tmp_path / "torch_extensions" / python / "deepspeed_shm_comm"
    folder.mkdir(parents=True)
    for name, time in (("build.ninja", 100), ("deepspeed_shm_comm.so", 200)):
        assert not machine_checks._is_deepspeed_built()
        (folder / name).touch()
        os.utime(folder / name, (time, time))
    assert machine_checks._is_deepspeed_built()
    os.utime(folder / "build.ninja", (300, 300))  # written for another compiler
    assert not machine_checks._is_deepspeed_built()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(folder.parent))
    os.utime(folder / "build.ninja", (100, 100))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert machine_checks._is_deepspeed_built()


def test_deepspeed_runs_here_without_an_activated_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ninja lies beside Python, which is called by its path: `.venv/bin/python -m study.doctor`."""
    fault = deepspeed_config.find_deepspeed_fault(on_gpu=False)
    if fault is not None or not machine_checks._is_deepspeed_built():
        pytest.skip(f"DeepSpeed would have to be built: {fault or 'minutes'}")
    bin_folder = str(Path(sys.executable).parent)
    path = [part for part in os.environ["PATH"].split(os.pathsep) if part != bin_folder]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    check = machine_checks.check_deepspeed(is_deep=False)
    assert check.status == "ok" and "a step of ZeRO-2" in check.text, check.text


def test_ray_is_started_on_request_only() -> None:
    shallow = [name for name, _ in machine_checks.model_checks(is_deep=False)]
    deep = [name for name, _ in machine_checks.model_checks(is_deep=True)]
    assert set(deep) - set(shallow) == {"Ray starts"}


def test_deep_check_that_fails_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    check = machine_checks._in_own_process("X", "no_such_function")
    assert check.status == "problem" and "no_such_function" in check.text
    monkeypatch.setattr(machine_checks, "DEEP_TIMEOUT_S", 0.01)
    assert "no end within" in machine_checks._in_own_process("X", "start_ray").text


@pytest.mark.ray
def test_ray_starts_here() -> None:
    check = machine_checks._in_own_process("Ray starts", "start_ray")
    assert check.status == "ok", check.text


def test_doctor_itself_needs_nothing_but_python() -> None:
    """It has to say that a package is broken, so it must not import one to start."""
    import subprocess

    code = (
        "import sys, study.doctor; print([m for m in ('ray', 'torch', 'numpy', 'pydantic', "
        "'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
