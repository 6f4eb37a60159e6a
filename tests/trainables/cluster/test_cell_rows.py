"""Rows of a block's cells: each once, as soon as it has ended, and at a small constant cost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from tests.support.counting_storage import counting_storage
from tests.support.fakes import FakeStudy, fake_space
from trainables.cells.planned import Block, PlannedCell, RunContext
from trainables.cluster import cell_rows
from trainables.cluster.block_trial import reporting_rows
from trainables.cluster.cell_rows import SET_ASIDE, CellRows
from trainables.cluster.tune_results import add_results, cell_results, search_results
from trainables.models.source import ModelSource
from trainables.storage.filesystem import open_storage

CELLS = cell_results("tune_results.parquet")
SOURCE = ModelSource(
    name="small", source="small", revision=None, content="files:small", num_params=100_000
)


@pytest.fixture
def study(tmp_path: Path) -> FakeStudy:
    space = fake_space(models=(BaseModelRef(name="small"),), methods=(LoRA(n_train=8),))
    return FakeStudy(storage=open_storage(str(tmp_path)), space=space).write()


def block_of(cells: list[PlannedCell], workers: int = 1) -> Block:
    units = tuple((cell,) for cell in cells)
    return Block(index=0, units=units, workers=workers, cpus_per_worker=1, gpus_per_worker=0)


def rows_of(study: FakeStudy, **options: Any) -> CellRows:
    run_context = RunContext(out=study.storage.root, tasks={}, models={SOURCE.content: SOURCE})
    return CellRows(block_of(list(study.plan.cells), **options), run_context, study.storage)


def test_each_ended_cell_is_a_row_once(study: FakeStudy) -> None:
    rows, cells = rows_of(study), list(study.plan.cells)
    assert list(rows.ended()) == []
    study.finish(cells[:2])
    study.fail_cell(cells[2])
    assert [row["cell"] for row in rows.ended()] == [cell.id for cell in cells[:3]]
    assert list(rows.ended()) == []
    study.finish(cells[3:])
    found = [row["cell"] for row in rows.ended()]
    assert found == [cell.id for cell in cells[3:]] and list(rows.ended(is_over=True)) == []


def test_a_row_has_the_factors_and_the_result(study: FakeStudy) -> None:
    easy = study.cells("easy")[1]
    study.finish([easy])
    (row,) = rows_of(study).ended(is_over=True)
    assert set(row) == set(CELLS.schema.names) - {"trial_id", "training_iteration", "timestamp"}
    assert (row["model"], row["parameters"], row["task"]) == ("small", 100_000, "toy")
    assert (row["measure"], row["method"], row["condition"]) == ("steps", "lora", "easy")
    assert (row["train_level"], row["seed"], row["threshold"]) == ("easy", 1, None)
    assert row["gap"] == pytest.approx(1.0), "2.5 steps on average, 1.5 of easy items"
    assert row["finished"] and 0 < row["accuracy"] < 1 and row["seconds"] == 2.0
    study.fail_cell(study.cells("hard")[0])
    failed = [row for row in rows_of(study).ended(is_over=True) if not row["finished"]]
    assert [(row["accuracy"], row["seconds"]) for row in failed] == [(None, None)]
    zero_shot = study.cells("zero-shot", method="any")
    study.finish(zero_shot)
    (row,) = [r for r in rows_of(study).ended(is_over=True) if r["condition"] == "zero-shot"]
    assert (row["gap"], row["seed"], row["measure"]) == (None, None, None)


def test_a_unit_that_is_set_aside_holds_up_no_row(study: FakeStudy) -> None:
    """A unit whose worker died runs last."""
    rows, cells = rows_of(study), list(study.plan.cells)
    study.finish(cells[2:])
    assert [row["cell"] for row in rows.ended()] == [cell.id for cell in cells[2:]]


def test_a_poll_costs_the_same_for_any_number_of_waiting_cells(tmp_path: Path) -> None:
    space = fake_space(seeds=60)
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write()
    storage, asked = counting_storage(tmp_path)
    context = RunContext(out=storage.root, tasks={}, models={})
    cells = list(study.plan.cells)
    rows = CellRows(block_of(cells, workers=2), context, storage)
    assert rows.poll_s >= 10.0, "a bucket is asked seldom"
    assert len(cells) > 500 and list(rows.ended()) == []
    assert sum(asked.values()) <= 2 * (2 + SET_ASIDE), "a record and a failure for each candidate"


def test_rows_are_reported_while_the_workers_run(
    study: FakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_rows, "LOCAL_POLL_S", 0.01)
    cells, reported = list(study.plan.cells), list[str]()
    is_reported = threading.Event()

    def report(row: Any) -> None:
        assert threading.current_thread() is threading.main_thread(), "Tune's own thread"
        reported.append(row["cell"])
        is_reported.set()

    def run() -> str:
        for cell in cells[:3]:
            is_reported.clear()
            study.finish([cell])
            assert is_reported.wait(20), "the row came while the workers ran"
        study.finish(cells[3:])
        return "a fault"

    assert reporting_rows(rows_of(study), report, run) == "a fault"
    assert reported == [cell.id for cell in cells]


def test_an_error_of_the_workers_is_raised_after_the_rows(study: FakeStudy) -> None:
    reported: list[str] = []

    def run() -> str:
        study.finish()
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        reporting_rows(rows_of(study), lambda row: reported.append(row["cell"]), run)
    assert len(reported) == len(study.plan.cells)


def test_the_file_keeps_rows_of_earlier_runs_and_the_last_of_each_cell(study: FakeStudy) -> None:
    storage, cells = study.storage, list(study.plan.cells)
    study.finish(cells[:3])
    first = [CELLS.row({**row, "pid": 1}) for row in rows_of(study).ended(is_over=True)]
    add_results(storage, CELLS, first)
    again = {**first[0], "accuracy": 0.25, "trial_id": "b"}
    add_results(storage, CELLS, [{**again, "accuracy": 0.5}, again])
    table = pq.read_table(storage.path(CELLS.key))
    assert table.schema.equals(CELLS.schema), "and Tune's own columns are left out"
    assert all(field.metadata[b"meaning"] for field in table.schema)
    by_cell = {row["cell"]: row["accuracy"] for row in table.to_pylist()}
    assert by_cell == {**{row["cell"]: row["accuracy"] for row in first}, cells[0].id: 0.25}
    assert table.num_rows == 3
    storage.write_bytes(CELLS.key, b"no parquet")
    add_results(storage, CELLS, first)
    assert pq.read_table(storage.path(CELLS.key)).num_rows == 3


def test_searches_of_several_methods_share_a_file(tmp_path: Path) -> None:
    storage, file = open_storage(str(tmp_path)), search_results("results.parquet")

    def result(trial: str, epoch: int, **parameters: Any) -> dict[str, Any]:
        named = {f"parameter_{name}": value for name, value in parameters.items()}
        return {"trial_id": trial, "epoch": epoch, "accuracy": 0.5, "done": False, **named}

    lora = [result("a", epoch, learning_rate=1e-3, rank=8) for epoch in (1, 2)]
    add_results(storage, file, [file.row(each) for each in lora])
    add_results(storage, file, [file.row(result("b", 1, l2=2, layers=["middle", "last"]))])
    rows = pq.read_table(storage.path(file.key)).to_pylist()
    assert [(row["trial_id"], row["epoch"]) for row in rows] == [("a", 1), ("a", 2), ("b", 1)]
    assert (rows[0]["learning_rate"], rows[0]["rank"], rows[0]["l2"]) == (1e-3, 8.0, None)
    assert (rows[2]["l2"], rows[2]["layers"]) == (2.0, "['middle', 'last']")
    assert "done" not in rows[0]
