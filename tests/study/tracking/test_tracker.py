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
from search_spaces.studies.published.noise import wrong
from study import report
from study.analysis.label_curves import label_curves
from study.analysis.pooled import pooled_rows
from study.analysis.surface import compute_surface, write_surface
from study.analysis.trends import trend_rows
from study.tracking import cell_groups, wandb_runs
from study.tracking import tracker as tracking
from study.tracking.cell_run import CellRun, _thinned
from study.tracking.rows import (
    cell_results,
    label_curve_rows,
    matrix_rows,
    pooled_row,
    trend_row,
    zip_records,
)
from study.tracking.surface_run import log_surface_run
from study.tracking.tracker import WandbTracker, open_tracker, replay
from study.tracking.wandb_runs import tracking_mode
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy
from tests.support.tracked_study import SECRET, small_space, small_study, track
from tests.support.wandb_server import Received
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import generated_table, read_curve, read_record, write_record


def track_surface(study: FakeStudy) -> None:
    """Does what the sweep does at its end."""
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    runs = wandb_runs.WandbRuns(study.storage, study.plan.space.name)
    log_surface_run(runs, study.storage, study.plan, surface)


def cells_in(received: Received) -> list[object]:
    """Returns the ids of the cells that were logged, each as often as it was."""
    rows = (row for rows in received.history.values() for row in rows)
    return sorted(row["cell_id"] for row in rows if "cell_id" in row)


def unpacked(body: bytes) -> Iterator[bytes]:
    """Yields the readable content of a request: the files in a zip, the values in a table."""
    if body.startswith(b"PK"):
        with zipfile.ZipFile(BytesIO(body)) as bundle:
            for name in bundle.namelist():
                yield from unpacked(bundle.read(name))
    elif body.startswith(b"PAR1"):
        yield str(pq.read_table(BytesIO(body)).to_pylist()).encode()
    else:
        yield body


def the_run(received: Received, name: str) -> str:
    """Returns the id of the run with this name."""
    (id_,) = (key for key, run in received.runs.items() if run["displayName"] == name)
    return id_


def test_a_run_is_an_arm_with_a_row_and_a_curve_per_seed(tmp_path: Path, online: Received) -> None:
    study = small_study(tmp_path)
    track(study)
    assert {run["groupName"] for run in online.runs.values()} == {"fake"}
    assert {run["displayName"] for run in online.of("cells").values()} == {
        "toy small zero-shot",
        *(f"toy small lora {condition}" for condition in ("easy", "hard", "all")),
    }
    easy = the_run(online, "toy small lora easy")
    rows = [row for row in online.history[easy] if "cell_id" in row]
    assert [row["cell_id"] for row in rows] == [cell.id for cell in study.cells("easy")]
    measured = [(row["seed"], row["seconds_total"], row["peak_gib"]) for row in rows]
    assert measured == [(0, 2, 1.5), (1, 2, 1.5)]
    losses = [row for row in online.history[easy] if "loss" in row]
    assert [(row["seed"], row["optimizer_step"], row["loss"]) for row in losses] == [
        (seed, step, pytest.approx(2 / (step + 1))) for seed in (0, 1) for step in range(5)
    ]
    records = compute_surface(study.storage, study.plan).scores.records
    accuracy = [records[cell.id].accuracy for cell in study.cells("easy")]
    summary = online.summaries[easy]
    assert summary["accuracy"] == pytest.approx(sum(accuracy) / 2)
    assert summary["cells"]["nrows"] == 2
    assert "losses_table" in summary


