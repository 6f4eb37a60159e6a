"""Does self-training help a policy? Win rates between policies under the gold reward.

Two policies answer the same test questions with the same random numbers. In each sample the one
with the higher gold reward wins; a tie counts half. The interval covers sampled questions (all
samples of a question form a cluster) and training draws, one a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from study.analysis.surface import Surface, missing_reason
from study.analysis.surface_rows import Interval
from study.artifacts.plan import Plan
from study.artifacts.points import PlannedArm
from study.artifacts.policies import PolicyComparison
from study.statistics.arms import ArmScores
from study.statistics.differences import Difference, estimate_contrast
from trainables.data.lab.preferences import gold_reward, preference_questions
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, read_file

FloatArray = NDArray[np.float64]

SIDES = (("after", "before"), ("before", "base"), ("after", "base"), ("gold", "base"))
"""Policies to compare: `after` and `before` the self-training of the reward model."""

EVEN = 0.5
"""Win rate between equally good policies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WinRate:
    """How often one policy's answer is better than another's."""

    comparison: PolicyComparison
    first: str
    second: str
    rate: Interval
    """Of the first over the second, in [0, 1]; its p-value is of the null 0.5."""
    first_reward: float | None = None
    """Mean gold reward of the first policy's answers, at most 0."""
    second_reward: float | None = None
    label_accuracy: float | None = None
    """Share of the first policy's training pairs whose preferred answer has the higher gold
    reward, without pairs of equal rewards; mean over seeds. None if all rewards are equal."""
    num_questions: int = 0
    num_samples: int = 0
    """Answers to a question."""
    num_seeds: int = 0
    reason: str | None = None
    """Why there is no rate."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rewards:
    """Gold rewards of one policy's test answers."""

    question_ids: tuple[str, ...]
    values: FloatArray
    """[questions, samples]."""


