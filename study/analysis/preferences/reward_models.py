"""Reward models on preference tasks: accuracy by subset, ties counted half, beside people.

Preference tasks are those of response pairs. A pair's score is that of its record: 1, 0, or half
on an exact tie. How far annotators agree is the ceiling of what can be asked of a model where the
data has several votes a pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from study.analysis.accuracy_curves import named_arms
from study.analysis.preferences.rewardbench import (
    SUBSETS,
    Section,
    Version,
    mean_of_sections,
    mean_with_prior_sets,
    section_means,
    subset_accuracies,
)
from study.analysis.scores import UNSEEN
from study.analysis.surface import Surface, missing_reason
from study.analysis.surface_rows import recipe_text
from study.artifacts import points
from study.artifacts.items import MEASURE, TaskItems
from study.artifacts.plan import Plan
from study.statistics.agreement import Agreement, annotator_agreement

PREFERENCE_TASKS = (
    "hh_rlhf",
    "ultrafeedback",
    "rewardbench",
    "pandalm",
    "llmbar",
    "micro_preferences",
    "preferences",
)
"""Tasks of response pairs; other tasks of two choices (yes or no) are no preferences."""

COMPOSED = "preferences"
"""The task that is made of several sets; an id begins with its set's name, `llmbar/...`."""

VOTES = ("disagreement", "tie_votes")
"""Measures that tell three votes a pair: those against the majority, and those for neither."""

NUM_VOTERS = 3

PRIOR_SETS: Mapping[str, str] = {"hh_rlhf": "HH-RLHF (its whole test part, harmless pairs too)"}
"""Prior preference sets that the composed task holds beside RewardBench -> how the page names them.
The leaderboard has others, `reward_bench.LEADERBOARD_PRIOR_SETS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardRow:
    """One arm on the test pairs of one preference task, its seeds averaged."""

    task: str
    """With the set's name where the task is made of several: `preferences/llmbar`."""
    model: str
    recipe: str
    source: str
    orders: str
    """`all`: each pair shown in both orders and averaged; `given`: in one, position counts."""
    num_pairs: int
    num_seeds: int
    accuracy: float | None = None
    """Ties count half."""
    tie_share: float | None = None
    subsets: Mapping[str, float] = field(default_factory=dict)
    """Topic -> accuracy; empty where the data names none."""
    sections: Mapping[Section, float] = field(default_factory=dict)
    """Of RewardBench, by corrected weights; those that are whole."""
    sections_old: Mapping[Section, float] = field(default_factory=dict)
    """Likewise by the weights of its first release."""
    overall: float | None = None
    """Plain mean of the four sections; None where one is not whole."""
    overall_with_prior: float | None = None
    """With prior sets at half weight; None where the same cells did not answer any."""
    prior_sets: tuple[str, ...] = ()
    """Those in it, of `PRIOR_SETS`."""
    reason: str | None = None
    """Why there is no accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """What people reach on the test pairs of a task, or of a set of it."""

    task: str
    agreement: Agreement | None
    """None: one label a pair, so no ceiling is known."""


def reward_rows(plan: Plan, surface: Surface) -> tuple[RewardRow, ...]:
    """Returns every arm on every preference task of the study, or why it has no accuracy.

    Args:
        plan: The study.
        surface: Its records, items and points.
    """
    recipes = {planned.id: planned.cell.recipe for planned in plan.cells}
    found: list[RewardRow] = []
    for (task, model, source), arm in _arms(surface):
        recipe = recipes[arm.cells[0]]
        empty = RewardRow(
            task=task,
            model=model,
            recipe=recipe_text(recipe),
            source=source,
            orders=recipe.orders,
            num_pairs=0,
            num_seeds=len(arm.cells),
            reason=missing_reason({"reward_model": arm}, surface.scores),
        )
        # All rows of one arm are of the very same cells, so they may be put into one mean.
        rows = _arm_rows(surface, arm, empty)
        found += [_with_prior_sets(row, rows) for row in rows]
    return tuple(found)


def ceilings(surface: Surface) -> tuple[Ceiling, ...]:
    """Returns the annotators' agreement on each preference task of the study, set by set."""
    tasks = dict.fromkeys(row.point.task for row in surface.rows)
    return tuple(
        Ceiling(task=part, agreement=votes_agreement(surface.items.test[task], columns))
        for task in tasks
        if task in PREFERENCE_TASKS
        for part, columns in parts_of(surface.items.test[task]).items()
    )


def votes_agreement(items: TaskItems, columns: NDArray[np.intp] | None = None) -> Agreement | None:
    """Returns how far the annotators of these pairs agree; None where the votes are not known.

    Args:
        items: Of the task.
        columns: Which of them; None: all.
    """
    names = [MEASURE + name for name in VOTES]
    if not set(names) <= set(items.table.column_names):
        return None
    table = items.table if columns is None else items.table.take(columns)
    ids, against, ties = (table[name].to_pylist() for name in ("id", *names))
    votes = {
        id_: _votes(int(others), int(tie))
        for id_, others, tie in zip(ids, against, ties, strict=True)
        if others is not None and tie is not None
    }
    return annotator_agreement(votes, tie="neither") if votes else None


