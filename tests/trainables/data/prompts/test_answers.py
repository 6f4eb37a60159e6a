"""Answers in generated text, by value and by name."""

from __future__ import annotations

import pytest

from tests.support.real_data import ROOT, needs
from trainables.data.items import Item
from trainables.data.prompts.answers import (
    NEXT_QUESTION,
    extract,
    finish_pattern,
    named_choice,
    stated_number,
)
from trainables.data.prompts.formats import LETTERS, get_prompt
from trainables.data.tasks.registry import load_task
from trainables.inference.generation import StoppingCriteria


def free(gold: str) -> Item:
    return Item(id="n", question="How many?", choices=(gold,), answer=0)


def choices(*texts: str, answer: int = 0) -> Item:
    return Item(id="c", question="Which?", choices=texts, answer=answer)


@pytest.mark.parametrize(
    ("stated", "gold"),
    [
        ("1,000", "1000"), ("1000", "1,000"), ("1,000.", "1000"), ("-5", "-5"), ("\u22125", "-5"),
        ("$12.50", "12.5"), ("$12.5.", "12.50"), ("3/4", "0.75"), ("1 1/2 cups", "1.5"),
        ("50%", "50"), ("50 %", "50%"), ("18 apples.", "18"), ("**18**", "18"), ("(18)", "18"),
        ("about 18 in all", "18"), ("3 + 4 = 7", "7"), ("x = 7.", "7"), ("-$5 (a loss)", "-5"),
        ("\u00bd", "0.5"), ("2\u00bd cups", "2.5"), ("3\u20444", "0.75"), ("\\frac{3}{4}", "0.75"),
        ("$-\\dfrac{3}{4}$", "-0.75"), ("1\\frac{1}{2}", "1.5"), ("1{,}000", "1000"),
        ("$2 million", "2000000"), ("1.5 billion dollars", "1,500,000,000"),
        ("10 000", "10000"), ("10\u00a0000 km", "10,000"), ("10\u202f000\u202f000", "10000000"),
        ("1.5e3", "1500"), ("1.5 x 10^3 m", "1500"), ("1.5 \u00d7 10\u00b3", "1500"),
        ("2^10", "1024"), ("\uff11\uff12", "12"), ("it is 3 - 5 = -2", "-2"), ("3^-1", "1/3"),
        ("7 = 3 + 4", "7"), ("**7** = 3 + 4", "7"), ("x = .5", "0.5"), ("3 + 4 = 7 apples", "7"),
        ("room B-12", "12"), ("5 100/200", "5.5"),
        ("7. Check: 3 + 5 = 8", "7"), (": 7", "7"), ("\n7", "7"), ("so big. It is 7", "7"),
    ],
)  # fmt: skip
def test_numbers_are_compared_by_value(stated: str, gold: str) -> None:
    found = extract(f" 3 and 4 give it. So the answer is {stated}\n\nQ: 9", free(gold), True)
    assert found.is_correct and found.index == 0
    assert found.answer == stated.strip(": \n")


@pytest.mark.parametrize(
    ("stated", "gold"),
    [
        ("5", "-5"), ("-5", "5"), ("1,000", "1"), ("7 = 3 + 4", "4"), ("3/4", "3"), ("50%", "0.5"),
        ("\u00bd", "1"), ("\\frac{3}{4}", "3"), ("$2 million", "2"), ("10 000", "10"),
        ("1.5e3", "1.5"), ("1,2345", "1234"), ("1,2345", "1"), ("12,5", "12"), ("10\u00b2", "102"),
        ("room B-12", "-12"),
    ],
)  # fmt: skip
def test_another_value_is_wrong(stated: str, gold: str) -> None:
    found = extract(f"So the answer is {stated}", free(gold), True)
    assert (found.index, found.is_correct, found.answer) == (None, False, stated)


