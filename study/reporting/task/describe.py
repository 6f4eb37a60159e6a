"""Describes a task: counts, pools, mix and examples of every level, as plain values.

Pure functions of a loaded and split task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from scipy.stats import spearmanr

from search_spaces.levels import Level
from trainables.data.draws import CellDraws, Draw
from trainables.data.items import Item, duplicate_key
from trainables.data.measures import answer_chars, question_words
from trainables.data.task import SplitTask

TOP_TOPICS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelRow:
    """One standard level of one measure."""

    measure: str
    level: str
    low: float
    high: float
    num_items: int
    num_pool: int
    num_test: int
    overlap: float | None
    """Mean share of a draw that another seed's draw also has; None if the pool is too small."""
    mean_question_words: float
    mean_answer_chars: float
    answer_positions: tuple[float, ...]
    """Share of items whose gold answer is at each position."""
    topics: Mapping[str, float]
    """Share of the most frequent topics."""
    example_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """Spearman's rank correlation of two measures over the items that have both."""

    first: str
    second: str
    spearman: float | None
    """None if a measure is constant."""
    num_items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """The content of a data card (`python -m study.data`)."""

    task: str
    source: str
    licence: str
    data_hash: str
    split_hash: str
    num_items: int
    num_pool: int
    num_test: int
    n_train: int
    num_groups: int
    num_duplicates: int
    """Items that repeat another's question and choices, up to case and white space."""
    values: Mapping[str, Mapping[str, int]]
    """Measure -> value -> items, for measures of few values."""
    levels: tuple[LevelRow, ...]
    correlations: tuple[Correlation, ...]
    examples: Mapping[str, Item]
    """Item id -> item, for the examples of the levels."""
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def describe_data(
    task: SplitTask, *, n_train: int, num_seeds: int = 5, study_seed: int = 0
) -> DataReport:
    """Returns the report of a loaded and split task.

    Args:
        task: The task with its split.
        n_train: Items of a draw, for the overlap of draws.
        num_seeds: Number of draws whose pairwise overlap is averaged.
        study_seed: The seed of the split and of the draws.
    """
    data, split = task.data, task.split
    items = {item.id: item for item in data.items}
    levels = tuple(
        _level_row(task, items, measure, level, n_train, num_seeds, study_seed)
        for measure, cut in data.cuts.items()
        for level in cut
    )
    copies = Counter(duplicate_key(item) for item in data.items)
    return DataReport(
        task=data.name,
        source=data.source,
        licence=data.licence,
        data_hash=data.data_hash,
        split_hash=split.split_hash,
        num_items=len(items),
        num_pool=len(split.pool),
        num_test=len(split.test),
        n_train=n_train,
        num_groups=len({item.group or f"item {item.id}" for item in data.items}),
        num_duplicates=sum(count for count in copies.values() if count > 1),
        values={name: _value_counts(values) for name, values in data.measures.items()},
        levels=levels,
        correlations=tuple(
            _correlation(data.measures, first, second)
            for first, second in combinations(data.measures, 2)
        ),
        examples={row.example_id: items[row.example_id] for row in levels},
        notes=data.notes + split.notes,
        skipped=data.skipped,
    )


def _level_row(
    task: SplitTask,
    items: Mapping[str, Item],
    measure: str,
    level: Level,
    n_train: int,
    num_seeds: int,
    study_seed: int,
) -> LevelRow:
    values = task.data.measures[measure]
    inside = [items[id_] for id_ in sorted(values) if level.holds(values[id_])]
    pool = task.pool_ids(measure, level)
    draws = [
        CellDraws(
            labelled=(
                Draw(
                    task=task.data.name,
                    measure=measure,
                    level=level,
                    n=n_train,
                    study_seed=study_seed,
                    seed=seed,
                ),
            )
        )
        for seed in range(num_seeds)
    ]
    return LevelRow(
        measure=measure,
        level=level.name,
        low=level.low,
        high=level.high,
        num_items=len(inside),
        num_pool=len(pool),
        num_test=len(task.test_ids(measure, level)),
        overlap=_overlap(task, draws) if len(pool) >= n_train else None,
        mean_question_words=fmean(question_words(item) for item in inside),
        mean_answer_chars=fmean(answer_chars(item) for item in inside),
        answer_positions=_positions(inside),
        topics=_topics(inside),
        example_id=(pool or (inside[0].id,))[0],
    )


def _overlap(task: SplitTask, draws: Sequence[CellDraws]) -> float:
    drawn = [set(task.drawn_ids(each).labelled) for each in draws]
    shares = [len(a & b) / len(a) for a, b in combinations(drawn, 2)]
    return fmean(shares) if shares else 0.0


def _positions(items: Sequence[Item]) -> tuple[float, ...]:
    counts = Counter(item.answer for item in items)
    return tuple(counts[place] / len(items) for place in range(max(counts) + 1))


def _topics(items: Sequence[Item]) -> dict[str, float]:
    counts = Counter(item.topic for item in items if item.topic is not None)
    return {topic: count / len(items) for topic, count in counts.most_common(TOP_TOPICS)}


def _value_counts(values: Mapping[str, float]) -> dict[str, int]:
    counts = Counter(values.values())
    return {f"{value:g}": counts[value] for value in sorted(counts)} if len(counts) <= 12 else {}


def _correlation(
    measures: Mapping[str, Mapping[str, float]], first: str, second: str
) -> Correlation:
    both = sorted(set(measures[first]) & set(measures[second]))
    ours = [measures[first][id_] for id_ in both]
    theirs = [measures[second][id_] for id_ in both]
    varies = len(set(ours)) > 1 and len(set(theirs)) > 1
    value = float(spearmanr(ours, theirs).statistic) if varies else None
    return Correlation(first=first, second=second, spearman=value, num_items=len(both))