def _votes(num_against: int, num_ties: int) -> list[str]:
    majority = ["majority"] * (NUM_VOTERS - num_against)
    return [*majority, *["neither"] * num_ties, *["other"] * (num_against - num_ties)]


def parts_of(items: TaskItems) -> Mapping[str, NDArray[np.intp]]:
    """Returns the sets of a task that is made of several, each with the places of its items."""
    if items.task != COMPOSED:
        return {items.task: np.arange(len(items.ids))}
    places: dict[str, list[int]] = {}
    for place, id_ in enumerate(items.ids.to_pylist()):
        places.setdefault(f"{items.task}/{id_.partition('/')[0]}", []).append(place)
    return {part: np.array(found, dtype=np.intp) for part, found in places.items()}


def _arms(surface: Surface) -> list[tuple[tuple[str, str, str], points.PlannedArm]]:
    """Task, model and source of every arm on a preference task, each arm once."""
    found: dict[tuple[str, ...], tuple[tuple[str, str, str], points.PlannedArm]] = {}
    for row in surface.rows:
        if row.point.task in PREFERENCE_TASKS:
            for source, arm in named_arms(row).items():
                found.setdefault(arm.cells, ((row.point.task, row.point.model, source), arm))
    return list(found.values())


def _arm_rows(surface: Surface, arm: points.PlannedArm, empty: RewardRow) -> list[RewardRow]:
    """The rows of one arm, one a set of its task."""
    items = surface.items.test[empty.task]
    named = {
        part: (replace(empty, task=part, num_pairs=len(columns)), columns)
        for part, columns in parts_of(items).items()
    }
    if empty.reason is not None:
        return [row for row, _ in named.values()]
    matrices = surface.scores.tasks[empty.task]
    right = matrices.correct[[matrices.row[id_] for id_ in arm.cells]].astype(np.float64)
    right[right == UNSEEN] = np.nan
    is_scored = np.asarray(np.isfinite(right).any(axis=0))
    ids = items.ids.to_pylist()
    topics = _topics(items)
    rows = []
    for row, columns in named.values():
        scored = columns[is_scored[columns]]
        if len(scored):
            row = replace(row, num_pairs=len(scored))
            rows.append(_scored(row, [ids[place] for place in scored], right[:, scored], topics))
    return rows


def _topics(items: TaskItems) -> Mapping[str, str]:
    pairs = zip(items.ids.to_pylist(), items.table["topic"].to_pylist(), strict=True)
    return {id_: topic for id_, topic in pairs if topic is not None}


def _scored(
    row: RewardRow, ids: Sequence[str], right: NDArray[np.float64], topics: Mapping[str, str]
) -> RewardRow:
    """Adds what the scores say.

    Args:
        row: Without numbers.
        ids: Of the pairs.
        right: [seeds, pairs] scores; NaN where a pair was trained on.
        topics: Id of a pair -> its topic, where it has one.
    """
    means = dict(zip(ids, np.nanmean(right, axis=0).tolist(), strict=True))
    subsets = subset_accuracies({i: mean for i, mean in means.items() if i in topics}, topics)
    sections = _sections(row.task, subsets, "corrected")
    return replace(
        row,
        accuracy=float(np.mean(list(means.values()))),
        tie_share=float(np.mean((right > 0.0) & (right < 1.0))),
        subsets=subsets,
        sections=sections,
        sections_old=_sections(row.task, subsets, "old"),
        overall=mean_of_sections(sections) if len(sections) == len(SUBSETS) else None,
    )


def _sections(task: str, subsets: Mapping[str, float], version: Version) -> Mapping[Section, float]:
    if set_of(task) != "rewardbench":
        return {}
    known = {name for counts in SUBSETS.values() for name in counts}
    return section_means({n: v for n, v in subsets.items() if n in known}, version=version)


def set_of(task: str) -> str:
    """Returns the set that a row is of: `llmbar` of `preferences/llmbar`, and of `llmbar`."""
    return task.rpartition("/")[2]


def _with_prior_sets(row: RewardRow, rows: Iterable[RewardRow]) -> RewardRow:
    """Adds the overall mean with the prior sets among the rows of the same arm."""
    prior = {
        set_of(other.task): other.accuracy
        for other in rows
        if set_of(other.task) in PRIOR_SETS and other.accuracy is not None
    }
    if row.overall is None or not prior:
        return row
    mean = float(np.mean(list(prior.values())))
    return replace(
        row,
        overall_with_prior=mean_with_prior_sets(row.sections, mean),
        prior_sets=tuple(prior),
    )
