"""Words a problem as a question of the task, with its choices. Never used for pretraining text."""

from __future__ import annotations

from trainables.data.lab.world import ANSWER_FORMS, GRADE_CAPS, NamedRandom, Problem, grade_of

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


def question_text(draw: NamedRandom, problem: Problem) -> str:
    """The problem told in the present tense, facts in between, and the final question."""
    sentences = _step_sentences(draw, problem)
    for fact in problem.facts:
        sentences.insert(draw.integer(0, len(sentences)), (fact, False))
    told = [_opening(draw, problem)]
    interrupted = False
    for sentence, is_step in sentences:
        if is_step:
            subject = problem.owner if interrupted else problem.pronoun.capitalize()
            told.append(f"{subject} {sentence}.")
        else:
            told.append(sentence)
        interrupted = not is_step
    return " ".join((*told, _request(draw, problem)))


def _step_sentences(draw: NamedRandom, problem: Problem) -> list[tuple[str, bool]]:
    sentences: list[tuple[str, bool]] = []
    joined = True  # so the first step is not joined; then at most two steps to a sentence
    for step in problem.steps:
        joined = not joined and draw.chance(JOINED_SHARE)
        if joined:
            sentences[-1] = (f"{sentences[-1][0]} and {step.clause()}", True)
        else:
            sentences.append((step.clause(), True))
    return sentences


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
