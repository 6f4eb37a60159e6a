"""Preferences of the lab: questions, a gold reward of any answer, and pairs of answers under it.

The reward is known by construction: the closer an answer's number is to the right one the better,
and it must name the thing that was asked for. So any text that a policy writes has a true reward,
and a pair's margin, the difference of its two rewards, says how hard it is to tell them apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from trainables.data.lab.questions import ABOVE_CAP, question_text
from trainables.data.lab.world import (
    ANSWER_FORMS,
    FACT_NUMBERS,
    GRADE_CAPS,
    MAX_STEPS,
    NamedRandom,
    Problem,
    Thing,
    draw_problem,
    draw_thing,
)

LARGEST_NUMBER = GRADE_CAPS[-1] + ABOVE_CAP
"""Largest number of an answer in a pair (a count), whatever the question's grade."""

WRONG_THING_COST = 3.0
"""What naming another thing takes off the reward, in counts of distance."""

LOWEST_REWARD = -(LARGEST_NUMBER + WRONG_THING_COST + 1)
"""Reward of a text that begins with no number: below that of every answer."""

MARGINS: dict[str, tuple[int, int]] = {"easy": (7, 19), "medium": (3, 6), "hard": (1, 2)}
"""Margins of each level, both ends included; every question has a pair of each."""

NEAREST = 4
"""Largest distance of a pair's better answer from the right number; it need not be right."""

WRONG_THING_SHARE = 0.2
"""Share of the pairs in which one of the answers names another thing."""

QUESTIONS_PER_STEPS = 256
"""Questions for each number of steps: 4,608 pairs in all."""

_ANSWER = re.compile(r"\s*([0-9]{1,6})(?![0-9,.]*[0-9])([^.,;:\n?!-]*)")
"""A whole number (7.5 and 1,000,000,000 are none) and what follows it in its clause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceQuestion:
    """A question that a policy can answer and whose answers have a gold reward."""

    id: str
    text: str
    problem: Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePair:
    """Two answers to a question, the better one first."""

    question: PreferenceQuestion
    level: str
    """A key of MARGINS."""
    better: str
    worse: str

    @property
    def margin(self) -> float:
        """Difference of the two gold rewards, in counts; above 0."""
        problem = self.question.problem
        return gold_reward(problem, self.better) - gold_reward(problem, self.worse)


def gold_reward(problem: Problem, answer: str) -> float:
    """Returns the true reward of any text as an answer.

    Read is the number at the text's start and the words behind it, up to the first punctuation
    mark or line end. A number alone names nothing wrong; words must be the thing's own, short or
    full, for one or for many.

    Returns:
        Minus the distance from the right number (a count, at most LARGEST_NUMBER), less
        WRONG_THING_COST where other words follow: 0 at best. LOWEST_REWARD without a number.
    """
    match = _ANSWER.match(answer)
    if match is None:
        return LOWEST_REWARD
    distance = min(abs(int(match[1]) - problem.answer), LARGEST_NUMBER)
    words = " ".join(match[2].split())
    is_right_thing = words in ("", *problem.thing.short, *problem.thing.full)
    return -float(distance) - (0.0 if is_right_thing else WRONG_THING_COST)


def answer_in(text: str) -> str:
    """Returns the answer that a generated text begins with: its first clause, trimmed."""
    return re.split(r"[.,;:\n?!-]", text, maxsplit=1)[0].strip()


@cache
def preference_questions() -> tuple[PreferenceQuestion, ...]:
    """The questions, sorted by id: QUESTIONS_PER_STEPS for each number of steps, always the same.

    They are drawn apart from those of task `micro`; all grades are equally frequent.
    """
    questions: list[PreferenceQuestion] = []
    for num_steps in range(1, MAX_STEPS + 1):
        draw = NamedRandom("preference questions", num_steps)
        for number in range(QUESTIONS_PER_STEPS):
            grade = 1 + number % len(GRADE_CAPS)
            problem = draw_problem(draw, num_steps, grade, draw.pick(FACT_NUMBERS))
            text = question_text(draw, problem)
            id_ = f"preference-{num_steps}-{number:03d}"
            questions.append(PreferenceQuestion(id=id_, text=text, problem=problem))
    return tuple(questions)


@cache
def preference_pairs() -> tuple[PreferencePair, ...]:
    """A pair of each level for every question, always the same.

    Within a level, of the pairs with numbers a and b as many have a as the better answer as have b
    (to within one where the draws allow it): the numbers alone do not tell which is better.
    """
    draw = NamedRandom("preference pairs")
    balance: Counter[tuple[str, int, int]] = Counter()
    pairs = []
    for question in draw.shuffled(preference_questions()):
        for level in MARGINS:
            pairs.append(_draw_pair(draw, question, level, balance))
    return tuple(sorted(pairs, key=lambda pair: (pair.question.id, pair.level)))


def _draw_pair(
    draw: NamedRandom,
    question: PreferenceQuestion,
    level: str,
    balance: Counter[tuple[str, int, int]],
) -> PreferencePair:
    """Draws among the pairs whose numbers were seldom this way round so far; counts the drawn."""
    thing = question.problem.thing
    other, costs = thing, [(0, 0)]
    form = draw.pick(ANSWER_FORMS)
    if draw.chance(WRONG_THING_SHARE):
        other, costs = _other_thing(draw, thing), [(0, 1), (1, 0)]
        form = draw.pick(ANSWER_FORMS[1:])
    possible = list(_number_pairs(question.problem.answer, MARGINS[level], costs))
    lead = [
        balance[level, better, worse] - balance[level, worse, better]
        for better, worse, _ in possible
    ]
    seldom = [pair for pair, count in zip(possible, lead, strict=True) if count == min(lead)]
    better, worse, (better_wrong, worse_wrong) = draw.pick(seldom)
    balance[level, better, worse] += 1
    return PreferencePair(
        question=question,
        level=level,
        better=(other if better_wrong else thing).quantity(better, form),
        worse=(other if worse_wrong else thing).quantity(worse, form),
    )


def _other_thing(draw: NamedRandom, thing: Thing) -> Thing:
    """A thing with another short name: another colour alone would be right in the short form."""
    while True:
        other = draw_thing(draw)
        if other.short != thing.short:
            return other


def _number_pairs(
    right: int, margins: tuple[int, int], costs: list[tuple[int, int]]
) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yields better number, worse number, and which of the two answers names another thing."""
    low, high = margins
    for cost in costs:
        for better in range(max(0, right - NEAREST), min(LARGEST_NUMBER, right + NEAREST) + 1):
            for worse in range(LARGEST_NUMBER + 1):
                margin = abs(worse - right) - abs(better - right)
                margin += int(WRONG_THING_COST) * (cost[1] - cost[0])
                if low <= margin <= high:
                    yield better, worse, cost
