"""What a run folder is asked before and after a run: as few requests as listings take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.running.executor import missing_cells
from study.running.outcomes import clear_failures, print_incomplete_cells, record_block_failure
from tests.support.counting_storage import counting_storage
from tests.support.fakes import FakeStudy, fake_space
from trainables.cells.completion import cells_without_outcome
from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.failures import write_failure
from trainables.storage.filesystem import Storage, open_storage

MANY = 5_000


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[PlannedCell]:
    """Many cells: copies of one, with ids of their own."""
    storage = open_storage(str(tmp_path_factory.mktemp("plan")))
    (first, *_) = FakeStudy(storage=storage, space=fake_space(seeds=1)).plan.cells
    return [first.model_copy(update={"id": f"{number:020}"}) for number in range(MANY)]


def failed(storage: Storage, cells: list[PlannedCell]) -> None:
    for cell in cells:
        write_failure(storage, cell.id, reason="too much", details="")


def recorded(folder: Path, cells: list[PlannedCell]) -> None:
    for cell in cells:
        path = folder / layout.record(cell.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def test_the_start_of_a_new_study_takes_a_few_listings(
    tmp_path: Path, cells: list[PlannedCell]
) -> None:
    storage, asked = counting_storage(tmp_path)
    assert missing_cells(storage, cells) == cells
    clear_failures(storage, cells)
    assert sum(asked.values()) == asked["list"] <= 4


def test_of_a_study_that_is_gone_on_with_only_what_is_there_is_touched(
    tmp_path: Path, cells: list[PlannedCell]
) -> None:
    local = open_storage(str(tmp_path))
    recorded(tmp_path, cells[10:])
    failed(local, cells[:7])
    failed(local, cells[10:11])  # not among the missing: it keeps its word
    local.write_bytes(layout.running(cells[8].id), b"{}")
    local.write_bytes(layout.running(cells[20].id), b"{}")
    storage, asked = counting_storage(tmp_path)
    clear_failures(storage, cells[:10])
    assert asked["delete"] == 8 and asked["look"] == 8
    assert asked["read"] == asked["write"] == 0
    assert asked["list"] <= 3 + 2 * MANY // 1000 + 1, "a request a thousand files"
    assert len(cells_without_outcome(local, cells)) == 10
    assert local.exists(layout.failure(cells[10].id))
    assert list(local.list(layout.RUNNING)) == [f"{cells[20].id}.json"]


def test_the_end_of_a_study_takes_a_listing_and_a_look_at_what_failed(
    tmp_path: Path, cells: list[PlannedCell], capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path, cells[5:])
    failed(open_storage(str(tmp_path)), cells[:3])
    storage, asked = counting_storage(tmp_path)
    assert print_incomplete_cells(storage, cells)
    assert asked["read"] == 5 and asked["look"] == asked["write"] == 0
    assert asked["list"] <= 2 * MANY // 1000 + 1
    said = capsys.readouterr().err
    assert said.count("too much") == 3 and said.count("not run") == 2
    assert "5 cells failed" in said
    recorded(tmp_path, cells[:5])
    assert not print_incomplete_cells(storage, cells)


def test_cells_that_a_block_left_behind_are_given_the_reason_and_no_others(
    tmp_path: Path, cells: list[PlannedCell]
) -> None:
    recorded(tmp_path, cells[5:])
    failed(open_storage(str(tmp_path)), cells[:3])
    storage, asked = counting_storage(tmp_path)
    record_block_failure(storage, cells, [])
    assert not asked
    record_block_failure(storage, cells, ["Traceback ...\nOSError: gone", "another"])
    assert asked["write"] == 2 and asked["look"] == asked["read"] == 0
    failure = json.loads((tmp_path / layout.failure(cells[4].id)).read_text())
    assert failure["reason"] == "its block ended early: OSError: gone"
    assert "another" in failure["details"]
