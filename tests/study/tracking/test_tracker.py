"""Tracking: live runs and replays in W&B - against a local stand-in, offline, and not at all."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from search_spaces.space import Space
from search_spaces.studies.published.noise import wrong
from study import report
from study.analysis.label_curves import label_curves
from study.analysis.pooled import pooled_rows
from study.analysis.surface import compute_surface, write_surface
from study.analysis.trends import trend_rows
from study.tracking import tracker as tracking
from study.tracking import wandb_runs
from study.tracking.rows import label_curve_rows, pooled_row, trend_row, zip_records
from study.tracking.tracker import WandbTracker, open_tracker, replay
from study.tracking.wandb_runs import tracking_mode
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy, fake_space
from tests.support.wandb_server import Received, wandb_server
from trainables.cells.planned import Block
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import read_curve

SECRET = "s3cret" * 7
ENVIRONMENT = ("WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC")


@pytest.fixture(autouse=True)
def no_wandb_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key of the machine is found, and nothing is kept outside the test's folder."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "600")  # for a busy machine, as in `online`
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-files"))
    _forget_settings()
    yield
    _forget_settings()


def _forget_settings() -> None:
    """Ends wandb's service: it reads the environment once, maybe in a test of another file."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


def small_study(path: Path) -> FakeStudy:
    """One model, one method, two seeds: 7 cells."""
    return FakeStudy(storage=open_storage(str(path)), space=small_space()).write().finish()


def small_space() -> Space:
    return fake_space(models=(BaseModelRef(name="small"),), methods=(LoRA(n_train=8),), seeds=2)


def track(study: FakeStudy) -> None:
    """Does what the sweep does as cells finish."""
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    block = Block(
        index=0,
        units=tuple((cell,) for cell in study.plan.cells),
        workers=1,
        cpus_per_worker=1,
        gpus_per_worker=0,
    )
    with open_tracker(study.storage, study.plan) as tracker:
        tracker.start_blocks([block])
        for cell in study.plan.cells:
            tracker.log_cell(cell, surface.scores.records[cell.id])
        tracker.log_surface(surface)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """A stand-in for the server, with a key for it."""
    with wandb_server() as (address, received):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", SECRET[:40])
        monkeypatch.setenv("MY_CLOUD_PASSWORD", SECRET)
        monkeypatch.setattr(wandb_runs, "INIT_TIMEOUT_S", 600.0)  # for a busy machine
        monkeypatch.setattr(wandb_runs, "FINISH_TIMEOUT_S", 600.0)
        yield received


def test_a_block_is_a_run_with_a_row_a_cell_and_the_surface_another(
    tmp_path: Path, online: Received
) -> None:
    study = small_study(tmp_path)
    track(study)
    (block,) = online.of("block")
    (aggregate,) = online.of("aggregate")
    assert {run["groupName"] for run in online.runs.values()} == {"fake"}
    rows = [row for row in online.history[block] if "cell_id" in row]
    assert [row["cell_id"] for row in rows] == [cell.id for cell in study.plan.cells]
    assert rows[1]["rank"] == 16
    assert [row["condition"] for row in rows] == [c.condition for c in study.plan.cells]
    assert rows[1]["seconds_total"] == 2.0 and rows[1]["peak_gib"] == 1.5
    losses = [row for row in online.history[block] if "optimizer_step" in row]
    assert len(losses) == 6 * 5  # six trained cells, five steps each
    assert "surface" in online.summaries[aggregate]
    assert any(name.startswith("surface/") for name in online.summaries[aggregate])
    assert online.summaries[aggregate]["cells_finished"] == 7
    assert any("contrast/easy - hard, " in name for name in online.summaries[aggregate])
    (artifact,) = [a for a in online.artifacts if a["artifactCollectionName"] == "study-fake"]
    meanings = json.loads(artifact["metadata"])["columns"]
    assert meanings["zero_shot"] == "accuracy of the untrained model (fraction)"


def test_self_training_is_tracked_with_its_audit_and_its_gains(
    tmp_path: Path, online: Received
) -> None:
    space = ssrm_space(ssrm(0.5), seeds=2)
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    report.write_report(study.storage, study.plan, surface, has_figures=True)
    track(study)
    (block,) = online.of("block")
    rows = [row for row in online.history[block] if row.get("ssrm_round") == 1]
    assert [(row["tau"], row["num_pool"]) for row in rows] == [(0.5, 60)] * 2
    (aggregate,) = online.of("aggregate")
    summary = online.summaries[aggregate]
    assert "self-training audit" in summary
    assert "figures/ssrm-gain" in summary
    assert "gain/small lora easy_ssrm tau 0.5 round 1 hard/low" in summary
    tables = {"failure detectors", "reliability", "selective accuracy"}
    assert tables <= set(summary)
    detectors = pq.read_table(tmp_path / "fake" / "detectors.parquet")["num_warned"].to_pylist()
    assert summary["num_warnings"] == sum(number > 0 for number in detectors)
    files = {"audit.parquet", "detectors.parquet", "reliability.parquet", "selective.parquet"}
    assert files <= {Path(address).name for address in online.uploads}