@pytest.mark.parametrize(
    "text",
    ["", "It is 7.", "So the answer is", "So the answer is \n\n", "The answers is 7", "###7"],
)
def test_a_missing_phrase_or_answer_is_told_from_a_wrong_one(text: str) -> None:
    found = extract(text, free("7"), True)
    assert (found.index, found.is_correct, found.answer) == (None, False, None)
    assert extract("So the answer is unclear.", free("7"), True).answer == "unclear."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is approx. 18 apples.", 18), ("The answer is approx. 3 x 6 = 18. Then 9", 18),
        ("The answer is:\n- 18", 18), ("The answer is\n* 18", 18), ("The answer is:\n-18", -18),
        ("The answer is: -18", -18), ("The answer is - 18", -18), ("#### -18", -18),
        ("The answer is not 18", None), ("The answer is neither 18 nor 9", None),
        ("The answer is certainly not 3 + 15 = 18.", None), ("The answer is Not 17. It is 18.", 18),
        ("The answer is 18, not 17", 18), ("The answer is 9. But the answer is not 18", 9),
        ("The answer is, not counting tax, 18", 18), ("The answer is, not as said, not 18", None),
        ("The answer is not, as you said, 18", None), ("The answer is, without tax, 18", 18),
        ("The answer isn't 18", None), ("The final answer is 18", 18),
        ("The answer is 9. So the FINAL answer is: 18", 18),
    ],
)  # fmt: skip
def test_the_value_that_a_text_states(text: str, value: int | None) -> None:
    for gold in (18, -18, 9):
        assert extract(text, free(str(gold)), True).is_correct == (gold == value)


def test_the_last_phrase_with_an_answer_counts() -> None:
    text = "The answer is 3. No, the ANSWER is: 7, which is what the answer is\n"
    assert extract(text, free("7"), True).is_correct
    assert extract("The answer is yes. That the answer is", choices("no", "yes"), False).index == 1
    assert extract("4 + 3\n#### 7", free("7"), True).is_correct
    assert extract("the answer is known. #### 7", free("7"), True).answer == "7"


NAMES = ("Paris", "London", "New York", "York")


@pytest.mark.parametrize(
    ("stated", "index"),
    [
        ("Paris", 0), ("paris.", 0), ('"Paris"', 0), ("**Paris**", 0), ("PARIS, in France", 0),
        ("B", 1), ("(B)", 1), ("b)", 1), ("B.", 1), ("B) London", 1), ("B: London.", 1),
        ("Option B", 1), ("choice (C)", 2),  ("D) it is", 3), ("New  York", 2), ("York", 3),
        ("option B, London", 1), ("option B) Paris", None), ("the city of London", 1),
        ("surely New York", 2), ("New York, not York", 2),
        ("E", None), ("Rome", None), ("Paris or London", None), ("either Paris or London", None),
        ("Paris, and London", None), ("Paris / York", None), ("Paris and its suburbs", 0),
        ("York and New York", None), ("New York or so", 2),
        ("not Paris", None), ("A) London", None), ("Yorkshire", None), ("", None),
    ],
)  # fmt: skip
def test_choices_are_named_by_text_or_letter(stated: str, index: int | None) -> None:
    assert named_choice(stated, NAMES) == index
    found = extract(f"Hence the answer is {stated}\n", choices(*NAMES, answer=1), False)
    assert found.index == index
    assert found.is_correct == (index == 1)


def test_the_longest_choice_that_begins_the_answer_is_meant() -> None:
    assert named_choice("New York City, it is", ("New York", "New York City")) == 1


def test_a_choices_text_goes_before_a_letter() -> None:
    assert named_choice("B", ("C", "A", "B")) == 2
    assert named_choice("a", ("b", "a")) == 1


def test_yes_and_no() -> None:
    item = choices("yes", "no", answer=1)
    assert extract("A cat is small. So the answer is No.\n\nQ: yes?", item, False).is_correct
    assert extract("So the answer is no, it is not", item, False).is_correct
    assert extract("So the answer is yes, not no", item, False).index == 0
    both = ("yes and no", "no or yes", "Yes/no", "yes & no")
    assert [named_choice(one, item.choices) for one in both] == [None] * 4
    assert named_choice("yes and it is no problem", item.choices) == 0
    assert extract("So the answer is:\n- no\n", item, False).answer == "no"
    assert extract("So the answer is unknown", item, False) == extract(
        "the answer is unknown", item, False
    )
    assert extract("So the answer is unknown", item, False).index is None