def test_a_config_has_every_factor_of_its_cells(tmp_path: Path, online: Received) -> None:
    space = ssrm_space(ssrm(0.5), wrong((0.25,))[0], seeds=2, study_seed=7)
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    track(study)
    by_name = {run["displayName"]: online.config(id_) for id_, run in online.of("cells").items()}
    for planned in study.plan.cells:
        config = by_name[planned.arm_label]
        recipe = planned.cell.recipe.model_dump(mode="json")
        level = planned.train_level
        wanted = {
            **{key: value for key, value in recipe.items() if value is not None},
            "model": "small",
            "model_content": planned.cell.model,
            "dtype": planned.cell.dtype,
            "parameters": 100_000,
            "task": "toy",
            "data_hash": planned.cell.data_hash,
            "split_hash": planned.cell.split_hash,
            "study_seed": 7,
            "label_kind": planned.cell.labels.kind,
            "label_rate": planned.cell.labels.rate,
            "is_control": planned.is_control,
            "measure": planned.measure,
            "condition": planned.condition,
            "train_level": None if level is None else level.name,
            "seeds": [] if planned.cell.seed is None else [0, 1],
        }
        if planned.cell.self_training is not None:
            wanted |= {"threshold": 0.5, "round": 1}
        assert wanted.items() <= config.items()


def test_arms_of_one_name_have_a_run_each(tmp_path: Path) -> None:
    """Levels of two measures, and conditions of one name that differ in their pools."""
    pools = ssrm(0.5), ssrm(0.5).model_copy(update={"unlabelled": ("easy", "hard")})
    space = ssrm_space(*pools, seeds=2)
    (axis,) = space.tasks
    words = tuple(
        level.model_copy(update={"low": low, "high": low + 3})
        for level, low in zip(axis.train_levels, (3, 7), strict=True)
    )
    levels = {"train_levels": words, "test_levels": words[1:], "conditions": ()}
    axes = (axis, axis.model_copy(update={"measure": "words", **levels}))
    space = space.model_copy(update={"tasks": axes})
    plan = FakeStudy(storage=open_storage(str(tmp_path)), space=space).plan
    arms = {(cell.arm_label, cell.measure) for cell in plan.cells}
    assert len({label for label, _ in arms}) < len(arms) == 7
    groups = cell_groups.group_cells(plan)
    assert len(groups) == len(arms)
    for group in groups:
        assert len({(cell.arm_label, cell.measure) for cell in group.cells}) == 1


