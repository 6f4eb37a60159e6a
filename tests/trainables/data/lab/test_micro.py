"""The question set of the lab: fixed, right, balanced, and without a short cut to the answer."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from trainables.data.items import Item, data_hash
from trainables.data.lab.questions import QUESTIONS_PER_STEPS
from trainables.data.tasks.questions.micro import load_micro

GOLDEN_HASH = "efca5fe8b09156864b6a57440d1fda6be03dcc5e85f2098e3a4effb815e617eb"
SHALLOW_LIMIT = 0.31
"""Chance is 0.25; with 3,264 items three standard errors are 0.02, and a band is allowed for what a
sum of few small numbers gives away."""

GAINS = {"finds", "buys", "wins", "makes", "gets"}
LOSSES = {"loses", "sells", "drops", "uses", "gives"}


def solve(question: str) -> int:
    """The answer, read from the question's text alone; knows nothing of how it was made."""
    owner, start = re.match(
        r"(?:In the \w+, |One day )?(\w+) (?:has|goes to the \w+ with) (\d+)", question
    ).groups()
    total = int(start)
    for sentence in question.split(". ")[1:]:
        subject, verb = [*sentence.split(), ""][:2]
        if subject not in (owner, "He", "She") or verb not in GAINS | LOSSES | {"doubles"}:
            continue
        for clause in sentence.split(" and "):
            words = clause.removeprefix(f"{subject} ").split()
            if words[0] == "doubles":
                total *= 2
            else:
                total += int(words[1].strip(".")) * (1 if words[0] in GAINS else -1)
    return total


def number(choice: str) -> int:
    return int(choice.split()[0])


def numbers(question: str) -> Counter[int]:
    return Counter(int(text) for text in re.findall(r"\d+", question))


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return load_micro()


def test_items_are_the_same_as_ever(items: tuple[Item, ...]) -> None:
    assert data_hash(items) == GOLDEN_HASH


def test_items_do_not_depend_on_the_process() -> None:
    code = (
        "from trainables.data.items import data_hash;"
        "from trainables.data.tasks.questions.micro import load_micro;"
        "import sys; print(data_hash(load_micro()), 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "7", "PATH": ""},
    )  # fmt: skip
    assert run.stdout.split() == [GOLDEN_HASH, "False"]


def test_every_steps_value_has_its_pool_and_its_test_items(items: tuple[Item, ...]) -> None:
    counts = Counter(item.hardness["steps"] for item in items)
    assert counts == {float(steps): QUESTIONS_PER_STEPS for steps in range(1, 7)}
    # A band of two takes 2 x 160 for training, that is 160 of each; 'all' takes no more.
    assert QUESTIONS_PER_STEPS - 160 >= 200


def test_ids_and_questions_are_unique_and_sorted(items: tuple[Item, ...]) -> None:
    ids = [item.id for item in items]
    assert ids == sorted(set(ids))
    assert len({item.question for item in items}) == len(items)


def test_no_problem_comes_twice_under_other_names(items: tuple[Item, ...]) -> None:
    problems = set()
    for item in items:
        assert item.reasoning is not None
        chain = re.sub(r" (to|from) \w+", "", item.reasoning)
        thing = re.search(r"\d+ (\w+(?: \w+)*)\.", item.question)
        assert thing is not None
        problems.add((chain, re.sub(r"s\b", "", thing[1])))
    assert len(problems) == len(items)


def test_the_gold_choice_is_the_answer_and_the_only_one(items: tuple[Item, ...]) -> None:
    for item in items:
        values = [number(choice) for choice in item.choices]
        assert solve(item.question) == values[item.answer], item
        assert len(set(values)) == len(set(item.choices)) == 4, item


def test_the_reasoning_ends_in_the_answer(items: tuple[Item, ...]) -> None:
    for item in items:
        assert item.reasoning is not None
        assert item.reasoning.count(", so ") == item.hardness["steps"]
        assert item.reasoning.endswith(f", so {number(item.choices[item.answer])}.")


def test_grade_is_the_band_of_the_largest_total_and_independent_of_steps(
    items: tuple[Item, ...],
) -> None:
    for item in items:
        assert item.reasoning is not None
        start = int(item.reasoning.split(".")[0].removeprefix("Start with "))
        totals = [start, *(int(text) for text in re.findall(r", so (\d+)\.", item.reasoning))]
        grade = (max(totals) - 1) // 3  # 4-6, 7-9, 10-12, 13-15
        assert item.hardness["grade"] == grade, item
    pairs = Counter((item.hardness["steps"], item.hardness["grade"]) for item in items)
    assert set(pairs.values()) == {QUESTIONS_PER_STEPS // 4}


def test_gold_positions_are_balanced(items: tuple[Item, ...]) -> None:
    counts = Counter(item.answer for item in items)
    assert all(0.22 < counts[place] / len(items) < 0.28 for place in range(4))


def rank_cue(rank: int) -> Callable[[Item, int], float]:
    def cue(item: Item, place: int) -> float:
        values = sorted(number(choice) for choice in item.choices)
        return -abs(values.index(number(item.choices[place])) - rank)

    return cue


CUES: dict[str, Callable[[Item, int], float]] = {
    "longest": lambda item, place: len(item.choices[place]),
    "shortest": lambda item, place: -len(item.choices[place]),
    "in the question most often": lambda item, place: numbers(item.question)[
        number(item.choices[place])
    ],
    "in the question least often": lambda item, place: (
        -numbers(item.question)[number(item.choices[place])]
    ),
    "nearest to the first number": lambda item, place: (
        -abs(number(item.choices[place]) - int(re.findall(r"\d+", item.question)[0]))
    ),
    "nearest to the last number": lambda item, place: (
        -abs(number(item.choices[place]) - int(re.findall(r"\d+", item.question)[-1]))
    ),
    "nearest to six": lambda item, place: -abs(number(item.choices[place]) - 6),
    "closest to the others": lambda item, place: (
        -sum(abs(number(item.choices[place]) - number(other)) for other in item.choices)
    ),
    **{f"number {rank + 1} by size": rank_cue(rank) for rank in range(4)},
}


@pytest.mark.parametrize("name", sorted(CUES))
def test_a_shallow_cue_is_near_chance(items: tuple[Item, ...], name: str) -> None:
    cue, right = CUES[name], 0.0
    for item in items:
        values = [cue(item, place) for place in range(4)]
        best = [place for place in range(4) if values[place] == max(values)]
        right += (item.answer in best) / len(best)
    assert right / len(items) < SHALLOW_LIMIT


def test_other_measures_vary_by_themselves(items: tuple[Item, ...]) -> None:
    steps = [item.hardness["steps"] for item in items]
    words = [len(item.question.split()) for item in items]
    answer_chars = [len(item.choices[item.answer]) for item in items]
    assert 0.3 < statistics.correlation(steps, words) < 0.6
    assert abs(statistics.correlation(steps, answer_chars)) < 0.1


def test_choices_differ_in_length_within_many_items(items: tuple[Item, ...]) -> None:
    mixed = [item for item in items if len({len(c.split()) for c in item.choices}) > 1]
    assert 0.1 < len(mixed) / len(items) < 0.5
