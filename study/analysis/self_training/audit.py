"""Audits self-training by comparing the pseudo-labels, and the selection, with the gold labels.

Self-training never sees the gold labels of its pool; `study.analysis.self_training.rounds` joins
them afterwards. Pure functions of those rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import ConditionKind, condition_kind
from study.statistics.calibration import (
    brier_score,
    calibrate,
    confidence_histogram,
    selective_accuracy,
)
from trainables.cells.planned import PlannedCell
from trainables.storage.records import choice_scores

Items = Literal["pool", "test"]
"""`pool`: the items that the round labelled. `test`: test items of the same levels."""

Moment = Literal["before", "after"]
"""`before`: by the model that the round starts from. `after`: by the one that it trained."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolAnswers:
    """Answers of one model to some items, with gold."""

    ids: tuple[str, ...]
    levels: tuple[str, ...]
    """Band of each item (`rounds.band_name`)."""
    probabilities: tuple[_Floats, ...]
    """[choices] distribution for each item, at the temperature."""
    gold: tuple[int, ...]
    """Index of the correct choice of each item."""
    raw: tuple[_Floats, ...] | None = None
    """The same at temperature 1; None if no temperature was fitted."""
    temperature: float | None = None
    """Fitted temperature of this model."""

    @cached_property
    def confidence(self) -> _Floats:
        """Probability of the answer given."""
        starts = np.cumsum([0, *map(len, self.probabilities[:-1])])
        return np.asarray(np.maximum.reduceat(np.concatenate(self.probabilities), starts))

    @cached_property
    def correct(self) -> _Floats:
        """1 right, 0 wrong; an exact tie counts its share, half for a pair."""
        return choice_scores(self.probabilities, self.gold)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> PoolAnswers:
        """Returns the answers of these rows."""
        return PoolAnswers(
            ids=tuple(self.ids[i] for i in rows),
            levels=tuple(self.levels[i] for i in rows),
            probabilities=tuple(self.probabilities[i] for i in rows),
            gold=tuple(self.gold[i] for i in rows),
            raw=None if self.raw is None else tuple(self.raw[i] for i in rows),
            temperature=self.temperature,
        )

    def untempered(self) -> PoolAnswers:
        """Returns the answers at temperature 1."""
        if self.raw is None:
            return self
        return replace(self, probabilities=self.raw, raw=None, temperature=None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AuditedRound:
    """One finished round of self-training, with gold labels."""

    planned: PlannedCell
    threshold: float | None
    """Effective threshold on the confidence, if the rule has one."""
    pool: PoolAnswers
    """Answers before the round: the pseudo-labels."""
    selected: NDArray[np.bool_]
    """[pool] whether the item was trained on."""
    confident: NDArray[np.bool_]
    """[pool] whether the rule selected the item in this round, even if the prompt had no space."""
    kept: tuple[int | None, ...]
    """[pool] index of the item's pseudo-label, None if it was not selected. If labels accumulate it
    is that of the round that admitted the item, else the answer before the round."""
    targets: tuple[int | None, ...]
    """[pool] index of the label that the item was trained on, which differs in a control."""
    pool_after: PoolAnswers
    """Answers to the pool by the model that the round trained."""
    test_before: PoolAnswers | None = None
    test_after: PoolAnswers | None = None

    def answers(self) -> Iterable[tuple[Items, Moment, PoolAnswers]]:
        """Yields the available sets of answers."""
        yield "pool", "before", self.pool
        yield "pool", "after", self.pool_after
        others: tuple[tuple[Items, Moment, PoolAnswers | None], ...] = (
            ("test", "before", self.test_before),
            ("test", "after", self.test_after),
        )
        for items, moment, answers in others:
            if answers is not None and answers.ids:
                yield items, moment, answers


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """Statistics of one set of answers of a round, for a level or for all levels together.

    Accuracies, coverages and confidences are fractions. Confidences and their statistics are at the
    fitted temperature of the answering model; those with `raw_` are at temperature 1. Both are
    equal if the round fits no temperature.
    """

    cell: str
    model: str
    task: str
    measure: str | None
    method: str
    recipe: str
    condition: str
    variant: str
    """Difference from other conditions of its name; empty if the name is unique."""
    role: ConditionKind
    targets: str
    """Labels of the selected items (`SelfTraining.targets`)."""
    rule: str
    threshold: float | None
    """The space's."""
    threshold_used: float | None
    """The effective one; a quantile sets it in each round."""
    ssrm_round: int
    seed: int | None
    items: Items
    moment: Moment
    level: str | None
    """None for all levels together."""
    temperature: float | None
    """Of the answering model; None if none was fitted."""
    num_items: int
    accuracy: float
    """For the pool before the round: accuracy of all pseudo-labels, selected or not."""
    mean_confidence: float
    ece_equal_width: float
    ece_equal_mass: float
    brier: float
    raw_mean_confidence: float
    raw_ece_equal_width: float
    raw_ece_equal_mass: float
    raw_brier: float
    selective_area: float
    """Mean accuracy over all coverages, most confident answers first."""
    histogram_right: tuple[int, ...]
    """Right answers in 20 bins of confidence of equal width."""
    histogram_wrong: tuple[int, ...]
    """Wrong answers in the same bins; ties count as wrong."""
    num_confident: int | None = None
    """Items that the rule selected. From here on: only for the pool before the round."""
    num_selected: int | None = None
    """Items trained on: fewer if the prompt has no space, more if labels accumulate."""
    coverage: float | None = None
    """Share of the items that was trained on."""
    selected_accuracy: float | None = None
    """Accuracy of the pseudo-labels of the items trained on, those of earlier rounds included; None
    without any."""
    selected_confidence: float | None = None
    """Mean confidence of the items trained on, in the answers before this round."""
    target_accuracy: float | None = None
    """Accuracy of the labels of the items trained on; None without any."""


def audit_rows(rounds: Iterable[AuditedRound]) -> tuple[AuditRow, ...]:
    """Returns the audit: rows for each round, set of answers and level, and for all levels."""
    return tuple(
        row
        for audited in rounds
        for items, moment, answers in audited.answers()
        for row in _rows(audited, items, moment, answers)
    )


def _rows(
    audited: AuditedRound, items: Items, moment: Moment, answers: PoolAnswers
) -> Iterable[AuditRow]:
    known = list(dict.fromkeys(answers.levels))
    for level in (None, *sorted(known)):
        rows = np.array([i for i, of in enumerate(answers.levels) if level in (None, of)])
        row = _row(audited, items, moment, answers.take(rows), level)
        yield (
            _with_selection(row, audited, rows)
            if row.items == "pool" and row.moment == "before"
            else row
        )


def _row(
    audited: AuditedRound, items: Items, moment: Moment, answers: PoolAnswers, level: str | None
) -> AuditRow:
    planned, options = audited.planned, audited.planned.cell.self_training
    if options is None:
        raise ValueError(f"cell {planned.id} is not a round of self-training")
    confidence, correct, raw = answers.confidence, answers.correct, answers.untempered()
    histogram = confidence_histogram(confidence, correct == 1.0)
    brier = brier_score(answers.probabilities, answers.gold)
    return AuditRow(
        cell=planned.id,
        model=planned.model_name,
        task=planned.cell.task,
        measure=planned.measure,
        method=planned.cell.recipe.method,
        recipe=recipe_text(planned.cell.recipe),
        condition=planned.condition,
        variant=planned.variant,
        role=condition_kind(planned),
        targets=options.targets,
        rule=options.rule,
        threshold=options.threshold,
        threshold_used=audited.threshold,
        ssrm_round=planned.cell.round,
        seed=planned.cell.seed,
        items=items,
        moment=moment,
        level=level,
        temperature=answers.temperature,
        num_items=len(answers.ids),
        accuracy=float(correct.mean()),
        mean_confidence=float(confidence.mean()),
        ece_equal_width=calibrate(confidence, correct).ece,
        ece_equal_mass=calibrate(confidence, correct, binning="equal-mass").ece,
        brier=brier,
        raw_mean_confidence=float(raw.confidence.mean()),
        raw_ece_equal_width=calibrate(raw.confidence, raw.correct).ece,
        raw_ece_equal_mass=calibrate(raw.confidence, raw.correct, binning="equal-mass").ece,
        raw_brier=brier if raw is answers else brier_score(raw.probabilities, raw.gold),
        selective_area=selective_accuracy(confidence, correct).area,
        histogram_right=histogram.right,
        histogram_wrong=histogram.wrong,
    )


def _with_selection(row: AuditRow, audited: AuditedRound, rows: NDArray[np.intp]) -> AuditRow:
    """Adds the selection among these rows of the pool."""
    kept = [i for i in rows.tolist() if audited.selected[i]]
    right = [float(audited.kept[i] == audited.pool.gold[i]) for i in kept]
    chosen = audited.pool.take(kept)
    trained = [
        float(audited.targets[i] == audited.pool.gold[i])
        for i in rows.tolist()
        if audited.targets[i] is not None
    ]
    return replace(
        row,
        num_confident=int(audited.confident[rows].sum()),
        num_selected=len(kept),
        coverage=len(kept) / len(rows),
        selected_accuracy=sum(right) / len(right) if kept else None,
        selected_confidence=float(chosen.confidence.mean()) if kept else None,
        target_accuracy=sum(trained) / len(trained) if trained else None,
    )
