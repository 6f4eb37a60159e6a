"""The pretraining text: sheets of problems told in other forms than the task's questions.

A sheet holds several problems in one style, so that a context shows the same form again and
again. Worked sheets state the total after each step, direct ones only the last. No sheet asks a
question: there is no question mark, no `Question:` and no `Answer:` in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.data.lab.world import (
    ANSWER_FORMS,
    GRADE_CAPS,
    MAX_STEPS,
    NamedRandom,
    Problem,
    draw_problem,
)

WORKED_SHARES: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25, 0.0, 0.0)
"""Share of the steps whose total is stated; a sheet draws one of these."""

DIRECT_SHARES: tuple[float, ...] = (0.5, 0.25, 0.0, 0.0, 0.0, 0.0)
"""The same for late pretraining, when single steps are known and whole chains are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Pretraining text and where the computed numbers stand in it."""

    text: str
    results: tuple[tuple[int, int], ...]
    """Start and end of each stated total, in characters of `text`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Style:
    frame: tuple[str, str, str, str]
    ending: tuple[str, str]
    form: str
    worked: float
    facts: bool
    joined: float
    """Share of the steps told together with the step before."""


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.results: list[tuple[int, int]] = []
        self.length = 0

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)

    def add_result(self, before: str, quantity: str, after: str) -> None:
        self.add(before)
        self.results.append((self.length, self.length + len(quantity)))
        self.add(quantity + after)


# opening, before a clause, before a stated total, after a clause
_FRAMES: tuple[tuple[str, str, str, str], ...] = (
    ("{owner} starts with {held}.", " Then {owner} {clause}", ", so", "."),
    ("{owner} owns {held};", " {clause}", ", that makes", ";"),
    ("{place} list of {owner}: {held}", ", {clause}", " =", ""),
    ("- {owner} begins with {held}\n", "- {pronoun} {clause}", " ->", "\n"),
    ("At first {owner} keeps {held}.", " Next {pronoun} {clause}", ", which gives", "."),
    ("In the {place} {owner} holds {held}:", " {pronoun} {clause}", " to reach", ","),
)

_ENDINGS: tuple[tuple[str, str], ...] = (
    (" In the end {owner} holds", "."),
    (" Total:", "."),
    (" So {owner} ends with", "."),
    (" Result =", ""),
    (" This leaves", " for {owner}."),
    (" The sum of it all is", "."),
    (" At last there are", "."),
    (" And the answer to how many is", "."),
)


# Late pretraining adds forms with more of the words that questions are made of.
_LATE_FRAMES: tuple[tuple[str, str, str, str], ...] = (
    *_FRAMES,
    ("{owner} has {held} to begin with.", " {Pronoun} {clause}", ", so now", "."),
    ("{owner} has {held}:", " {Pronoun} {clause}", ", so", "."),
    ("{owner} has {held};", " {owner} {clause}", ", so", "."),
    ("One day {owner} goes out with {held}.", " {Pronoun} {clause}", ", now", "."),
    ("In the {place}, {owner} has {held} -", " {Pronoun} {clause}", ", so now", "."),
)

_LATE_ENDINGS: tuple[tuple[str, str], ...] = (
    *_ENDINGS,
    (" What {owner} does have now is", "."),
    (" How many are left for {owner} at the end of the day is", "."),
    (" See how many {full} {owner} does have now.\nTotal:", ""),
    (" We count how many {short} are left for {owner}.\nLeft:", ""),
    (" What does it all come to for {owner} at the end of the day.\nResult:", ""),
)


def draw_sheet(draw: NamedRandom, num_problems: int, late: bool = False) -> Sheet:
    """A sheet of `num_problems` problems in one drawn style.

    Args:
        draw: Where all choices come from.
        num_problems: Problems on the sheet.
        late: Whether it is for late pretraining: more forms, fewer totals on the way.
    """
    style = _Style(
        frame=draw.pick(_LATE_FRAMES if late else _FRAMES),
        ending=draw.pick(_LATE_ENDINGS if late else _ENDINGS),
        form=draw.pick(ANSWER_FORMS),
        worked=draw.pick(DIRECT_SHARES if late else WORKED_SHARES),
        facts=draw.chance(0.5),
        joined=draw.pick((0.0, 0.3)) if late else 0.0,
    )
    writer = _Writer()
    for _ in range(num_problems):
        num_facts = draw.integer(0, 3) if style.facts else 0
        problem = draw_problem(
            draw, draw.integer(1, MAX_STEPS), draw.integer(1, len(GRADE_CAPS)), num_facts
        )
        _write(writer, draw, problem, style)
    return Sheet(text="".join(writer.parts), results=tuple(writer.results))


def _write(writer: _Writer, draw: NamedRandom, problem: Problem, style: _Style) -> None:
    opening, before, stated, after = style.frame
    words = _words(problem)
    writer.add(opening.format(**words))
    facts_after = [draw.integer(0, len(problem.steps) - 1) for _ in problem.facts]
    joins = _joins(draw, len(problem.steps), style.joined)
    for place, step in enumerate(problem.steps):
        joint = " and {clause}" if joins[place] else before
        writer.add(joint.format(clause=step.clause(), **words))
        if joins[place + 1]:
            continue
        if draw.chance(style.worked):
            writer.add_result(stated + " ", str(step.total), after)
        else:
            writer.add(after)
        for fact, where in zip(problem.facts, facts_after, strict=True):
            if where == place or (where == place - 1 and joins[place]):
                writer.add(f" {fact}" if after != "\n" else f"- {fact}\n")
    start, end = style.ending
    quantity = problem.thing.quantity(problem.answer, style.form)
    writer.add_result(start.format(**words) + " ", quantity, end.format(**words) + "\n")


def _words(problem: Problem) -> dict[str, str]:
    return {
        "owner": problem.owner,
        "pronoun": problem.pronoun,
        "Pronoun": problem.pronoun.capitalize(),
        "place": problem.place,
        "held": problem.thing.quantity(problem.start, "full"),
        "short": problem.thing.short[1],
        "full": problem.thing.full[1],
    }


def _joins(draw: NamedRandom, num_steps: int, share: float) -> list[bool]:
    """Whether each step is told with the one before (at most two together); one more: False."""
    joins = [False]
    for _ in range(num_steps - 1):
        joins.append(share > 0 and not joins[-1] and draw.chance(share))
    return [*joins, False]