def test_tables_of_the_report_are_tracked_and_kept_with_the_study(
    tmp_path: Path, online: Received
) -> None:
    study = small_study(tmp_path)
    rows = {"rewards": {"subset": None, "accuracy": None}, "alignment": {"win_rate": None}}
    for name, row in rows.items():
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "fake" / f"{name}.parquet")
    track(study)
    (aggregate,) = online.of("aggregate")
    assert {"reward models", "policies"} <= set(online.summaries[aggregate])
    kept = {Path(address).name for address in online.uploads}
    assert {"rewards.parquet", "alignment.parquet"} <= kept


def test_trends_and_label_curves_are_tables(tmp_path: Path, online: Received) -> None:
    """The summary names each table that the run has; a study without label axes has no curves."""
    axis = small_space().tasks[0].model_copy(update={"conditions": wrong((0.25, 0.5))})
    space = small_space().model_copy(update={"tasks": (axis,)})
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    track(study)
    (aggregate,) = online.of("aggregate")
    assert {"trends", "label curves"} <= set(online.summaries[aggregate])
    surface = compute_surface(study.storage, study.plan)
    places = [row for curves in label_curves(surface) for row in label_curve_rows(curves)]
    assert {(row["labels"], row["x"]) for row in places} == {
        (level, rate) for level in ("easy", "hard") for rate in (0.0, 0.25, 0.5)
    }
    by_axis = [trend_row(row) for row in trend_rows(surface)]
    noise = next(row for row in by_axis if row["axis"] == "noise rate")
    expected = next(row.result for row in trend_rows(surface) if row.axis == "noise rate")
    assert expected.slope is not None
    assert (noise["slope"], noise["low"]) == (expected.slope.estimate, expected.slope.low)
    assert noise["num_points"] == expected.num_points


def test_pooled_sgr_is_a_table_with_a_forest_plot(tmp_path: Path, online: Received) -> None:
    names = ("small", "medium", "large", "larger", "huge")
    models = tuple(BaseModelRef(name=name) for name in names)
    space = small_space().model_copy(update={"models": models})
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    report.write_report(study.storage, study.plan, surface, has_figures=True)
    track(study)
    (aggregate,) = online.of("aggregate")
    summary = online.summaries[aggregate]
    assert {"pooled SGR", "figures/forest", "calibration"} <= set(summary)
    over_models = [row for row in pooled_rows(surface) if row.axis == "models"]
    (pooled,) = [row for row in over_models if ", easy -> hard" in row.where]
    row, result = pooled_row(pooled), pooled.result
    assert (row["sgr"], row["low"]) == (result.value, result.low) != (None, None)
    assert row["num_points"] == len(pooled.members) >= 3
    assert row["points"] == ", ".join(place for place, _ in pooled.members)
    assert summary[f"pooled/{pooled.where}, over models/value"] == row["sgr"]


