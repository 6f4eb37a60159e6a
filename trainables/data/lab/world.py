"""The lab's world: small problems about things that are gained, lost, passed on or doubled.

A problem is pure data: an owner, a thing, a start and a chain of 1 to 6 steps, with facts that
change nothing. How it is worded is not decided here: `questions` words it for the task,
`documents` for the pretraining text, in other forms. No torch and no global random state; every
draw uses only `random.Random.random()`, which is stable over Python versions.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

MAX_STEPS = 6
"""Longest chain of a problem, in steps."""

GRADE_CAPS: tuple[int, ...] = (6, 9, 12, 15)
"""Largest total of grades 1, 2, 3, 4 (a count). See `grade_of`."""

MAX_AMOUNT = 5
"""Largest amount that one step adds or takes (a count): small, so that a total depends on the
whole chain and not on its last step alone."""

FACT_NUMBERS: tuple[int, ...] = (0, 0, 1, 2, 3, 3)
"""Sentences of a question that change nothing: each number of them equally likely. They vary the
length of a question by themselves; few or many, so that they vary it as much as the steps do."""

DOUBLE_SHARE = 0.1
"""Share of the steps that double the total, where the grade's cap leaves room for it."""

PEOPLE: tuple[tuple[str, str], ...] = (
    ("Tom", "he"), ("Ann", "she"), ("Ben", "he"), ("Mia", "she"),
    ("Sam", "he"), ("Eva", "she"), ("Max", "he"), ("Lea", "she"),
)  # fmt: skip
PLACES: tuple[str, ...] = ("park", "shop", "farm", "school")
COLOURS: tuple[str, ...] = ("red", "blue", "green")
COUNT_NOUNS: tuple[str, ...] = ("apple", "coin", "marble", "kite")
MEASURED: tuple[tuple[str, str, str], ...] = (
    ("cup", "cups", "tea"),
    ("bag", "bags", "rice"),
    ("jar", "jars", "jam"),
    ("cm", "cm", "rope"),
    ("kg", "kg", "corn"),
)
"""Unit for one, unit for many, and what is measured."""

GAINS: tuple[str, ...] = ("finds", "buys", "wins", "makes", "gets")
LOSSES: tuple[str, ...] = ("loses", "sells", "drops", "uses", "gives")
ANSWER_FORMS: tuple[str, ...] = ("bare", "short", "full")
"""How a quantity is written: `7`; `7 marbles` or `7 cm`; `7 red marbles` or `7 cm of rope`."""


