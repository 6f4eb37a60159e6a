"""The pretraining text: episodes of questions in the task's wording, with answers.

All answers of an episode state the same total of their chain: the final one, the start, the one
before the last step or the one after the second step. A line at the top may name this rule. Where
it does not, as in the task's prompts, a question alone does not tell which total is meant: that is
what labels teach. How well a model follows the rule on long chains is its skill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from trainables.data.lab.preferences import preference_questions
from trainables.data.lab.questions import Sentence, question_sentences, task_questions
from trainables.data.lab.world import (
    ANSWER_FORMS,
    FACT_NUMBERS,
    GRADE_CAPS,
    MAX_STEPS,
    NamedRandom,
    Problem,
    draw_problem,
)

RULES: Mapping[str, str] = MappingProxyType(
    {
        "final": "Count at the end:",
        "start": "Count at the start:",
        "before last": "Count before the last step:",
        "second": "Count after two steps:",
    }
)
"""Rule -> the line that names it. The task's answers are final totals. With 1 or 2 steps, `second`
is the final total too."""

RULE_ODDS: tuple[str, ...] = (*(5 * tuple(RULES)), "final")
"""An episode draws its rule from these. The task's rule is slightly more frequent than the others:
with equal odds chance would decide which rule a base model prefers, and at twice the odds a skilled
model would follow it without labels."""

EARLY_NAMED, LATE_NAMED = 1.0, 0.5
"""Share of the episodes whose first line names the rule."""

EARLY_SHARES: tuple[float, ...] = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.0)
"""Share of the sentences after which the running total is stated; an episode draws one of these."""

FACTS_SHARE = 0.7
"""Share of the episodes whose problems have sentences that change nothing."""

LATE_SHARES: tuple[float, ...] = (0.5, 0.25, 0.0, 0.0, 0.0, 0.0)

STEP_RANGES: tuple[tuple[int, int], ...] = ((1, MAX_STEPS), (1, MAX_STEPS), (1, 3), (4, MAX_STEPS))
"""Fewest and most steps of an episode's problems; an episode draws one range."""

CHARACTERS_PER_TOKEN = 4
"""An upper limit of the mean, so that an episode fills its context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """Pretraining text and where the computed numbers stand in it."""

    text: str
    results: tuple[tuple[int, int], ...]
    """Start and end of each stated total, in characters of `text`; answers included."""


def total_asked(problem: Problem, rule: str) -> int:
    """Returns the total that an answer states under a rule (a key of RULES)."""
    totals = problem.totals
    places = {"final": -1, "start": 0, "before last": -2, "second": min(2, len(totals) - 1)}
    return totals[places[rule]]


def draw_episode(draw: NamedRandom, num_tokens: int, early: bool) -> Episode:
    """Draws an episode of at least `num_tokens` tokens.

    Args:
        draw: The source of all choices.
        num_tokens: Length of the context that the episode fills.
        early: Whether the rule is always named, and many totals are stated on the way.
    """
    rule = draw.pick(RULE_ODDS)
    stated = draw.pick(EARLY_SHARES if early else LATE_SHARES)
    form, steps = draw.pick(ANSWER_FORMS), draw.pick(STEP_RANGES)
    facts = draw.chance(FACTS_SHARE)
    text = _Text()
    if draw.chance(EARLY_NAMED if early else LATE_NAMED):
        text.add(f"{RULES[rule]}\n\n")
    while text.length < num_tokens * CHARACTERS_PER_TOKEN:
        num_facts = draw.pick(FACT_NUMBERS) if facts else 0
        problem = _draw_unseen(draw, draw.integer(*steps), num_facts)
        for sentence in question_sentences(draw, problem):
            text.add_sentence(sentence, draw.chance(stated))
        text.add("\nAnswer: ")
        text.add_result(problem.thing.quantity(total_asked(problem, rule), form))
        text.add("\n\n")
    return Episode(text="".join(text.parts), results=tuple(text.results))


@dataclass(slots=True)
class _Text:
    """Text that grows, and where the computed numbers stand in it."""

    parts: list[str] = field(default_factory=list)
    results: list[tuple[int, int]] = field(default_factory=list)
    length: int = 0

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)

    def add_result(self, quantity: str) -> None:
        self.results.append((self.length, self.length + len(quantity)))
        self.add(quantity)

    def add_sentence(self, sentence: Sentence, state_total: bool) -> None:
        if self.parts and not self.parts[-1].endswith("\n"):
            self.add(" ")
        if sentence.total is None or not state_total:
            return self.add(sentence.text)
        self.add(f"{sentence.text[:-1]}, so ")
        self.add_result(str(sentence.total))
        self.add(".")


def _draw_unseen(draw: NamedRandom, num_steps: int, num_facts: int) -> Problem:
    """Draws a problem that no question of the lab's tasks has."""
    while True:
        problem = draw_problem(draw, num_steps, draw.integer(1, len(GRADE_CAPS)), num_facts)
        if problem.identity not in _problems_of_tasks():
            return problem


@cache
def _problems_of_tasks() -> frozenset[tuple[object, ...]]:
    asked = [question.problem for question in task_questions()]
    asked += [question.problem for question in preference_questions()]
    return frozenset(problem.identity for problem in asked)
