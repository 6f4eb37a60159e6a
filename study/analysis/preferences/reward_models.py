"""Accuracy of reward models on preference tasks by subset, compared with annotators.

The items of a preference task are response pairs. A pair scores 1, 0, or half for an exact tie, as
in its record. If the data has several votes a pair, the agreement of annotators is the ceiling.
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
    section_interval,
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
from study.statistics.arms import ArmScores
from study.statistics.differences import Difference

PREFERENCE_TASKS = (
    "hh_rlhf",
    "ultrafeedback",
    "rewardbench",
    "pandalm",
    "llmbar",
    "micro_preferences",
    "preferences",
)
"""Tasks of response pairs; other tasks with two choices (yes or no) are not preferences."""

COMPOSED = "preferences"
"""Task composed of several sets; an id begins with the name of its set, `llmbar/...`."""

VOTES = ("disagreement", "tie_votes")
"""Measures that encode three votes a pair: those against the majority and those for neither."""

NUM_VOTERS = 3

PRIOR_SETS: Mapping[str, str] = {"hh_rlhf": "HH-RLHF (its whole test set, harmless pairs included)"}
"""Prior preference set in the composed task -> its name in the report. The leaderboard has others,
`rewardbench.LEADERBOARD_PRIOR_SETS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardRow:
    """One arm on the test pairs of one preference task, its seeds averaged."""

    task: str
    """With the name of the set if the task has several: `preferences/llmbar`."""
    model: str
    recipe: str
    source: str
    orders: str
    """`all`: each pair is scored in both orders and averaged. `given`: in one order only."""
    num_pairs: int
    num_seeds: int
    accuracy: float | None = None
    """Ties count half."""
    tie_share: float | None = None
    subsets: Mapping[str, float] = field(default_factory=dict)
    """Topic -> accuracy; empty if the data has no topics."""
    sections: Mapping[Section, float] = field(default_factory=dict)
    """Complete sections of RewardBench, by corrected weights."""
    intervals: Mapping[Section, Difference] = field(default_factory=dict)
    """The same sections with their intervals over pairs and seeds."""
    sections_old: Mapping[Section, float] = field(default_factory=dict)
    """The same by the weights of its first release."""
    overall: float | None = None
    """Mean of the four sections; None if one is incomplete."""
    overall_with_prior: float | None = None
    """With prior sets at half weight; None if the same cells answered none of them."""
    prior_sets: tuple[str, ...] = ()
    """Prior sets in that mean, of `PRIOR_SETS`."""
    reason: str | None = None
    """Why there is no accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """Agreement of annotators on the test pairs of a task, or of a set of it."""

    task: str
    agreement: Agreement | None
    """None if the data has one label a pair, so that the ceiling is unknown."""


def reward_rows(plan: Plan, surface: Surface) -> tuple[RewardRow, ...]:
    """Returns every arm on every preference task of the study, or why it has no accuracy."""
    recipes = {planned.id: planned.cell.recipe for planned in plan.cells}
    all_rows: list[RewardRow] = []
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
        # All rows of an arm come from the same cells, so one mean may combine them.
        rows = _arm_rows(surface, arm, empty)
        all_rows += [_with_prior_sets(row, rows) for row in rows]
    return tuple(all_rows)


def ceilings(surface: Surface) -> tuple[Ceiling, ...]:
    """Returns the annotators' agreement on each preference task of the study, set by set."""
    tasks = dict.fromkeys(row.point.task for row in surface.rows)
    return tuple(
        Ceiling(task=name, agreement=votes_agreement(surface.items.test[task], columns))
        for task in tasks
        if task in PREFERENCE_TASKS
        for name, columns in parts_of(surface.items.test[task]).items()
    )


def votes_agreement(items: TaskItems, columns: NDArray[np.intp] | None = None) -> Agreement | None:
    """Returns the agreement of the annotators of these pairs; None if the votes are unknown.

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
    return {part: np.array(rows, dtype=np.intp) for part, rows in places.items()}


def _arms(surface: Surface) -> list[tuple[tuple[str, str, str], points.PlannedArm]]:
    """Task, model and source of every distinct arm on a preference task."""
    arms: dict[tuple[str, ...], tuple[tuple[str, str, str], points.PlannedArm]] = {}
    for row in surface.rows:
        if row.point.task in PREFERENCE_TASKS:
            for source, arm in named_arms(row).items():
                arms.setdefault(arm.cells, ((row.point.task, row.point.model, source), arm))
    return list(arms.values())


def _arm_rows(surface: Surface, arm: points.PlannedArm, empty: RewardRow) -> list[RewardRow]:
    """The rows of one arm, one for each set of its task."""
    items = surface.items.test[empty.task]
    named = {
        name: (replace(empty, task=name, num_pairs=len(columns)), columns)
        for name, columns in parts_of(items).items()
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
            row = _scored(row, [ids[place] for place in scored], right[:, scored], topics)
            arms = _subset_arms([ids[place] for place in scored], right[:, scored], topics, arm)
            found = {
                name: section_interval(name, arms, level=surface.level) for name in row.sections
            }
            rows.append(replace(row, intervals={n: one for n, one in found.items() if one}))
    return rows


def _subset_arms(
    ids: Sequence[str],
    right: NDArray[np.float64],
    topics: Mapping[str, str],
    arm: points.PlannedArm,
) -> Mapping[str, ArmScores]:
    """The scores of each subset; arguments as of `_scored`."""
    places: dict[str, list[int]] = {}
    for place, id_ in enumerate(ids):
        if id_ in topics:
            places.setdefault(topics[id_], []).append(place)
    return {
        topic: ArmScores(
            scores=right[:, columns].T,
            draw_ids=arm.draws,
            item_ids=tuple(ids[place] for place in columns),
        )
        for topic, columns in places.items()
    }


def _topics(items: TaskItems) -> Mapping[str, str]:
    pairs = zip(items.ids.to_pylist(), items.table["topic"].to_pylist(), strict=True)
    return {id_: topic for id_, topic in pairs if topic is not None}


def _scored(
    row: RewardRow, ids: Sequence[str], right: NDArray[np.float64], topics: Mapping[str, str]
) -> RewardRow:
    """Adds the accuracies.

    Args:
        row: A row without numbers.
        ids: Ids of the pairs.
        right: [seeds, pairs] scores; NaN for training pairs.
        topics: Id of a pair -> its topic, if it has one.
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
    """Returns the set of a row: `llmbar` for `preferences/llmbar` and for `llmbar`."""
    return task.rpartition("/")[2]


def _with_prior_sets(row: RewardRow, rows: Iterable[RewardRow]) -> RewardRow:
    """Adds the overall mean that includes the prior sets among the rows of the same arm."""
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
