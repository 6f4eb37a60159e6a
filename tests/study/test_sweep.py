"""The command, without Ray: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search_spaces.registry import find_space
from study.cli.command import BAD_INPUT, FAILED, OK
from study.plan import main as plan_main
from study.planning.planner import make_plan
from study.sweep import main
from tests.support.small_study import SmallStudy, scores_of
from tests.support.workers import worker_of
from trainables.cells.retries import MAX_ATTEMPTS
from trainables.cells.run import CellInputs, CellResult, run_cell
from trainables.data.items import Item
from trainables.data.task import TaskData
from trainables.errors import MissingDataError
from trainables.inference import hidden_states
from trainables.models.loading import Base
from trainables.storage import layout
from trainables.storage.claims import Claim
from trainables.storage.filesystem import open_storage

TWIN = ("--address", "in-process")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallStudy, Path]:
    """A study that has run once; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("study")
    study = SmallStudy(folder=folder)
    assert main([*study.arguments, "--out", str(folder / "runs"), *TWIN]) == OK
    return study, folder / "runs"


def test_study_leaves_what_the_design_lays_out(finished: tuple[SmallStudy, Path]) -> None:
    study, out = finished
    assert {path.name for path in out.iterdir()} == {"cells", "small", "states"}
    assert {"plan.json", "items.parquet", "surface.parquet", "report"} <= {
        path.name for path in (out / "small").iterdir()
    }
    assert (out / "small" / "report" / "index.html").is_file()
    assert len(scores_of(out)) == study.num_cells
    assert not list(out.rglob("*.tmp"))


def test_cells_are_distinct_and_scored_on_every_test_item(
    finished: tuple[SmallStudy, Path],
) -> None:
    _, out = finished
    plan = json.loads((out / "small" / "plan.json").read_text())
    zero_shot = [c for c in plan["cells"] if c["cell"]["recipe"]["method"] == "zero-shot"]
    assert len(zero_shot) == 1, "one zero-shot cell serves every row"
    items = pq.read_table(out / "small" / "items.parquet").to_pylist()
    test = sorted(row["id"] for row in items if row["split"] == "test")
    for cell in plan["cells"]:
        table = pq.read_table(out / "cells" / cell["id"] / "scores.parquet")
        assert table["item_id"].to_pylist() == test


def test_surface_has_a_row_for_every_point(finished: tuple[SmallStudy, Path]) -> None:
    _, out = finished
    rows = pq.read_table(out / "small" / "surface.parquet").to_pylist()
    assert {(row["method"], row["condition"], row["test_level"]) for row in rows} == {
        (method, condition, level)
        for method in ("in-context", "linear probe", "lora")
        for condition in ("easy", "all")
        for level in ("hard", "steps 4")
    }
    for row in rows:
        assert (row["sgr"] is None) == (not str(row["verdict"]).startswith("resolved"))


