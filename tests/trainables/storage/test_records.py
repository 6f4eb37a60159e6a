from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search_spaces.cell import Cell, cell_id
from search_spaces.recipes import ZeroShot
from trainables.storage import layout
from trainables.storage.failures import read_failure, write_failure
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import (
    InvalidRecordError,
    choice_scores,
    generated_table,
    read_record,
    read_scores,
    scores_table,
    write_record,
)

CELL = Cell(
    model="files:a",
    dtype="float32",
    task="t",
    data_hash="d",
    split_hash="s",
    prompt="p",
    recipe=ZeroShot(),
    version=1,
)
ID = cell_id(CELL)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def write(storage: Storage) -> None:
    table = scores_table(
        ["a", "b"], [1, 0], [np.log([0.25, 0.75]) - 3.0, np.array([-5.0, -5.0, -6.0])]
    )
    write_record(storage, CELL, table, seconds={"total": 1.5}, execution={"class": "A"})


def test_scores_of_a_hand_worked_case() -> None:
    table = scores_table(["a", "b"], [1, 1], [np.log([0.25, 0.75]) - 3.0, np.array([-5.0, -5.0])])
    assert table["predicted"].to_pylist() == [1, 0], "the first of equals"
    assert table["correct"].to_pylist() == [1.0, 0.5]
    np.testing.assert_allclose(table["confidence"].to_numpy(), [0.75, 0.5], rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "gold", "score"),
    [
        ([-1.0, -2.0], 0, 1.0),
        ([-1.0, -2.0], 1, 0.0),
        ([-2.0, -2.0], 1, 1 / 2),
        ([-1.0, -1.0, -1.0], 2, 1 / 3),
        ([-1.0, -1.0, -3.0], 2, 0.0),
        ([-1.0, -1.0 - 1e-12], 1, 0.0),
    ],
)
def test_choices_that_score_alike_share_what_one_would_have(
    values: list[float], gold: int, score: float
) -> None:
    others = np.zeros(4)  # of a fourth choice, which the item lacks
    assert choice_scores([others, np.array(values)], [2, gold]).tolist() == [1 / 4, score]


def test_no_item_has_no_score() -> None:
    assert choice_scores([], []).tolist() == []


def test_a_record_of_generated_answers_says_which_could_not_be_read(storage: Storage) -> None:
    table = generated_table(
        ["a", "b", "c", "d"],
        [0, None, None, 1],
        [True, False, False, False],
        ["t"] * 4,
        [True, False, True, True],
    )
    write_record(storage, CELL, table, seconds={"total": 1.0}, execution={})
    record = read_record(storage, ID)
    assert (record.accuracy, record.unreadable) == (0.25, 0.25)
    found = read_scores(storage, ID, record, ("item_id", "readable"))
    assert found["readable"].to_pylist() == [True, False, True, True]


def test_scored_choices_have_no_column_for_texts(storage: Storage) -> None:
    write(storage)
    record = read_record(storage, ID)
    assert record.unreadable is None
    assert read_scores(storage, ID, record, ("item_id", "readable")).column_names == ["item_id"]


def test_an_accuracy_with_ties_does_not_depend_on_the_order_of_choices() -> None:
    rows = np.random.default_rng(0).integers(0, 2, (50, 3)).astype(float)
    gold = [int(row.sum()) % 3 for row in rows]
    turned = [(g + 1) % 3 for g in gold]
    tables = (
        scores_table([str(i) for i in range(50)], gold, list(rows)),
        scores_table([str(i) for i in range(50)], turned, list(np.roll(rows, 1, axis=1))),
    )
    first, second = (table["correct"].to_pylist() for table in tables)
    assert first == second and not set(first) <= {0.0, 1.0}


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_scores_that_are_not_finite_are_refused_by_item(bad: float) -> None:
    with pytest.raises(ValueError, match="item 'b'"):
        scores_table(["a", "b"], [0, 0], [np.zeros(2), np.array([0.0, bad])])


def test_round_trip(storage: Storage) -> None:
    write(storage)
    record = read_record(storage, ID)
    assert record.accuracy == 0.75 and record.num_items == 2 and record.seconds == {"total": 1.5}
    assert read_scores(storage, ID, record)["item_id"].to_pylist() == ["a", "b"]


def test_scores_have_the_same_bytes_every_time(storage: Storage) -> None:
    write(storage)
    first = storage.read_bytes(layout.scores(ID))
    write(storage)
    assert storage.read_bytes(layout.scores(ID)) == first


def test_success_removes_the_reason_of_an_earlier_failure(storage: Storage) -> None:
    write_failure(storage, ID, reason="ValueError: x", details="...")
    assert read_failure(storage, ID) == "ValueError: x"
    write(storage)
    assert read_failure(storage, ID) is None


def test_a_record_counts_by_the_hash_of_its_cell_however_numbers_are_written(
    storage: Storage,
) -> None:
    write(storage)
    path = Path(storage.path(layout.record(ID)))
    text = path.read_text()
    path.write_text(text.replace('"version": 1', '"version": 1.0'))
    assert read_record(storage, ID).accuracy == pytest.approx(0.75)
    path.write_text(text.replace('"version": 1', '"version": 2'))
    other = cell_id(CELL.model_copy(update={"version": 2}))
    with pytest.raises(InvalidRecordError, match=f"is the record of cell {other}, not of {ID}"):
        read_record(storage, ID)


def test_absent_record_is_absent(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(storage, ID)


def test_a_record_holds_the_updates_that_were_made(storage: Storage) -> None:
    curve = [{"step": 1.0, "loss": 2.0}, {"step": 2.0, "loss": 1.0}, {"step": 3.0, "loss": 0.5}]
    table = scores_table(["a"], [0], [np.array([0.0, -1.0])])
    shared = {"seconds": {"total": 1.5}, "execution": {"class": "A"}}
    assert write_record(storage, CELL, table, curve=curve, **shared).updates == 3
    assert write_record(storage, CELL, table, **shared).updates == 0
