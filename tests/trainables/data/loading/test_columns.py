"""Column maps: tables as people have them become the same items."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.explain import explain
from search_spaces.space import Columns, DataSource, Level, Ordered, TaskAxis
from tests.support.own_tables import MMLU, OPENBOOKQA, SCIQ, Rows, mmlu, openbookqa, sciq
from trainables.data.items import Item, data_hash
from trainables.data.loading.columns import read_items
from trainables.data.loading.files import BadRows, Row
from trainables.errors import DataError


def items_of(rows: Rows, columns: Columns | None, *, is_text: bool = False) -> list[Item]:
    items, faults = read(rows, columns, is_text=is_text)
    assert not faults, faults
    return items


def read(
    rows: Rows, columns: Columns | None, *, is_text: bool = False
) -> tuple[list[Item], list[str]]:
    bad = BadRows(skip=True)
    numbered = (Row(where=f"table, row {n}", values=row) for n, row in enumerate(rows, start=1))
    items, _ = read_items(numbered, columns, bad, is_text=is_text)
    return items, bad.messages


def test_texts_with_labels_as_in_openbookqa() -> None:
    items = items_of(openbookqa(), OPENBOOKQA)
    assert items[1].question == "The stem of question 1"
    assert items[1].choices == ("a puppy 1", "a cloud 1", "a rock 1", "rain 1")
    assert [item.answer for item in items[:5]] == [0, 1, 2, 3, 0]
    assert items[0].hardness == {"humanScore": 0.5, "clarity": 1.0}
    assert items[2].hardness == {"clarity": 1.0}, "a missing value is no measure"
    assert items[0].topic is None, "other columns are not used"


def test_a_column_for_each_choice_as_in_sciq() -> None:
    rows = sciq(200)
    items = items_of(rows, SCIQ)
    assert all(item.choices[item.answer].startswith("cheese") for item in items)
    places = Counter(item.answer for item in items)
    assert all(places[place] > 30 for place in range(4)), (
        "the right choice is always in one column, so its place must be drawn"
    )
    assert items[1].question == "Process 1 makes cheese.\nWhat is made by process 1?"
    assert items[0].question == "What is made by process 0?"
    assert len({item.id for item in items}) == 200


def test_the_order_of_drawn_choices_does_not_depend_on_gold() -> None:
    """A canary: with another choice as gold, everything but the answer stays."""
    turned = [
        row | {"correct_answer": row["distractor2"], "distractor2": row["correct_answer"]}
        for row in sciq()
    ]
    items, others = items_of(sciq(), SCIQ), items_of(turned, SCIQ)
    assert [(item.id, item.choices) for item in items] == [(o.id, o.choices) for o in others]
    assert all(other.choices[other.answer].startswith("wood") for other in others)


def test_a_list_and_an_index_as_in_mmlu() -> None:
    items = items_of(mmlu(), MMLU)
    assert [item.answer for item in items[:5]] == [0, 1, 2, 3, 0]
    assert {item.group for item in items} == {"abstract_algebra", "anatomy"}


def test_names_and_order_of_columns_are_not_in_the_identity() -> None:
    renamed = [
        {"Q": row["question"], "key": "ABCD"[row["answer"]]}
        | dict(zip("ABCD", row["choices"], strict=True))
        for row in mmlu()
    ]
    columns = Columns(question="Q", choices=("A", "B", "C", "D"), answer="key", answer_is="letter")
    assert data_hash(items_of(renamed, columns)) == data_hash(items_of(mmlu(), MMLU))


CHOICES = ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("choices", "answer", "answer_is"),
    [
        (CHOICES, 1, None),
        (CHOICES, 1.0, None),
        (CHOICES, " green ", None),
        (CHOICES, "1", "index"),
        (CHOICES, "1.0", "index"),
        (CHOICES, "2.0", "number"),
        (CHOICES, 2, "number"),
        (CHOICES, "2", "number"),
        (CHOICES, "B", "letter"),
        (CHOICES, "b", "letter"),
        ({"text": CHOICES, "label": ["1", "2", "3"]}, "2", None),
        ({"text": CHOICES, "label": [1, 2, 3]}, 2, None),
        ({"text": CHOICES, "label": ["x", "y", "z"]}, "green", "text"),
        ({"text": CHOICES, "label": ["x", "y", "z"]}, 1, "index"),
        ([{"text": t, "label": k} for t, k in zip(CHOICES, "ABC", strict=True)], "B", None),
        ({"A": "red", "B": "green", "C": "blue", "D": None}, "B", None),
        ('["red", "green", "blue"]', 1, None),
        ('{"text": ["red", "green", "blue"], "label": ["A", "B", "C"]}', "B", None),
    ],
)
def test_every_layout_and_kind_of_answer_gives_one_item(
    choices: Any, answer: Any, answer_is: Any
) -> None:
    row = {"question": "Which?", "choices": choices, "answer": answer}
    (item,) = items_of([row], Columns(answer_is=answer_is))
    assert (item.choices, item.answer) == (tuple(CHOICES), 1)


@pytest.mark.parametrize("answer", [True, "true", "Yes", 1, "1"])
def test_a_boolean_is_yes_or_no(answer: Any) -> None:
    rows = [{"question": "Is it?", "answer": answer}]
    (item,) = items_of(rows, Columns(choices=None))
    assert (item.choices, item.answer) == (("yes", "no"), 0)
    _, faults = read([{"question": "Is it?", "answer": "maybe"}], Columns(choices=None))
    assert "answer 'maybe' is none of the 2 choices; expected true or false" in faults[0]


def test_empty_columns_of_choices_keep_the_places_of_the_others() -> None:
    columns = Columns(choices=("a", "b", "c"), answer_is="letter")
    rows = [{"question": "?", "a": "x", "b": None, "c": "z", "answer": "C"}]
    (item,) = items_of(rows, columns)
    assert (item.choices, item.answer) == (("x", "z"), 1)
    _, faults = read([rows[0] | {"answer": "B"}], columns)
    assert "answer 'B' is none of the 2 choices" in faults[0]


def test_measures_are_numbers_digits_or_ordered_texts() -> None:
    columns = Columns(
        measures=("steps", Ordered(column="rated", values=("low", "mid", "high"))), group="passage"
    )
    base = {"question": "?", "choices": CHOICES, "answer": 0}
    rows: Rows = [
        base | {"question": "1", "steps": 3, "rated": "high", "passage": 7},
        base | {"question": "2", "steps": "4.5", "rated": "low", "passage": "eight"},
        base | {"question": "3", "steps": "", "rated": None, "passage": None},
    ]
    items = sorted(items_of(rows, columns), key=lambda item: item.question)
    assert [item.hardness for item in items] == [
        {"steps": 3.0, "rated": 3.0}, {"steps": 4.5, "rated": 1.0}, {},
    ]  # fmt: skip
    assert [item.group for item in items] == ["7", "eight", None]
    for value, measure in (("many", "steps"), (True, "steps"), ("worst", "rated")):
        _, faults = read([rows[0] | {measure: value}], columns)
        assert f"measure {measure!r} has {value!r}" in faults[0]


def test_rows_of_one_content_are_one_item() -> None:
    rows = [*mmlu(6), *mmlu(6)]
    bad = BadRows(skip=True)
    numbered = [Row(where=f"table, row {n}", values=row) for n, row in enumerate(rows)]
    items, notes = read_items(numbered, MMLU, bad)
    assert len(items) == 6 and not bad.messages
    assert "6 of 12 rows repeat another row" in notes[0]


def test_columns_that_do_not_exist_are_one_message() -> None:
    with pytest.raises(DataError) as error:
        read(openbookqa(), Columns(question="question", id="id", topic="area", answer="answerKey"))
    assert str(error.value) == (
        "table: the column map names columns that the table does not have: question='question', "
        "topic='area' (did you mean 'question_stem'?); its columns are id, question_stem, choices, "
        "answerKey, fact1, humanScore, clarity, turkIdAnonymized"
    )
    with pytest.raises(
        DataError, match=r"no row has the columns 'question', 'answer', .*Columns\("
    ):
        read(openbookqa(), None)


def test_an_answer_that_is_no_choice_names_the_kind_that_would_fit() -> None:
    _, faults = read(openbookqa(), OPENBOOKQA.model_copy(update={"answer_is": "index"}))
    assert len(faults) == 24
    assert faults[2] == (
        "table, row 3: answer 'C' is none of the 4 choices; expected an index from 0; it would fit "
        "answer_is='letter' or answer_is='label' in a column map"
    )
    rows = [row | {"answer": row["answer"] + 1} for row in mmlu()]
    _, faults = read(rows, MMLU)
    assert len(faults) == 6 and "answer 4 is none of the 4 choices" in faults[0]
    assert "answer_is='number'" in faults[0]
    rows[0]["answer"] = 0
    _, faults = read(rows, MMLU)
    assert len(faults) == 6 and not any("answer_is" in fault for fault in faults), (
        "not all rows fit"
    )
    _, faults = read([row | {"answerKey": ""} for row in openbookqa(1)], OPENBOOKQA)
    assert (
        "answer None is none of the 4 choices; expected one of the labels A, B, C, D" in faults[0]
    )


@pytest.mark.parametrize("columns", [None, Columns(id="id"), Columns(id="id", answer_is="text")])
def test_a_boolean_answer_names_the_column_map_that_loads_it(columns: Columns | None) -> None:
    way_out = "true and false are read as yes and no by a column map with choices=None"
    row = {"id": "1", "question": "Is it?", "choices": ["yes", "no"]}
    for answer in (True, False, "TRUE", "false"):
        _, faults = read([row | {"answer": answer}], columns)
        assert faults[0].endswith(way_out) and f"answer {answer!r} is none of" in faults[0]
    for answer in (2, "maybe", None):
        _, faults = read([row | {"answer": answer}], columns)
        assert way_out not in faults[0]
    _, faults = read([row | {"choices": ["true", "false"], "answer": True}], columns)
    assert faults[0].endswith(way_out)
    items = items_of([row | {"answer": False}], Columns(id="id", choices=None))
    assert [item.answer for item in items] == [1]


def test_an_answer_of_5000_digits_is_no_choice() -> None:
    rows = [{"question": "?", "choices": CHOICES, "answer": "7" * 5000}]
    for kind in (None, "index", "number"):
        _, faults = read(rows, Columns(answer_is=kind))
        assert "is none of the 3 choices" in faults[0]


def test_csv_without_a_column_map_has_texts_for_numbers() -> None:
    row = {"id": "1", "question": "Which?", "choices": '["red", "green"]', "steps": "2"}
    (item,) = items_of([row | {"answer": "green", "group": ""}], None, is_text=True)
    assert (item.id, item.answer, item.hardness, item.group) == ("1", 1, {"steps": 2.0}, None)
    _, faults = read([row | {"answer": "0"}], Columns(id="id"), is_text=True)
    assert faults == [
        "table, row 1: answer '0' is none of the 2 choices; expected the text of a choice; it "
        "would fit answer_is='index' in a column map"
    ], "a column map states the kind"
    _, faults = read([row | {"choices": ["red", "green"], "answer": "green"}], None)
    assert "measure 'steps' has '2'" in faults[0], "JSON lines have types"


NUMBERS = ["1", "2", "0"]


@pytest.mark.parametrize(
    ("choices", "answers", "places", "expected"),
    [
        (CHOICES, ["0", " 2 ", "1"], [0, 2, 1], "an index from 0"),
        (CHOICES, ["0", "", "1"], [0, None, 1], "an index from 0"),
        (CHOICES, ["0.0", "", "1.0"], [0, None, 1], "an index from 0"),
        (CHOICES, ["0", "3", "1"], [0, None, 1], "an index from 0"),
        (CHOICES, ["red", " blue", "green"], [0, 2, 1], "the text of a choice"),
        (CHOICES, ["red", "", "green"], [0, None, 1], "the text of a choice"),
        (CHOICES, ["0", "blue", "1"], [None, 2, None], "the text of a choice"),
        (["10", "11", "2"], ["0", "2", "1"], [0, 2, 1], "an index from 0"),
        (["10", "11", "2"], ["10", "2", "11"], [0, 2, 1], "the text of a choice"),
        (["0", "1", "2"], ["0", "2", "1"], [0, 2, 1], "both are the same"),
        ({"text": NUMBERS, "label": ["0", "1", "2"]}, ["0", "2", "1"], [0, 2, 1], "labels"),
    ],
)
def test_the_answers_of_a_csv_file_are_all_indices_or_all_texts(
    choices: Any, answers: list[str], places: list[int | None], expected: str
) -> None:
    rows: Rows = [
        {"id": str(n), "question": "?", "choices": json.dumps(choices), "answer": answer}
        for n, answer in enumerate(answers)
    ]
    items, faults = read(rows, None, is_text=True)
    found = {item.id: item.answer for item in items}
    assert [found.get(str(n)) for n in range(len(rows))] == places
    assert all(fault.endswith(f"is none of the 3 choices; expected {expected}") for fault in faults)


@pytest.mark.parametrize(
    ("choices", "is_text", "remedy"),
    [
        (
            "red|green",
            True,
            """a list of texts as JSON, such as ["red", "green"], got 'red|green'""",
        ),
        ("['red', 'green']", True, """a list of texts as JSON, such as ["red", "green"], got"""),
        ({"text": CHOICES, "label": ["A", "B", "C"]}, False, "or name the columns in a column map"),
        ([1, 2, 3], False, "a list of texts, or name the columns in a column map, got [1, 2, 3]"),
    ],
)
def test_choices_of_another_layout_name_a_remedy(choices: Any, is_text: bool, remedy: str) -> None:
    row = {"id": "1", "question": "?", "choices": choices, "answer": "red"}
    _, faults = read([row], None, is_text=is_text)
    assert "field 'choices' must be a list of texts" in faults[0] and remedy in faults[0]


def test_a_column_without_a_name_is_no_measure() -> None:
    row = {"": "7", "id": "1", "question": "?", "choices": '["a", "b"]', "answer": "0"}
    (item,) = items_of([row | {"steps": "2"}], None, is_text=True)
    assert item.hardness == {"steps": 2.0}, "pandas writes its index as such a column"


def test_answers_of_a_csv_file_that_are_indices_and_texts_need_a_column_map() -> None:
    row = {"question": "?", "choices": json.dumps(NUMBERS)}
    rows: Rows = [row | {"id": str(n), "answer": str(n)} for n in range(3)]
    with pytest.raises(DataError) as error:
        read(rows, None, is_text=True)
    assert str(error.value) == (
        "table: every answer is both an index from 0 and the text of a choice; name one in a "
        "column map, TaskAxis(data=DataSource(columns=Columns(id='id', answer_is='index'))) or "
        "answer_is='text'"
    )
    for kind, places in (("index", [0, 1, 2]), ("text", [2, 0, 1])):
        items = items_of(rows, Columns(id="id", answer_is=kind), is_text=True)  # type: ignore[arg-type]
        assert [item.answer for item in items] == places
    for typed in (0, "0"):
        (item,) = items_of([rows[0] | {"choices": NUMBERS, "answer": typed}], None)
        assert item.answer == (0 if typed == 0 else 2), "types tell an index from a text"


LEVEL = Level(name="easy", low=1, high=2)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Columns(choices=("choices",)), "fewer than two columns"),
        (lambda: Columns(choices=None, answer_is="text"), "needs choices"),
        (lambda: Columns(answer_is="boolean"), "set choices=None"),
        (lambda: SCIQ.model_validate(dict(SCIQ) | {"answer_is": "index"}), "so it is a text"),
        (lambda: Columns(measures=("a", Ordered(column="a", values=("x", "y")))), "'a' twice"),
        (lambda: Ordered(column="a", values=("x", "x")), "must differ"),
        (lambda: Columns(answr="key"), "did you mean 'answer' or 'answer_is'?"),  # type: ignore[call-arg]
        (lambda: axis("arc", DataSource(columns=SCIQ)), "task 'arc' is a shipped one"),
        (lambda: axis("csv:mine", DataSource(splits=("train",))), "has no splits or revision"),
        (lambda: axis("hub:a/b", DataSource(folder="x")), "folder is for functions"),
        (lambda: axis("sub/mine.py:items", None), "without its folder"),
        (lambda: axis("mine.py:not a name", None), "as in 'my_study.py:items'"),
    ],
)
def test_a_wrong_source_is_refused_in_the_space(make: Any, rule: str) -> None:
    with pytest.raises(ValidationError) as error:
        make()
    assert rule in explain(error.value)


def axis(task: str, data: DataSource | None) -> TaskAxis:
    return TaskAxis(
        task=task, data=data, measure="steps", train_levels=(LEVEL,), test_levels=(LEVEL,)
    )
