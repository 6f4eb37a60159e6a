"""The lab's gold reward and its pairs: true by construction, graded, and without a short cut."""

from __future__ import annotations

from collections import Counter

import pytest

from trainables.data.lab.preferences import (
    LOWEST_REWARD,
    MARGINS,
    QUESTIONS_PER_STEPS,
    PreferencePair,
    answer_in,
    gold_reward,
    preference_pairs,
    preference_questions,
)
from trainables.data.lab.world import Problem, Step, Thing
from trainables.data.tasks.questions.micro import load_micro


def number(answer: str) -> int:
    return int(answer.split()[0])


@pytest.fixture(scope="module")
def problem() -> Problem:
    thing = Thing(short=("kite", "kites"), full=("red kite", "red kites"))
    step = Step(verb="finds", amount=3, partner=None, total=7)
    return Problem(
        owner="Tom", pronoun="he", place="park", thing=thing, start=4, steps=(step,), facts=()
    )


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("7", 0), (" 7", 0), ("7 kites", 0), ("7 red kites", 0), ("7  red\tkites.", 0),
        ("7 kite", 0), ("5 kites", -2), ("9", -2), ("7 kites, so there", 0), ("7\nThen", 0),
        ("7 blue kites", -3), ("7 cups of tea", -3), ("6 coins", -4), ("7 kites to begin", -3),
        ("7 10 kites", -3), ("0", -7), ("999999", -16), ("99 cups", -19),
        ("", -20), ("kites", -20), ("now is 7", -20), ("7.5", -20), ("1,000,000", -20),
        ("7" * 5000, -20), ("-7", -20), ("\u00b2", -20),
    ],
)  # fmt: skip
def test_the_reward_is_distance_and_thing(problem: Problem, answer: str, reward: float) -> None:
    assert gold_reward(problem, answer) == reward


def test_no_answer_is_worth_less_than_the_worst_answer(problem: Problem) -> None:
    worst = gold_reward(problem, "999 cups of tea")
    assert worst > LOWEST_REWARD == gold_reward(problem, "no idea")


@pytest.mark.parametrize(
    ("text", "answer"),
    [(" 7 kites. He", "7 kites"), (" 7 kites\nTom", "7 kites"), (" 7: now", "7"), (".", "")],
)
def test_the_answer_in_a_text_is_its_first_clause(text: str, answer: str) -> None:
    assert answer_in(text) == answer


def test_an_answer_is_worth_what_the_text_it_stands_in_is(problem: Problem) -> None:
    for text in (" 7 kites. He", " 6 cups of tea, so", " now 3", " 12; 3"):
        assert gold_reward(problem, answer_in(text)) == gold_reward(problem, text)


def test_questions_are_new_balanced_and_have_ids_of_their_own() -> None:
    questions = preference_questions()
    assert [question.id for question in questions] == sorted({q.id for q in questions})
    assert len({question.text for question in questions}) == len(questions)
    steps = Counter(len(question.problem.steps) for question in questions)
    assert steps == dict.fromkeys(range(1, 7), QUESTIONS_PER_STEPS)
    shared = {item.question for item in load_micro()} & {q.text for q in questions}
    assert len(shared) < 0.05 * len(questions)


@pytest.fixture(scope="module")
def pairs() -> tuple[PreferencePair, ...]:
    return preference_pairs()


def test_every_question_has_a_pair_of_each_level_with_its_margin(
    pairs: tuple[PreferencePair, ...],
) -> None:
    assert len({(pair.question.id, pair.level) for pair in pairs}) == len(pairs)
    assert len(pairs) == len(MARGINS) * len(preference_questions())
    for pair in pairs:
        problem, (low, high) = pair.question.problem, MARGINS[pair.level]
        margin = gold_reward(problem, pair.better) - gold_reward(problem, pair.worse)
        assert pair.margin == margin
        assert low <= margin <= high
        assert pair.better != pair.worse


def test_some_pairs_have_an_answer_about_another_thing(pairs: tuple[PreferencePair, ...]) -> None:
    def is_wrong(pair: PreferencePair, answer: str) -> bool:
        distance = abs(number(answer) - pair.question.problem.answer)
        return gold_reward(pair.question.problem, answer) < -distance

    wrong = Counter((is_wrong(pair, pair.better), is_wrong(pair, pair.worse)) for pair in pairs)
    assert wrong[True, True] == 0
    assert 0.17 < (wrong[True, False] + wrong[False, True]) / len(pairs) < 0.23
    assert min(wrong[True, False], wrong[False, True]) > 0.02 * len(pairs)


def share_right(pairs: list[PreferencePair], cue: object) -> float:
    right = 0.0
    for pair in pairs:
        better, worse = cue(pair.better), cue(pair.worse)  # type: ignore[operator]
        right += 0.5 if better == worse else float(better > worse)
    return right / len(pairs)


CUES = {
    "smaller number": lambda answer: -number(answer),
    "nearer to six": lambda answer: -abs(number(answer) - 6),
    "nearer to eight": lambda answer: -abs(number(answer) - 8),
    "longer text": len,
}


@pytest.mark.parametrize("level", list(MARGINS))
@pytest.mark.parametrize("name", list(CUES))
def test_the_answers_alone_do_not_tell_which_is_better(
    pairs: tuple[PreferencePair, ...], level: str, name: str
) -> None:
    of_level = [pair for pair in pairs if pair.level == level]
    # 1,536 pairs: three standard errors are 0.04; extreme numbers are seldom better than others.
    assert abs(share_right(of_level, CUES[name]) - 0.5) < 0.06
