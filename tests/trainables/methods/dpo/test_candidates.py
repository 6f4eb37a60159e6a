"""Pairs of a policy's answers and their labels: nothing of the gold answer is in a candidate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trainables.data.items import Item
from trainables.data.lab.preferences import PreferenceQuestion, gold_reward, preference_questions
from trainables.methods.dpo.candidates import candidate_pairs, gold_preference, label_pairs

QUESTIONS = preference_questions()[:40]


def texts_of(question: PreferenceQuestion) -> tuple[str, ...]:
    right = question.problem.answer
    return (f" {right}. Then", f" {right}\nTom", f" {right + 2}, so", f" {right + 5};")


TEXTS = {question.id: texts_of(question) for question in QUESTIONS}


def test_the_first_two_different_answers_are_the_pair() -> None:
    items = candidate_pairs(QUESTIONS, TEXTS)
    assert [item.id for item in items] == [question.id for question in QUESTIONS]
    for item, question in zip(items, QUESTIONS, strict=True):
        right = question.problem.answer
        assert set(item.choices) == {str(right), str(right + 2)}
        assert item.question == question.text
        assert item.group


def test_a_candidate_says_nothing_of_which_is_better() -> None:
    forwards = candidate_pairs(QUESTIONS, TEXTS)
    backwards = candidate_pairs(QUESTIONS, {id_: texts[::-1][1:3] for id_, texts in TEXTS.items()})
    assert forwards == backwards
    assert {item.answer for item in forwards} == {0}
    first_is_right = [
        item.choices[0] == str(question.problem.answer)
        for item, question in zip(forwards, QUESTIONS, strict=True)
    ]
    assert 0.2 < sum(first_is_right) / len(first_is_right) < 0.8


def test_questions_without_two_answers_have_no_pair() -> None:
    texts = {**TEXTS, QUESTIONS[0].id: (" 3.", " 3 ", " . 4"), QUESTIONS[1].id: ("", "!")}
    items = candidate_pairs(QUESTIONS, texts)
    assert [item.id for item in items] == [question.id for question in QUESTIONS[2:]]


def test_pairs_are_ordered_by_the_scorer_and_ties_left_out() -> None:
    items = candidate_pairs(QUESTIONS[:3], TEXTS)
    labelled = label_pairs(items, lambda pairs: [0.51, 0.5, 0.0])
    assert [(pair.id, pair.chosen, pair.rejected) for pair in labelled] == [
        (items[0].id, *items[0].choices),
        (items[2].id, *items[2].choices[::-1]),
    ]


def test_the_gold_scorer_prefers_the_higher_reward() -> None:
    items = candidate_pairs(QUESTIONS, TEXTS)
    labelled = label_pairs(items, gold_preference(QUESTIONS))
    assert len(labelled) == len(QUESTIONS)
    for pair, question in zip(labelled, QUESTIONS, strict=True):
        chosen, rejected = (
            gold_reward(question.problem, text) for text in (pair.chosen, pair.rejected)
        )
        assert (chosen, rejected) == (0, -2)
    right = QUESTIONS[0].problem.answer
    tie = Item(id=QUESTIONS[0].id, question="", choices=(str(right + 1), f"0{right + 1}"), answer=0)
    assert gold_preference(QUESTIONS)([tie]) == [0.5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.2], "returned 1 probabilities for 2 pairs"),
        ([0.2, 1.1], "1.1 is not a probability"),
        ([float("nan"), 1.0], "nan is not a probability"),
    ],
)
def test_a_scorer_that_gives_no_probabilities_is_refused(
    given: Sequence[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        label_pairs(candidate_pairs(QUESTIONS[:2], TEXTS), lambda pairs: given)