def test_second_run_runs_no_cell_and_says_so(
    finished: tuple[SmallStudy, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = finished
    times = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*")}
    assert main([*study.arguments, "--out", str(out)]) == OK
    assert "no cell to run" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*")} == times


def test_corrupt_and_foreign_records_are_run_again_and_nothing_else(
    finished: tuple[SmallStudy, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = finished
    before = scores_of(out)
    corrupt, foreign, cut, *untouched = sorted(before)
    (out / "cells" / corrupt / "record.json").write_text("{")
    other = (out / "cells" / cut / "record.json").read_text()
    (out / "cells" / foreign / "record.json").write_text(other)
    (out / "cells" / cut / "scores.parquet").write_bytes(before[cut][:-9])
    times = {id_: (out / "cells" / id_ / "record.json").stat().st_mtime_ns for id_ in untouched}
    assert main([*study.arguments, "--out", str(out), *TWIN]) == OK
    said = capsys.readouterr().out
    assert said.count("is not valid, so the cell runs again") == 3
    assert "starting: 3 cells to run" in said
    assert scores_of(out) == before, "byte for byte what they were"
    assert times == {
        id_: (out / "cells" / id_ / "record.json").stat().st_mtime_ns for id_ in untouched
    }


def test_each_cell_alone_in_any_order_gives_the_same_bytes(
    finished: tuple[SmallStudy, Path], tmp_path: Path
) -> None:
    """Class A: packing does not matter. Every cell is a worker of its own, last cell first."""
    study, out = finished
    plan, inputs = make_plan(find_space(study.arguments[0]), Path(study.arguments[2]))
    for planned in reversed(plan.cells):
        worker_of(inputs, tmp_path).run([(planned,)], [0])
    assert scores_of(tmp_path) == scores_of(out)


def test_poisoned_cell_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = SmallStudy(folder=tmp_path)
    space = tmp_path / "space.py"
    space.write_text(space.read_text().replace("epochs=1", "epochs=1, learning_rate=1e38"))
    out = tmp_path / "runs"
    assert main([*study.arguments, "--out", str(out), *TWIN]) == FAILED
    said = capsys.readouterr()
    assert said.err.count("FAILED") == 6 and "lora" in said.err
    assert len(scores_of(out)) == study.num_cells - 6
    failed = list((out / "cells").glob("*/failure.json"))
    assert len(failed) == 6
    assert "Traceback" in json.loads(failed[0].read_text())["details"]
    rows = pq.read_table(out / "small" / "surface.parquet").to_pylist()
    missing = [row for row in rows if row["method"] == "lora"]
    assert missing and all(row["sgr"] is None and row["reason"] for row in missing)


def test_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SmallStudy(folder=tmp_path / "study")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert main([*study.arguments, "--dry-run"]) == OK
    said = capsys.readouterr().out
    for wanted in ("points    12", f"cells     {study.num_cells} distinct", "blocks", "work"):
        assert wanted in said
    start = "plus the time to load the weights and, on Ray, about 0:40 to start its workers"
    assert start in said
    assert list((tmp_path / "cwd").iterdir()) == []


def test_dry_run_without_data_counts_without_ids(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object) -> TaskData:
        raise MissingDataError("the Hub cannot be reached")

    monkeypatch.setattr("study.planning.axes.load_task", no_network)
    assert main(["micro", "--dry-run"]) == OK
    said = capsys.readouterr().out
    assert "not checked" in said and "the Hub cannot be reached" in said
    assert "30 distinct" in said  # 3 zero-shot + 3 models x 3 levels x 3 seeds
    assert main(["micro"]) == BAD_INPUT


def test_a_price_without_a_chosen_machine_is_that_of_renting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, note = SmallStudy(folder=tmp_path), "this machine runs the cells and nothing is rented"
    file = Path(study.arguments[0].rpartition(":")[0])
    for gpus, ending in ((None, ".\n"), (1, "; it needs 1 GPU for each worker.\n")):
        text = file.read_text().replace("workers=None", f"gpus_per_worker={gpus}")
        file.write_text(text)
        assert main([*study.arguments, "--dry-run"]) == OK
        said = capsys.readouterr().out
        assert "on spot, on rented nodes\n" in said and note + ending in said
        assert main([*study.arguments, "--dry-run", "--instance", "g5.2xlarge"]) == OK
        assert note not in capsys.readouterr().out
        file.write_text(text.replace(f"gpus_per_worker={gpus}", "workers=None"))
        assert plan_main(study.arguments) == OK
        assert note in capsys.readouterr().out


def test_a_plan_that_costs_too_much_is_refused_with_its_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = SmallStudy(folder=tmp_path / "study")
    assert main([*study.arguments, "--dry-run", "--max-cost", "0.01"]) == BAD_INPUT
    assert re.search(r"costs about \$0\.13 on-demand .* --max-cost 0\.01", capsys.readouterr().err)
    assert (
        main([*study.arguments, "--dry-run", "--max-cost", "1", "--instance", "g5.2xlarge"]) == OK
    )
    assert "g5.2xlarge" in capsys.readouterr().out
    out = tmp_path / "runs"
    named = ("--instance", "g5.2xlarge", "--max-cost", "0")
    assert main([*study.arguments, "--out", str(out), *TWIN, *named]) == BAD_INPUT
    assert "more than --max-cost 0" in capsys.readouterr().err
    assert not list(out.rglob("plan.json")) and not scores_of(out), "nothing was started"
    assert main([*study.arguments, "--instance", "big"]) == BAD_INPUT
    assert "no price of instance type 'big'" in capsys.readouterr().err


def test_without_gpus_a_study_costs_nothing_and_its_plan_says_so(
    finished: tuple[SmallStudy, Path],
) -> None:
    _, out = finished
    cost = json.loads((out / "small" / "plan.json").read_text())["cost"]
    assert cost["on_demand"] == 0 and "no machines are rented" in cost["bases"][0]["reason"]
    assert cost["bases"][0]["num_cells"] == SmallStudy.num_cells


def test_cluster_that_does_not_answer_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = SmallStudy(folder=tmp_path / "study")
    arguments = [*study.arguments, "--out", str(tmp_path / "runs"), "--address", "127.0.0.1:1"]
    assert main(arguments) == BAD_INPUT
    assert "no Ray cluster answers" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_left_over_failure_does_not_outlive_a_finished_cell(
    finished: tuple[SmallStudy, Path],
) -> None:
    study, out = finished
    cell = sorted(scores_of(out))[0]
    (out / "cells" / cell / "failure.json").write_text("{")
    assert main([*study.arguments, "--out", str(out)]) == OK


def test_unwritable_out_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = SmallStudy(folder=tmp_path / "study")
    (tmp_path / "file").write_text("")
    assert main([*study.arguments, "--out", str(tmp_path / "file" / "runs"), *TWIN]) == BAD_INPUT
    assert "cannot write" in capsys.readouterr().err


def test_a_cell_that_kills_its_process_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    plan, inputs = make_plan(find_space(study.arguments[0]), study.folder / "data")
    cells = [cell for cell in plan.cells if cell.cell.recipe.method != "linear probe"][:4]
    units = [(cell,) for cell in cells]
    storage = open_storage(str(out))
    for cell, attempt in ((cells[0], 1), (cells[1], MAX_ATTEMPTS)):
        claim = Claim(started=0.0, group="one that died", attempt=attempt)
        storage.write_bytes(layout.running(cell.id), claim.model_dump_json().encode())
    second = worker_of(inputs, out, is_first=False)
    second.run(units, range(4))
    assert finished_cells(out) == {cells[2].id, cells[3].id}, "suspects are left to the first"
    first = worker_of(inputs, out)
    first.run(units, [])
    assert finished_cells(out) == {cell.id for cell in cells} - {cells[1].id}
    failure = json.loads((out / layout.failure(cells[1].id)).read_text())
    assert f"died {MAX_ATTEMPTS} times" in failure["reason"]
    assert not list(storage.list(layout.RUNNING))


def finished_cells(out: Path) -> set[str]:
    return {path.parent.name for path in out.glob("cells/*/record.json")}


def test_zero_shot_and_all_probes_take_one_pass_over_the_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    plan, inputs = make_plan(find_space(study.arguments[0]), study.folder / "data")
    cells = {cell.id: cell for cell in plan.cells}
    unit = next(unit for unit in plan.units if cells[unit[0]].cell.seed is None)
    assert {cells[id_].cell.recipe.method for id_ in unit} == {"zero-shot", "linear probe"}
    passes: list[int] = []
    real = hidden_states.run_forward

    def counted(base: Base, items: Sequence[Item], *args: object, **options: object) -> object:
        passes.append(len(items))
        return real(base, items, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hidden_states, "run_forward", counted)
    worker = worker_of(inputs, out)
    worker.run([tuple(cells[id_] for id_ in unit)], [0])
    task = inputs.tasks["jsonl:sums"]
    assert finished_cells(out) == set(unit)
    assert sorted(passes) == sorted([len(task.split.test), len(task.data.items) - passes[0]])
    again = worker_of(inputs, out)
    (out / layout.record(unit[-1])).unlink()
    again.run([tuple(cells[id_] for id_ in unit)], [0])
    assert len(passes) == 2, "a later run reads the states that were kept"


@pytest.mark.parametrize("kind", ["announced", "further", "same place"])
def test_a_cell_whose_machines_are_taken_away_is_not_given_up(tmp_path: Path, kind: str) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    plan, inputs = make_plan(find_space(study.arguments[0]), study.folder / "data")
    cell = next(cell for cell in plan.cells if cell.cell.recipe.method == "lora")
    storage = open_storage(str(out))
    claim = Claim(
        started=0.0,
        group="gone",
        attempt=MAX_ATTEMPTS,
        update=5,
        was_leaving=kind == "announced",
    )
    progress = {"update": 9 if kind == "further" else 5, "rows": [], "execution": {}}
    storage.write_bytes(layout.checkpoint_progress(cell.id), json.dumps(progress).encode())
    storage.write_bytes(layout.running(cell.id), claim.model_dump_json().encode())
    worker_of(inputs, out).run([(cell,)], [0])
    assert finished_cells(out) == (set() if kind == "same place" else {cell.id})
    assert not storage.exists(layout.checkpoint_progress(cell.id))


def test_a_notice_is_written_into_the_sign_of_the_cell_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = SmallStudy(folder=tmp_path / "study"), tmp_path / "runs"
    plan, inputs = make_plan(find_space(study.arguments[0]), study.folder / "data")
    cell = plan.cells[0]
    monkeypatch.setattr("trainables.storage.claims.NOTICE_POLL_S", 0.01)
    claims: list[bool] = []

    def wait(given: CellInputs, base: Base) -> CellResult:
        for _ in range(500):
            claims.append(json.loads((out / layout.running(cell.id)).read_text())["was_leaving"])
            if claims[-1]:
                break
            time.sleep(0.01)
        return run_cell(given, base)

    worker = worker_of(inputs, out, is_leaving=lambda: bool(claims), run_cell=wait)
    worker.run([(cell,)], [0])
    assert claims[-1] and finished_cells(out) == {cell.id}