def win_shares(first: FloatArray, second: FloatArray) -> FloatArray:
    """Returns the share of samples that the first policy wins, for each question; ties count half.

    Args:
        first: [questions, samples] rewards of one policy.
        second: Those of the other, of the same questions and samples.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"policies are compared on the same questions and samples, got {first.shape} and "
            f"{second.shape} rewards"
        )
    return np.asarray(((first > second) + EVEN * (first == second)).mean(axis=1), dtype=np.float64)


def win_rate(shares: Sequence[FloatArray], draw_ids: Sequence[str], *, level: float) -> Difference:
    """Returns the mean win share over questions and seeds, less 0.5, with its interval.

    Args:
        shares: `win_shares` of each seed.
        draw_ids: Training draw of each seed.
        level: Confidence of the interval.

    Returns:
        The difference from an even match; its p-value is of the null that the policies are equal.
    """
    scores = np.stack(shares, axis=1) - EVEN
    arm = ArmScores(scores=scores, draw_ids=tuple(draw_ids))
    return estimate_contrast({"win": arm}, {"win": 1.0}, level=level)


def win_rates(storage: Storage, plan: Plan, surface: Surface) -> tuple[WinRate, ...]:
    """Returns every comparison of policies that the plan declares.

    Args:
        storage: The run folder.
        plan: Declares the comparisons.
        surface: The plan's surface, with its records.
    """
    read = _RewardReader(storage, surface)
    return tuple(
        _win_rate(read, comparison, first, second, plan.space.level)
        for comparison in plan.policies
        for first, second in SIDES
    )


def _win_rate(
    read: _RewardReader, comparison: PolicyComparison, first: str, second: str, level: float
) -> WinRate:
    planned: Mapping[str, PlannedArm] = {
        first: getattr(comparison, first),
        second: getattr(comparison, second),
    }
    reason = missing_reason(planned, read.surface.scores)
    empty = WinRate(
        comparison=comparison, first=first, second=second, rate=Interval(), reason=reason
    )
    if reason is not None:
        return empty
    try:
        pairs = list(_paired(read, *planned.values()))
        labels = [read.label_accuracy(id_) for id_ in planned[first].cells]
    except InvalidRecordError as error:
        return replace(empty, reason=f"record not valid: {error}")
    if any(a.question_ids != b.question_ids for a, b in pairs):
        return replace(empty, reason="the policies answered different questions")
    right = [share for share in labels if share is not None]
    shares = [win_shares(a.values, b.values) for a, b in pairs]
    excess = win_rate(shares, planned[first].draws, level=level)
    return WinRate(
        comparison=comparison,
        first=first,
        second=second,
        rate=Interval(
            estimate=excess.estimate + EVEN,
            low=None if excess.low is None else excess.low + EVEN,
            high=None if excess.high is None else excess.high + EVEN,
            p_value=excess.p_value,
        ),
        first_reward=float(np.mean([a.values.mean() for a, _ in pairs])),
        second_reward=float(np.mean([b.values.mean() for _, b in pairs])),
        label_accuracy=float(np.mean(right)) if right else None,
        num_questions=len(shares[0]),
        num_samples=pairs[0][0].values.shape[1],
        num_seeds=len(pairs),
    )


def _paired(
    read: _RewardReader, first: PlannedArm, second: PlannedArm
) -> Iterator[tuple[Rewards, Rewards]]:
    """Yields the rewards of both policies seed by seed; an untrained one has no seed."""
    others = second.cells if second.draws else second.cells * len(first.cells)
    for ours, theirs in zip(first.cells, others, strict=True):
        yield read.rewards(ours), read.rewards(theirs)


class _RewardReader:
    """Rewards of finished policies, each read once."""

    def __init__(self, storage: Storage, surface: Surface) -> None:
        self.surface = surface
        self._storage = storage
        self._known: dict[str, Rewards] = {}

    def rewards(self, id_: str) -> Rewards:
        """Returns the rewards of a finished cell.

        Raises:
            InvalidRecordError: If the file does not match the hash in the record.
        """
        if id_ not in self._known:
            self._known[id_] = rewards_of(self._table(id_, layout.rewards(id_)))
        return self._known[id_]

    def label_accuracy(self, id_: str) -> float | None:
        """Returns how often gold agrees with the training labels of a policy.

        None if all pairs have equal rewards.

        Raises:
            InvalidRecordError: As `rewards`.
        """
        return label_accuracy_of(self._table(id_, layout.pairs(id_)))

    def _table(self, id_: str, name: str) -> pa.Table:
        record = self.surface.scores.records[id_]
        return pq.read_table(pa.BufferReader(read_file(self._storage, record, name)))


def label_accuracy_of(table: pa.Table) -> float | None:
    """Returns the share of pairs in a pairs.parquet whose preferred answer has the higher reward.

    Pairs of equal gold rewards are left out; None if all are.
    """
    problems = {question.id: question.problem for question in preference_questions()}
    differences = np.array(
        [
            gold_reward(problems[row["question_id"]], row["chosen"])
            - gold_reward(problems[row["question_id"]], row["rejected"])
            for row in table.to_pylist()
        ]
    )
    decided = differences[differences != 0]
    return float((decided > 0).mean()) if len(decided) else None


def rewards_of(table: pa.Table) -> Rewards:
    """Returns the rewards of a policy's rewards.parquet, questions sorted by id.

    Raises:
        InvalidRecordError: If a question lacks a sample that another one has.
    """
    table = table.sort_by([("question_id", "ascending"), ("sample", "ascending")])
    ids = table["question_id"].to_pylist()
    questions = tuple(dict.fromkeys(ids))
    values = table["reward"].to_numpy()
    samples = table["sample"].to_numpy()
    number = len(ids) // max(len(questions), 1)
    if len(ids) != number * len(questions) or (samples.reshape(-1, number) != range(number)).any():
        raise InvalidRecordError("rewards.parquet must hold the same samples of every question")
    return Rewards(question_ids=questions, values=values.reshape(-1, number))
