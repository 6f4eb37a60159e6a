from __future__ import annotations

import time
from collections import Counter
from fractions import Fraction

import pytest
from scipy.stats import spearmanr

from tests.support.real_data import ROOT, needs
from trainables.data.loading.files import Row
from trainables.data.prompts.numbers import first_number, parse_number, same_number
from trainables.data.splits import make_split
from trainables.data.task import TaskData
from trainables.data.tasks.questions import gsm8k
from trainables.data.tasks.registry import find_task, load_task
from trainables.errors import DataError


@pytest.fixture(scope="module")
def real() -> TaskData:
    return load_task("gsm8k", ROOT)


@needs("gsm8k")
def test_counts_and_correlations_are_the_published_ones(real: TaskData) -> None:
    steps, words = real.measures["steps"], real.measures["question_words"]
    assert len(real.items) == 8792
    assert Counter(steps.values()) == {
        2: 2286, 3: 2519, 4: 1958, 5: 1128, 6: 507, 7: 268, 8: 110, 9: 15, 11: 1,
    }  # fmt: skip
    ids = [item.id for item in real.items]
    rho = spearmanr([words[id_] for id_ in ids], [steps[id_] for id_ in ids]).statistic
    assert rho == pytest.approx(0.381, abs=0.0005)
    easy, _, hard = real.cuts["question_words"]
    assert (easy.high, hard.low) == (34, 51)
    assert all(parse_number(item.choices[0]) is not None for item in real.items)


@needs("gsm8k")
@pytest.mark.parametrize(
    ("cut", "counts"), [("paper", [4805, 3086, 901]), ("code", [6763, 1635, 394])]
)
def test_both_cuts_of_the_paper_are_named_options(
    real: TaskData, cut: str, counts: list[int]
) -> None:
    steps = real.measures["steps"].values()
    levels = find_task("gsm8k").cuts["steps"][cut]
    assert [sum(map(level.holds, steps)) for level in levels] == counts


@needs("gsm8k")
def test_loading_measuring_and_splitting_takes_less_than_5_seconds() -> None:
    # CPU seconds: the machine may be shared.
    start = time.process_time()
    make_split(load_task("gsm8k", ROOT), n_train=160)
    assert time.process_time() - start < 5.0


def test_item_has_its_solution_and_one_choice() -> None:
    answer = "Two and two <<2+2=4>>4.\nThen one more.\n#### 5"
    item = gsm8k.parse_row(Row(where="x", values={"question": "How many?", "answer": answer}))
    assert (item.choices, item.answer, item.hardness) == (("5",), 0, {"steps": 2.0})
    assert item.reasoning == "Two and two <<2+2=4>>4.\nThen one more."
    assert gsm8k.TASK.free_form


@pytest.mark.parametrize("answer", ["five", "step\n#### many", "#### 5", "step\n####"])
def test_answers_without_number_or_solution_are_refused(answer: str) -> None:
    with pytest.raises(DataError, match=r"x, line 1: .*####"):
        gsm8k.parse_row(Row(where="x, line 1", values={"question": "q", "answer": answer}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,000", 1000), ("-5", -5), ("$12.50", Fraction(25, 2)), ("3/4", Fraction(3, 4)),
        ("-$5", -5), ("$-5", -5), ("1 1/2", Fraction(3, 2)), ("-1 1/2", Fraction(-3, 2)),
        ("50%", 50), ("12.", 12), (".5", Fraction(1, 2)), (" 7 ", 7),
        ("1,234,567.8", Fraction("1234567.8")),
    ],
)  # fmt: skip
def test_numbers_are_read_by_value(text: str, value: Fraction | int) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "abc", "5/0", "1,00", "5 apples", "-", "1.2.3", "$", "2 3/0"])
def test_what_is_no_number_has_no_value(text: str) -> None:
    assert parse_number(text) is None
    assert not same_number(text, text)


def test_answers_of_one_value_are_the_same() -> None:
    assert same_number("1,000", "$1000.00") and same_number("0.75", "3/4")
    assert not same_number("5", "-5") and not same_number("1,000", "1")


def test_the_first_number_of_a_text_is_read_by_value() -> None:
    assert first_number("that is -$1,200.50 in all, not 7.") == Fraction("-1200.5")
    assert first_number("\u22125 degrees") == -5  # the typographic minus sign
    assert first_number("5/0 or 3/4 of it") == Fraction(3, 4)
    assert first_number("none") is None
    assert first_number("1" * 5000 + " and 2") == 2  # noise: more digits than int reads