def test_nothing_private_is_sent(
    tmp_path: Path, online: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "my-program.py"
    monkeypatch.setattr(sys, "argv", [str(program), "--my-option"])
    study = small_study(tmp_path)
    question = "Which question of a licensed data set is this?"
    for name in ("items.html", "items.jsonl", "items.parquet"):  # as `study.items` leaves them
        study.storage.write_bytes(layout.report("fake", name), question.encode())
    track(study)
    sent = b"\n".join(online.bodies)
    assert b"small" in sent  # the search would find what is there
    # wandb's own artifact manifest names its staging folder; nothing else names a path.
    for private in (
        question,
        SECRET[:40],
        f'"{os.uname().nodename}"',
        str(tmp_path / "fake"),
        program.name,
        "--my-option",
    ):
        assert private.encode() not in sent


def test_a_replay_makes_a_run_a_cell_with_every_factor_in_its_config(
    tmp_path: Path, online: Received
) -> None:
    study = small_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    replay(study.storage, study.plan, surface)
    for cell in study.plan.cells:
        name = f"fake-{cell.id}"
        recipe = cell.cell.recipe.model_dump(mode="json")
        held = {key: value for key, value in recipe.items() if value is not None}
        wanted = {"model": "small", "task": "toy", "condition": cell.condition, **held}
        if cell.cell.seed is not None:
            wanted["seed"] = cell.cell.seed
        assert wanted.items() <= online.config(name).items()
        assert online.runs[name]["jobType"] == cell.condition
        assert online.summaries[name]["accuracy"] == surface.scores.records[cell.id].accuracy
    assert len(online.of("aggregate")) == 1


def test_without_a_key_the_runs_are_offline_below_the_run_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = small_study(tmp_path)
    assert tracking_mode() == "offline"
    track(study)
    runs = [path.name for path in (tmp_path / "fake" / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    assert "W&B" not in capfd.readouterr().err


def test_an_offline_run_holds_the_path_of_the_run_folder_only_where_sync_finds_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_DATA_DIR")
    out = tmp_path / "home-of-ada"
    study = small_study(out)
    track(study)
    staging = f"{out}/fake/wandb/files/artifacts/staging/".encode()
    names = set()
    for file in (out / "fake" / "wandb").rglob("*"):
        if file.is_file() and str(out).encode() in (content := file.read_bytes()):
            assert str(out).encode() not in content.replace(staging, b""), file
            names.add(file.suffix)
    assert names == {".wandb"}


def test_a_study_in_a_bucket_has_its_offline_runs_copied_there(tmp_path: Path) -> None:
    bucket = PyFileSystem(FSSpecHandler(MemoryFileSystem()))
    storage = Storage(root="s3://bucket/runs", filesystem=bucket, base=f"/{tmp_path.name}/runs")
    study = FakeStudy(storage=storage, space=small_space()).write().finish()
    track(study)
    names = list(storage.list("fake/wandb"))
    assert len([name for name in names if name.startswith("offline-run-")]) == 2
    surface = compute_surface(storage, study.plan)
    assert report.write_report(storage, study.plan, surface, has_figures=True) == (
        "s3://bucket/runs/fake/report/index.html"
    )
    assert storage.read_bytes("fake/report/surface.png").startswith(b"\x89PNG")


def test_nothing_new_means_nothing_logged(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    inactive = open_tracker(study.storage, study.plan, is_active=False)
    assert not isinstance(inactive, WandbTracker)
    with open_tracker(study.storage, study.plan) as tracker:
        tracker.log_surface(surface)
    assert not (tmp_path / "fake" / "wandb").exists()


@pytest.mark.parametrize("context", [{"WANDB_MODE": "disabled"}, {"WANDB_DISABLED": "true"}])
def test_tracking_can_be_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, str]
) -> None:
    for name, value in context.items():
        monkeypatch.setenv(name, value)
    study = small_study(tmp_path)
    assert not isinstance(open_tracker(study.storage, study.plan), WandbTracker)
    track(study)
    assert not (tmp_path / "fake" / "wandb").exists()


def test_a_failing_service_is_a_warning_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("the service is down")

    monkeypatch.setattr(wandb_runs.WandbRuns, "open", refuse)
    track(small_study(tmp_path))
    assert "W&B: off for the rest of this run: RuntimeError: the service is down" in (
        capsys.readouterr().err
    )


def test_a_service_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import threading

    never = threading.Event()
    monkeypatch.setattr(wandb_runs.WandbRuns, "open", lambda *_, **__: never.wait())
    monkeypatch.setattr(tracking, "CLOSE_TIMEOUT_S", 0.2)
    track(small_study(tmp_path))
    never.set()
    assert "not finished after" in capsys.readouterr().err


def test_an_unreachable_server_leaves_an_offline_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", SECRET[:40])
    monkeypatch.setattr(wandb_runs, "INIT_TIMEOUT_S", 2.0)
    track(small_study(tmp_path))
    assert list((tmp_path / "fake" / "wandb").glob("offline-run-*"))
    assert SECRET[:40] not in capsys.readouterr().err


def test_a_key_is_found_in_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine api.wandb.ai login user password x\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    assert tracking_mode() == "online"


def test_the_bundle_holds_the_records_as_they_lie_on_disk(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    ids = [cell.id for cell in study.plan.cells]
    with zipfile.ZipFile(BytesIO(zip_records(study.storage, ids))) as bundle:
        assert len(bundle.namelist()) == 2 * len(ids)
        record = json.loads(bundle.read(f"cells/{ids[0]}/record.json"))
    assert record == json.loads((tmp_path / "cells" / ids[0] / "record.json").read_text())


def test_a_cell_without_a_curve_has_none(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    (zero_shot,) = study.cells("zero-shot", method="any")
    assert read_curve(study.storage, zero_shot.id) == []
    assert read_curve(study.storage, study.cells("easy")[0].id)[0] == {"step": 0, "loss": 2.0}