def test_a_resumed_study_continues_its_runs_and_repeats_nothing(
    tmp_path: Path, online: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that finished while W&B was off are logged by the next sweep."""
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=small_space()).write()
    ids = sorted(cell.id for cell in study.plan.cells)
    first = [cell for cell in study.plan.cells if cell.cell.seed == 0]
    track(study.finish(first[:2]), first[:2])
    run = the_run(online, first[0].arm_label)
    before = len(online.history[run])
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        track(study.finish(first[2:]), first[2:])
    rest = [cell for cell in study.plan.cells if cell not in first]
    track(study.finish(rest), rest)
    assert cells_in(online) == ids
    assert len(online.history[run]) > before, "the run was continued"
    after = {id_: list(rows) for id_, rows in online.history.items()}
    track(study, rest)
    assert online.history == after
    assert (len(online.of("cells")), len(online.of("surface"))) == (4, 1)
    losses = [row for rows in online.history.values() for row in rows if "loss" in row]
    assert len(losses) == 6 * 5


def test_rows_that_the_server_lost_are_sent_again(tmp_path: Path, online: Received) -> None:
    """A process or a machine that died took rows with it that were not uploaded yet."""
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=small_space()).write()
    first, last = study.cells("easy")
    study.finish([first, last])
    runs = wandb_runs.WandbRuns(study.storage, "fake")
    (group,) = (group for group in cell_groups.group_cells(study.plan) if first in group.cells)
    for number, cell in enumerate((first, last)):
        live = CellRun(runs, study.storage, group)
        live.log(cell, read_record(study.storage, cell.id))
        live.finish()
        rows = online.history[group.run_id]
        if not number:
            del rows[3:]  # the rest of the curve, the results and the table
            online.summaries[group.run_id] = {"_step": 2}
    assert [row["cell_id"] for row in rows if "cell_id" in row] == [first.id, last.id]
    assert [row["seed"] for row in rows if "loss" in row] == [0] * 5 + [1] * 5


def test_too_many_runs_are_grouped_by_model_and_method(
    tmp_path: Path,
    online: Received,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cell_groups, "MAX_RUNS", 3)
    study = small_study(tmp_path)
    track(study)
    assert {run["displayName"] for run in online.of("cells").values()} == {
        "small zero-shot",
        "small lora",
    }
    lora = the_run(online, "small lora")
    assert online.config(lora)["condition"] == ["hard", "easy", "all"]
    rows = [row for row in online.history[lora] if "cell_id" in row]
    assert {(row["condition"], row["seed"]) for row in rows} == {
        (condition, seed) for condition in ("easy", "hard", "all") for seed in (0, 1)
    }
    assert all("condition" in row for row in online.history[lora] if "loss" in row)
    assert "one per model and method: 2 runs" in capsys.readouterr().err


def test_the_surface_is_a_run_with_tables_charts_and_the_records(
    tmp_path: Path, online: Received
) -> None:
    study = small_study(tmp_path)
    track_surface(study)
    (surface,) = online.of("surface")
    summary = online.summaries[surface]
    charts = {"forest_table", "contrasts plot_table"}
    assert charts | {"surface", "matrix", "contrasts"} <= set(summary)
    assert summary["cells_finished"] == 7
    assert any("contrast/easy - hard, " in name for name in summary)
    (artifact,) = [a for a in online.artifacts if a["artifactCollectionName"] == "study-fake"]
    meanings = json.loads(artifact["metadata"])["columns"]
    assert meanings["zero_shot"] == "accuracy of the untrained model (fraction)"
    assert "records.zip" in {Path(address).name for address in online.uploads}


def test_the_matrix_has_a_row_per_source_and_a_column_per_test_level(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    rows = matrix_rows(surface)
    assert [row["trained on"] for row in rows] == ["easy", "all"]
    for row in rows:
        points = {
            f"test {r.point.test_level.name}": r.sgr.estimate
            for r in surface.rows
            if r.point.source == row["trained on"]
        }
        assert {name: row[name] for name in ("test hard", "test steps 4")} == points


def test_self_training_is_tracked_with_its_audit_and_its_gains(
    tmp_path: Path, online: Received
) -> None:
    space = ssrm_space(ssrm(0.5), seeds=2)
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    report.write_report(study.storage, study.plan, surface, figure_formats=("png",))
    track(study)
    run = the_run(online, "toy small lora easy_ssrm tau 0.5 round 1")
    rows = [row for row in online.history[run] if "cell_id" in row]
    assert [(row["seed"], row["num_pool"]) for row in rows] == [(0, 60), (1, 60)]
    (surface_run,) = online.of("surface")
    summary = online.summaries[surface_run]
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
    track_surface(study)
    (surface_run,) = online.of("surface")
    assert {"reward models", "policies"} <= set(online.summaries[surface_run])
    kept = {Path(address).name for address in online.uploads}
    assert {"rewards.parquet", "alignment.parquet"} <= kept


def test_trends_and_label_curves_are_tables(tmp_path: Path, online: Received) -> None:
    """The summary names each table that the run has; a study without label axes has no curves."""
    axis = small_space().tasks[0].model_copy(update={"conditions": wrong((0.25, 0.5))})
    space = small_space().model_copy(update={"tasks": (axis,)})
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    track_surface(study)
    (surface_run,) = online.of("surface")
    assert {"trends", "label curves"} <= set(online.summaries[surface_run])
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
    report.write_report(study.storage, study.plan, surface, figure_formats=("png",))
    track_surface(study)
    (surface_run,) = online.of("surface")
    summary = online.summaries[surface_run]
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
    (cell,) = study.cells("zero-shot", method="any")
    test = study.tasks["toy"].by_id(study.tasks["toy"].split.test)
    write_record(
        study.storage,
        cell.cell,
        generated_table(
            [item.id for item in test],
            [item.answer for item in test],
            [True] * len(test),
            [f"You ask: {item.question}" for item in test],
            [True] * len(test),
        ),
        seconds={"total": 1.0},
        execution={},
    )
    track(study)
    sent = b"\n".join(part for body in online.bodies for part in unpacked(body))
    for public in ("small", cell.id, test[0].id):
        assert public.encode() in sent  # the search would find what is there
    assert b"You ask" not in sent
    assert not any(item.question.encode() in sent for item in test)
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


def test_a_replay_completes_the_runs_of_the_study(tmp_path: Path, online: Received) -> None:
    study = small_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    write_surface(study.storage, study.plan, surface)
    replay(study.storage, study.plan, surface)
    assert cells_in(online) == sorted(cell.id for cell in study.plan.cells)
    after = {id_: list(rows) for id_, rows in online.history.items()}
    forgotten = the_run(online, "toy small lora easy")
    del online.history[forgotten], online.runs[forgotten]  # deleted, or another project
    replay(study.storage, study.plan, surface)
    assert {id_: len(rows) for id_, rows in online.history.items()} == {
        id_: len(rows) for id_, rows in after.items()
    }, "what W&B has is not repeated, and what it lacks is logged under the same id"


def test_without_a_key_the_runs_are_offline_below_the_run_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = small_study(tmp_path)
    assert tracking_mode() == "offline"
    track(study)
    runs = [path.name for path in (tmp_path / "fake" / "wandb").glob("offline-run-*")]
    assert len(runs) == 5
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
    assert len([name for name in names if name.startswith("offline-run-")]) == 5
    surface = compute_surface(storage, study.plan)
    assert report.write_report(storage, study.plan, surface, figure_formats=("png",)) == (
        "s3://bucket/runs/fake/report/index.html"
    )
    assert storage.read_bytes("fake/report/surface.png").startswith(b"\x89PNG")


def test_nothing_new_means_nothing_logged(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    surface = compute_surface(study.storage, study.plan)
    with open_tracker(study.storage, study.plan, ()) as tracker:
        tracker.log_surface(surface)
    assert not (tmp_path / "fake" / "wandb").exists()


@pytest.mark.parametrize("context", [{"WANDB_MODE": "disabled"}, {"WANDB_DISABLED": "true"}])
def test_tracking_can_be_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, str]
) -> None:
    for name, value in context.items():
        monkeypatch.setenv(name, value)
    study = small_study(tmp_path)
    assert not isinstance(open_tracker(study.storage, study.plan, study.plan.cells), WandbTracker)
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
    monkeypatch.setattr(tracking.WandbTracker.close, "__defaults__", (0.2,))
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


def test_the_utilisation_of_gpus_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(tmp_path)
    record = read_record(study.storage, study.plan.cells[0].id)
    measured = {"tokens": 1000, "gpu_utilisation": 0.5, "unreadable": 0.25}
    record = record.model_copy(update=measured)
    results = cell_results(record)
    assert measured.items() <= results.items()
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    assert cell_results(record) == {k: v for k, v in results.items() if k != "gpu_utilisation"}


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


def test_a_long_curve_is_thinned_evenly_and_keeps_its_last_step() -> None:
    curve = [{"step": float(step)} for step in range(1, 1201)]
    thinned = _thinned(curve)
    assert [row["step"] for row in thinned] == [float(step) for step in range(3, 1201, 3)]


def test_a_cell_without_a_curve_has_none(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    (zero_shot,) = study.cells("zero-shot", method="any")
    assert read_curve(study.storage, zero_shot.id) == []
    assert read_curve(study.storage, study.cells("easy")[0].id)[0] == {"step": 0, "loss": 2.0}
