"""Compares a study's numbers with published ones of the same coordinates.

Task, measure, model, method, chain of thought, number of labels, training level and test level must
match; models match by the last part of their name. Our accuracies come from the arms, so a test
level need not be one of the space's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from study.analysis.published.matching import ArmMatcher, MatchedResult
from study.analysis.published.papers import PAPERS, PublishedResult
from study.analysis.surface import Surface
from study.artifacts.plan import Plan
from study.formatting import DASH, Table, number, percent, span


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A published number with ours."""

    published: PublishedResult
    ours: MatchedResult

    @property
    def difference(self) -> float | None:
        """Ours minus theirs."""
        return None if self.ours.value is None else self.ours.value - self.published.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A study compared with a paper."""

    title: str
    compared: tuple[Compared, ...]
    unmatched: Mapping[str, int]
    """Why published numbers have no match in the study -> how many."""
    num_arms: int
    """Arms of the study: a model, task, method and source of labels with all its seeds."""
    num_alone: int
    """Arms without a published number."""
    notes: tuple[str, ...]


def compare(plan: Plan, surface: Surface, name: str) -> Comparison:
    """Compares a study with a paper.

    Args:
        plan: The study.
        surface: Its surface.
        name: A key of `PAPERS`.

    Raises:
        ValueError: If there is no such paper.
    """
    if name not in PAPERS:
        raise ValueError(f"no published results {name!r}; known are {', '.join(PAPERS)}")
    paper = PAPERS[name]
    matcher = ArmMatcher(plan, surface, paper)
    compared: list[Compared] = []
    unmatched: Counter[str] = Counter()
    for published in paper.results:
        pairs = [Compared(published=published, ours=ours) for ours in matcher.matches(published)]
        compared += pairs
        if not pairs:
            unmatched[matcher.why_not(published)] += 1
    num_alone, num_arms = matcher.alone
    notes = []
    if compared and plan.space.split == "frozen":
        notes.append(
            "This study's split is frozen, so its test items are a subset of the paper's, which "
            "tests each seed on all items that it did not train on (split='paper')."
        )
    return Comparison(
        title=paper.title,
        compared=tuple(compared),
        num_arms=num_arms,
        num_alone=num_alone,
        unmatched=dict(unmatched.most_common()),
        notes=tuple(notes),
    )


def comparison_parts(comparison: Comparison) -> Iterator[str | Table]:
    """Yields the comparison for the terminal: a table of the pairs, then what did not match."""
    yield f"Comparison with {comparison.title}"
    if comparison.compared:
        yield Table(
            header=("", "train -> test", "ours", "", "published", "difference", "source"),
            rows=[comparison_row(row) for row in comparison.compared],
            numbers=("ours", "published", "difference"),
        )
        yield "accuracies and their differences in %; SGR as shares; [95 % interval]"
    else:
        yield "  No published number has the coordinates of this study."
    yield f"{sum(comparison.unmatched.values())} published numbers have no match in this study:"
    for reason, count in comparison.unmatched.items():
        yield f"  {count} {reason}"
    yield (
        f"{comparison.num_alone} of this study's {comparison.num_arms} arms have no published "
        "number."
    )
    yield from comparison.notes


def comparison_row(row: Compared) -> tuple[str, ...]:
    """Returns a row of texts: setting, levels, ours, interval, published, difference, source."""
    theirs, ours = row.published, row.ours
    is_sgr = theirs.quantity == "sgr"
    share = number if is_sgr else percent
    task = theirs.task if theirs.measure is None else f"{theirs.task} by {theirs.measure}"
    interval = ""
    if ours.low is not None and ours.high is not None:
        interval = (
            span(ours.low, ours.high) if is_sgr else f"[{share(ours.low)}, {share(ours.high)}]"
        )
    half_width = "" if theirs.half_width is None else f" +/- {share(theirs.half_width)}"
    difference = DASH
    if row.difference is not None:
        difference = f"{row.difference:+.2f}" if is_sgr else percent(row.difference, sign=True)
    noise = "" if theirs.noise is None else f", {theirs.noise:.0%} redrawn"
    return (
        f"{task}, {theirs.model} {ours.method}" + (", SGR" if is_sgr else ""),
        f"{theirs.condition}{noise} -> {theirs.test}",
        ours.verdict if ours.value is None else share(ours.value),
        interval,
        share(theirs.value) + half_width,
        difference,
        theirs.source,
    )
