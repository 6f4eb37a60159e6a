"""The questions of task `micro`: a problem in words, with four choices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from trainables.data.lab.world import (
    ANSWER_FORMS,
    FACT_NUMBERS,
    GRADE_CAPS,
    MAX_STEPS,
    NamedRandom,
    Problem,
    draw_problem,
    grade_of,
)

QUESTIONS_PER_STEPS = 544
"""Questions for each number of steps: 2 x 160 for the pool, and over 200 for the test."""

NUM_CHOICES = 4
MIXED_SHARE = 0.3
"""Share of the items whose choices differ in form: each choice, right or wrong, then draws `short`
or `full` for itself, so that answer length differs within an item and says nothing."""

FARTHEST = 5
"""Largest distance of a wrong number from the right one."""

ABOVE_CAP = 1
"""How far a wrong number may be above the cap of the problem's grade: with 0 the largest choice is
right too often, without a limit too seldom."""

JOINED_SHARE = 0.3
"""Share of the steps told in one sentence with the step before: `He finds 3 and loses 2.`"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskQuestion:
    """A question of the task."""

    id: str
    problem: Problem
    grade: int
    text: str
    choices: tuple[str, ...]
    answer: int
    """Place of the right choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A sentence of a question, with its full stop."""

    text: str
    total: int | None = None
    """The owner's total after it (a count); None where the sentence tells no step."""


@cache
def task_questions() -> tuple[TaskQuestion, ...]:
    """The questions, sorted by id: QUESTIONS_PER_STEPS for each number of steps, always the same.

    No two have the same problem. All grades are equally frequent.
    """
    questions: list[TaskQuestion] = []
    seen: set[tuple[object, ...]] = set()
    for num_steps in range(1, MAX_STEPS + 1):
        draw = NamedRandom("task micro", num_steps)
        kept = 0
        while kept < QUESTIONS_PER_STEPS:
            grade = 1 + kept % len(GRADE_CAPS)
            problem = draw_problem(draw, num_steps, grade, draw.pick(FACT_NUMBERS))
            if problem.identity in seen:
                continue
            seen.add(problem.identity)
            choices, answer = choice_texts(draw, problem)
            questions.append(
                TaskQuestion(
                    id=f"micro-{num_steps}-{kept:03d}",
                    problem=problem,
                    grade=grade,
                    text=question_text(draw, problem),
                    choices=choices,
                    answer=answer,
                )
            )
            kept += 1
    return tuple(questions)


def question_text(draw: NamedRandom, problem: Problem) -> str:
    """The problem told in the present tense, facts in between, and the final question."""
    return " ".join(sentence.text for sentence in question_sentences(draw, problem))


def question_sentences(draw: NamedRandom, problem: Problem) -> list[Sentence]:
    """The sentences of a question: opening, steps and facts, and what is asked."""
    clauses: list[tuple[str, int | None]] = [*_step_clauses(draw, problem)]
    for fact in problem.facts:
        clauses.insert(draw.integer(0, len(clauses)), (fact, None))
    sentences = [Sentence(text=_opening(draw, problem))]
    interrupted = False
    for clause, total in clauses:
        subject = problem.owner if interrupted else problem.pronoun.capitalize()
        text = clause if total is None else f"{subject} {clause}."
        sentences.append(Sentence(text=text, total=total))
        interrupted = total is None
    return [*sentences, Sentence(text=_request(draw, problem))]


def _step_clauses(draw: NamedRandom, problem: Problem) -> list[tuple[str, int]]:
    """What each sentence tells, of one step or two, and the total after it."""
    clauses: list[tuple[str, int]] = []
    joined = True  # so the first step is not joined; then at most two steps to a sentence
    for step in problem.steps:
        joined = not joined and draw.chance(JOINED_SHARE)
        if joined:
            clauses[-1] = (f"{clauses[-1][0]} and {step.clause()}", step.total)
        else:
            clauses.append((step.clause(), step.total))
    return clauses


def _opening(draw: NamedRandom, problem: Problem) -> str:
    held = problem.thing.quantity(problem.start, "full")
    return draw.pick(
        (
            f"{problem.owner} has {held}.",
            f"{problem.owner} has {held}.",
            f"In the {problem.place}, {problem.owner} has {held}.",
            f"One day {problem.owner} goes to the {problem.place} with {held}.",
        )
    )


def _request(draw: NamedRandom, problem: Problem) -> str:
    full, short = problem.thing.full[1], problem.thing.short[1]
    return draw.pick(
        (
            f"How many {full} does {problem.owner} have now?",
            f"How many {short} are left for {problem.owner}?",
            f"What does {problem.owner} have now?",
            f"How many does {problem.owner} have at the end of the day?",
        )
    )


def choice_texts(draw: NamedRandom, problem: Problem) -> tuple[tuple[str, ...], int]:
    """Four distinct choices and the place of the right one (0 to 3).

    The right number's rank among the four is drawn first, so that it is no more often in the
    middle than at an end; no choice is above the cap of the problem's grade, so none is too large.
    """
    numbers = _choice_numbers(draw, problem)
    forms = [draw.pick(ANSWER_FORMS)] * NUM_CHOICES
    if draw.chance(MIXED_SHARE):
        forms = [draw.pick(ANSWER_FORMS[1:]) for _ in numbers]
    texts = [problem.thing.quantity(n, form) for n, form in zip(numbers, forms, strict=True)]
    order = draw.shuffled(range(NUM_CHOICES))
    return tuple(texts[place] for place in order), order.index(0)


def _choice_numbers(draw: NamedRandom, problem: Problem) -> list[int]:
    """The answer first, then three wrong numbers within the problem's grade."""
    answer, num_wrong = problem.answer, NUM_CHOICES - 1
    cap = GRADE_CAPS[grade_of(problem.totals) - 1] + ABOVE_CAP
    num_below = draw.integer(max(0, num_wrong - (cap - answer)), min(num_wrong, answer))
    likely = [n for n in _likely_mistakes(problem) if 0 <= n <= cap and abs(n - answer) <= FARTHEST]
    others = [n for n in range(cap + 1) if abs(n - answer) <= FARTHEST and n not in likely]
    ordered = (*draw.shuffled(likely), *draw.shuffled(others))
    below = [number for number in ordered if number < answer]
    above = [number for number in ordered if number > answer]
    return [answer, *below[:num_below], *above[: num_wrong - num_below]]


def _likely_mistakes(problem: Problem) -> list[int]:
    """Totals on the way, a step forgotten, or the last step taken the wrong way round."""
    answer, before = problem.answer, problem.totals[-2]
    first_change = problem.steps[0].total - problem.start
    mistakes = {*problem.totals, 2 * before - answer, answer - first_change}
    return sorted(mistakes - {answer})