def test_choices_that_are_numbers_are_compared_by_value() -> None:
    values = ("5", "-5", "1,000", "0.5")
    said = ["-5", "$1000", "1/2", "5.", "10"]
    assert [named_choice(one, values) for one in said] == [1, 2, 3, 0, None]
    assert named_choice("5.5", ("5", "6")) is None  # not "5", and more behind it
    assert named_choice("it is -5 now", ("5", "6")) is None
    assert named_choice("5-6", ("5", "6")) is None
    assert named_choice("15 apples", ("5 apples", "15 apples")) == 1
    assert named_choice("50%", ("50", "50%")) == 1


def test_choices_of_equal_folded_text_are_not_guessed() -> None:
    assert named_choice("Yes", ("yes", "Yes!")) is None
    assert named_choice("?", ("?", "!")) == 0  # folding leaves nothing, so the text stays


@pytest.mark.parametrize(
    ("text", "number", "choice"),
    [
        ("So the answer is 12.50. Next", "So the answer is 12.50.", None),
        ("So the answer is 12.", None, None),
        ("So the answer is 12\nQ: a", "So the answer is 12\n", "So the answer is 12\n"),
        ("#### 12\n", "#### 12\n", "#### 12\n"),
        ("the answer is\n 3 \nQ", "the answer is\n 3 \n", "the answer is\n 3 \n"),
        ("So the answer is \n\n", None, None),
        ("It is 12. And\n", None, None),
        ("the answer is U.S. dollars\n", *["the answer is U.S. dollars\n"] * 2),
        ("The answer is approx. 18 apples. Q", "The answer is approx. 18 apples.", None),
        ("The answer is approx. 1", None, None),
        ("The answer is not 17. It is 18.\n", *["The answer is not 17. It is 18.\n"] * 2),
        ("The final answer is 18. And", "The final answer is 18.", None),
        ("The answer is:\n- 18\n", "The answer is:\n- 18\n", "The answer is:\n- 18\n"),
    ],
)
def test_a_text_is_finished_where_its_answer_is_stated_in_full(
    text: str, number: str | None, choice: str | None
) -> None:
    for free_form, expected in ((True, number), (False, choice)):
        rule = StoppingCriteria(max_new_tokens=9, finish=finish_pattern(free_form=free_form))
        end = rule.end(text)
        assert (None if end is None else text[:end]) == expected


@pytest.mark.parametrize("task", ["gsm8k", "strategyqa", "arc", "micro"])
def test_the_next_question_of_every_prompt_format_stops_the_text(task: str) -> None:
    rule = StoppingCriteria(max_new_tokens=9, stops=NEXT_QUESTION)
    item = Item(id="q", question="A B?", choices=("x", "y"), answer=0, reasoning="C.")
    prompt = get_prompt(task, "open" if task == "micro" else "default")
    text = f" C. So the answer is x{prompt.separator}{prompt.example(item, 0)}"
    end = rule.end(text)
    assert end is not None and text[:end].rstrip() == " C. So the answer is x"


@needs("gsm8k")
def test_every_gold_solution_of_gsm8k_is_correct() -> None:
    items = load_task("gsm8k", ROOT).items
    prompt = get_prompt("gsm8k")
    wrong = [i.id for i in items if not extract(prompt.target(i, 0) + ".\n", i, True).is_correct]
    assert len(items) == 8792 and wrong == []
    assert all(not extract(item.reasoning or "", item, True).is_correct for item in items[:500])


@needs("arc")
def test_every_choice_of_arc_is_found_by_text_and_by_letter() -> None:
    items = load_task("arc", ROOT).items
    missed = 0
    for item in items:
        for index, text in enumerate(item.choices):
            letter = LETTERS[index]
            for said in (text, f"{letter}) {text}", f"({letter})"):
                missed += extract(f"So the answer is {said}\n", item, False).index != index
    assert missed <= 20  # choices that differ in case or outer punctuation only, or are letters


def test_the_number_of_an_answers_line() -> None:
    assert stated_number("5 = 2 + x, so x = 3. Then 9") == 3
    assert stated_number("nothing") is None
