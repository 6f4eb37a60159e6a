from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.levels import Level
from search_spaces.space import TaskAxis
from trainables.data.items import Item, data_hash, without_gold
from trainables.data.level_cuts import (
    fixed_cut,
    quantile_cut,
    single_levels,
    standard_cuts,
)
from trainables.data.measures import check_axis, item_measures
from trainables.data.task import TaskData

MEASURED = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=60)


def task(values: dict[str, float]) -> TaskData:
    items = tuple(
        Item(id=id_, question="one two three", choices=("x", "yyy"), answer=1,
             hardness={"grade": value}, reasoning="a b" if value > 1 else None)
        for id_, value in sorted(values.items())
    )  # fmt: skip
    measures = item_measures(items)
    return TaskData(
        name="t",
        items=items,
        measures=measures,
        data_hash=data_hash(items),
        source="s",
        licence="l",
    )


def test_counted_measures_are_whitespace_words_and_gold_characters() -> None:
    measures = task({"a": 1.0, "b": 2.0}).measures
    assert measures["question_words"] == {"a": 3.0, "b": 3.0}
    assert measures["answer_chars"] == {"a": 3.0, "b": 3.0}
    assert measures["reasoning_words"] == {"b": 2.0}


def test_data_that_brings_a_counted_measure_keeps_its_own() -> None:
    item = Item(
        id="a", question="q", choices=("x", "y"), answer=0, hardness={"question_words": 9.0}
    )
    assert item_measures([item])["question_words"] == {"a": 9.0}


@given(MEASURED, st.sampled_from([(0.3, 0.7), (0.5,), (0.2, 0.4, 0.6, 0.8)]))
def test_quantile_levels_hold_every_item_once(
    values: list[float], probabilities: tuple[float, ...]
) -> None:
    levels = quantile_cut(values, probabilities)
    assert all(sum(level.holds(value) for level in levels) == 1 for value in values)


@given(st.lists(st.floats(0, 100), min_size=10, max_size=60, unique=True))
def test_quantile_ends_are_the_papers_rule(values: list[float]) -> None:
    """Easy: x <= the 30th percentile; hard: x >= the 70th; both ends inclusive."""
    low, high = np.quantile(values, [0.3, 0.7])
    easy, _, hard = quantile_cut(values)
    assert [easy.holds(value) for value in values] == [value <= low for value in values]
    assert [hard.holds(value) for value in values] == [value >= high for value in values]


def test_ties_make_a_level_larger_or_take_it_away() -> None:
    levels = quantile_cut([1.0] * 2 + [2.0] * 6 + [3.0] * 2)
    assert [(level.name, level.low, level.high) for level in levels] == [
        ("easy", 1, 2), ("hard", 3, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("number", [1, 7])
def test_cut_has_two_to_six_levels(number: int) -> None:
    with pytest.raises(ValueError, match=f"2 to 6 levels, got {number}"):
        quantile_cut([1.0, 2.0], [n / 10 for n in range(1, number)])


def test_thresholds_must_rise() -> None:
    with pytest.raises(ValueError, match="must rise inside"):
        quantile_cut([1.0], (0.7, 0.3))
    with pytest.raises(ValueError, match="begins at 3, but 'easy' ends at 3"):
        fixed_cut({"easy": (1, 3), "hard": (3, 5)})
    with pytest.raises(ValueError, match="at least one item"):
        quantile_cut([])


def test_single_levels_are_for_few_whole_values() -> None:
    assert [level.name for level in single_levels([3.0, 1.0, 3.0])] == ["1", "3"]
    assert single_levels([1.5, 2.0]) == ()
    assert single_levels([float(n) for n in range(13)]) == ()
    assert single_levels([1.0, 1.0]) == ()


def test_standard_cut_is_the_tasks_own_else_quantiles() -> None:
    own = fixed_cut({"easy": (0, 1), "hard": (2, 3)})
    values = {str(n): float(n % 4) for n in range(40)}
    cuts = standard_cuts({"a": values, "b": values, "same": dict.fromkeys(values, 1.0)}, {"a": own})
    assert cuts["a"] == own
    assert cuts["b"] == quantile_cut(values.values())
    assert "same" not in cuts


def axis(measure: str = "grade", low: float = 1, high: float = 2) -> TaskAxis:
    easy = Level(name="easy", low=1, high=1)
    return TaskAxis(
        task="t", measure=measure, train_levels=(easy,),
        test_levels=(easy, Level(name="hard", low=low, high=high)),
    )  # fmt: skip


def test_axis_with_unknown_measure_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="task t has no measure 'bloom'; it has: answer_chars, grade"
    ):
        check_axis(task({"a": 1.0}), axis("bloom"))


def test_axis_with_an_empty_level_names_it() -> None:
    check_axis(task({"a": 1.0}), axis())
    with pytest.raises(
        ValueError, match=r"no item has a grade in \[2, 4\] \(level 'hard'\); .* 1 to 1"
    ):
        check_axis(task({"a": 1.0}), axis(low=2, high=4))


def test_a_value_at_the_one_threshold_is_easy() -> None:
    easy, hard = quantile_cut([1.0, 2.0, 3.0], (0.5,))
    assert [(easy.low, easy.high), (hard.low, hard.high)] == [(1, 2), (3, 3)]


@pytest.mark.parametrize("outside", [0.0, 1.0, 1.5])
def test_a_threshold_outside_the_values_is_refused(outside: float) -> None:
    with pytest.raises(ValueError, match="must rise inside"):
        quantile_cut([1.0, 2.0], (outside,))


def test_the_hash_of_data_is_that_of_its_ascii_json() -> None:
    item = Item(id="a", question=" caf\u00e9? ", choices=("x ", "y"), answer=1, group="g")
    text = b'[["a", "caf\\u00e9?", ["x", "y"], 1]]'
    assert data_hash([item]) == hashlib.sha256(text).hexdigest()


def test_an_item_without_gold_has_the_first_choice_in_its_place() -> None:
    item = Item(
        id="a",
        question="q",
        choices=("x", "y"),
        answer=1,
        group="g",
        reasoning="so y",
        hardness={"grade": 2.0},
    )
    assert without_gold(item) == Item(id="a", question="q", choices=("x", "y"), answer=0, group="g")