class NamedRandom:
    """A source of random choices that is named, and the same on every Python from 3.11 on."""

    def __init__(self, *names: str | int) -> None:
        """Start the source from its names, for example `Draw("items", 3)`."""
        digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big"))

    def chance(self, share: float) -> bool:
        """True in `share` of the draws."""
        return self._random.random() < share

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, values: Sequence[T]) -> T:
        """One of the values, each equally likely."""
        return values[self.integer(0, len(values) - 1)]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """The values in a random order."""
        keyed = sorted((self._random.random(), place) for place in range(len(values)))
        return [values[place] for _, place in keyed]


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """What is counted, in the words for one and for many of it."""

    short: tuple[str, str]
    """For one and for many: `("marble", "marbles")`, `("cm", "cm")`."""
    full: tuple[str, str]
    """The same with its colour or material: `("red marble", "red marbles")`."""

    def quantity(self, number: int, form: str) -> str:
        """The number written in an answer form: `7`, `7 marbles`, `7 red marbles`."""
        if form == "bare":
            return str(number)
        one, many = self.short if form == "short" else self.full
        return f"{number} {one if number == 1 else many}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One change of the owner's total."""

    verb: str
    """One of GAINS or LOSSES, or `doubles`."""
    amount: int
    """What is added or taken (a count); 0 when the total is doubled."""
    partner: str | None
    """Who gives or gets, for the verbs `gets` and `gives`."""
    total: int
    """The owner's total after this step (a count)."""

    def clause(self) -> str:
        """The step without its subject: `finds 3`, `gives 2 to Ann`, `doubles them`."""
        if self.verb == "doubles":
            return "doubles them"
        tail = {"gets": f" from {self.partner}", "gives": f" to {self.partner}"}
        return f"{self.verb} {self.amount}{tail.get(self.verb, '')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A chain of steps on one owner's total; the answer is the last total."""

    owner: str
    pronoun: str
    """`he` or `she`."""
    place: str
    thing: Thing
    start: int
    """The total before the first step (a count)."""
    steps: tuple[Step, ...]
    facts: tuple[str, ...]
    """Sentences that change nothing."""

    @property
    def answer(self) -> int:
        """The total after the last step (a count)."""
        return self.steps[-1].total

    @property
    def totals(self) -> tuple[int, ...]:
        """The start and the total after every step."""
        return (self.start, *(step.total for step in self.steps))

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two problems the same, whatever their names, facts and wording."""
        chain = tuple((step.verb, step.amount) for step in self.steps)
        return self.thing.full, self.start, chain


def grade_of(totals: Sequence[int]) -> int:
    """The number-size band, 1 to 4, of the largest total on the way, the start included.

    4 to 6 is grade 1, 7 to 9 grade 2, 10 to 12 grade 3, 13 to 15 grade 4. It is drawn apart from
    the number of steps, so it says nothing about it.

    Raises:
        ValueError: If the largest total is in no band.
    """
    largest = max(totals)
    for grade, cap in enumerate(GRADE_CAPS, start=1):
        if cap - 3 < largest <= cap:
            return grade
    raise ValueError(f"the largest total must be 4 to {GRADE_CAPS[-1]}, got {largest}")


def draw_problem(draw: NamedRandom, num_steps: int, grade: int, num_facts: int) -> Problem:
    """A problem with the given number of steps and grade, and at most `num_facts` facts.

    Raises:
        ValueError: If num_steps or grade is out of range.
    """
    if not 1 <= num_steps <= MAX_STEPS:
        raise ValueError(f"num_steps must be 1 to {MAX_STEPS}, got {num_steps}")
    if not 1 <= grade <= len(GRADE_CAPS):
        raise ValueError(f"grade must be 1 to {len(GRADE_CAPS)}, got {grade}")
    people = draw.shuffled(PEOPLE)
    (owner, pronoun), partner, other = people[0], people[1][0], people[2][0]
    thing = draw_thing(draw)
    while True:
        start = draw.integer(1, GRADE_CAPS[grade - 1])
        steps = _draw_steps(draw, start, num_steps, GRADE_CAPS[grade - 1], partner)
        largest = max(start, *(step.total for step in steps))
        if largest > GRADE_CAPS[grade - 1] - 3:
            break
    facts = dict.fromkeys(_draw_fact(draw, other, thing) for _ in range(num_facts))
    return Problem(
        owner=owner, pronoun=pronoun, place=draw.pick(PLACES), thing=thing, start=start,
        steps=steps, facts=tuple(facts),
    )  # fmt: skip


def draw_thing(draw: NamedRandom) -> Thing:
    """A thing of the world, measured or counted equally often."""
    if draw.chance(0.5):
        one, many, material = draw.pick(MEASURED)
        return Thing(short=(one, many), full=(f"{one} of {material}", f"{many} of {material}"))
    noun, colour = draw.pick(COUNT_NOUNS), draw.pick(COLOURS)
    return Thing(short=(noun, f"{noun}s"), full=(f"{colour} {noun}", f"{colour} {noun}s"))


def _draw_steps(
    draw: NamedRandom, start: int, num_steps: int, cap: int, partner: str
) -> tuple[Step, ...]:
    steps: list[Step] = []
    total = start
    for _ in range(num_steps):
        if 0 < 2 * total <= cap and draw.chance(DOUBLE_SHARE):
            total *= 2
            steps.append(Step(verb="doubles", amount=0, partner=None, total=total))
            continue
        gains = total == 0 or (total < cap and draw.chance(0.5))
        amount = draw.integer(1, min(MAX_AMOUNT, cap - total if gains else total))
        total += amount if gains else -amount
        verb = draw.pick(GAINS if gains else LOSSES)
        named = partner if verb in ("gets", "gives") else None
        steps.append(Step(verb=verb, amount=amount, partner=named, total=total))
    return tuple(steps)


def _draw_fact(draw: NamedRandom, other: str, thing: Thing) -> str:
    number = draw.integer(0, GRADE_CAPS[-1])
    place = draw.pick(PLACES)
    return draw.pick(
        (
            f"{other} has {thing.quantity(number, 'short')} at home.",
            f"{other} is {draw.integer(5, 15)} years old.",
            f"The {place} opens at {draw.integer(6, 12)}.",
            f"It is a sunny day in the {place}.",
            f"{other} likes {draw.pick(COLOURS)} {draw.pick(COUNT_NOUNS)}s very much.",
            f"There are {draw.integer(2, 15)} people at the {place}.",
        )
    )
