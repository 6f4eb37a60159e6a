"""The audit of self-training: what was labelled and selected, held against gold afterwards.

Self-training never sees the pool's gold labels; they are joined here, by item id, from
items.parquet. Pure functions of the rounds that `study.analysis.self_training.rounds` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
from trainables.storage.records import choice_score

Items = Literal["pool", "test"]
"""`pool`: what the round labelled. `test`: test items of the pool's levels, never trained on."""

Moment = Literal["before", "after"]
"""`before`: by the model that the round starts from. `after`: by the one that it trained."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PoolAnswers:
    """What one model said of some items, and whether it was right."""

    ids: tuple[str, ...]
    levels: tuple[str, ...]
    """Training level of each item; empty for an item of none."""
    probabilities: tuple[_Floats, ...]
    """A distribution over its choices for each item, at the temperature."""
    gold: tuple[int, ...]
    """Index of the right choice of each."""
    raw: tuple[_Floats, ...] | None = None
    """Likewise at temperature 1; None where no temperature was fitted: they would be the same."""
    temperature: float | None = None
    """Of this model, as the round fitted it."""

    @property
    def confidence(self) -> _Floats:
        """Probability of the answer given."""
        return np.array([values.max() for values in self.probabilities])

    @property
    def correct(self) -> _Floats:
        """1 right, 0 wrong; an exact tie counts its share: half of a pair."""
        pairs = zip(self.probabilities, self.gold, strict=True)
        return np.array([choice_score(values, gold) for values, gold in pairs])

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
    """One finished round of self-training with the gold labels that it did not have."""

    planned: PlannedCell
    threshold: float | None
    """In force: what the confidence had to exceed, where the rule has one."""
    pool: PoolAnswers
    """Before the round: the pseudo-labels."""
    selected: NDArray[np.bool_]
    """Of the pool: what was kept."""
    confident: NDArray[np.bool_]
    """Of the pool: what the rule selected in this round, kept or without room in the prompt."""
    kept: tuple[int | None, ...]
    """Of the pool: index of the pseudo-label that the item was kept with, None where it was not:
    where labels accumulate that of the round that admitted it, else the answer before the round."""
    targets: tuple[int | None, ...]
    """Of the pool: index of the label that the item was trained on; another one in a control."""
    pool_after: PoolAnswers
    """The pool by the model that the round trained."""
    test_before: PoolAnswers | None = None
    test_after: PoolAnswers | None = None

    def answers(self) -> Iterable[tuple[Items, Moment, PoolAnswers]]:
        """Yields the sets of answers that there are."""
        yield "pool", "before", self.pool
        yield "pool", "after", self.pool_after
        others: tuple[tuple[Items, Moment, PoolAnswers | None], ...] = (
            ("test", "before", self.test_before),
            ("test", "after", self.test_after),
        )
        for items, moment, found in others:
            if found is not None and found.ids:
                yield items, moment, found


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """One set of answers of a round in numbers: of a level, or of all levels together.

    Accuracies, coverages and confidences are fractions. Confidences and what is made of them are at
    the temperature of the model that answers, where the round fits one; `raw_` says at temperature
    1, which is the same where it fits none.
    """

    cell: str
    model: str
    task: str
    measure: str | None
    method: str
    recipe: str
    condition: str
    variant: str
    """What tells the condition from others of its name, in words; empty: nothing has to."""
    role: ConditionKind
    targets: str
    """What the selected items are trained on (`SelfTraining.targets`)."""
    rule: str
    threshold: float | None
    """As the space has it."""
    threshold_used: float | None
    """In force: a quantile has another one each time."""
    ssrm_round: int
    seed: int | None
    items: Items
    moment: Moment
    level: str | None
    """None: all levels together."""
    temperature: float | None
    """Of the model that answers; None where none is fitted."""
    num_items: int
    accuracy: float
    """Of the pool before the round: of its pseudo-labels, selected or not."""
    mean_confidence: float
    ece_equal_width: float
    ece_equal_mass: float
    brier: float
    raw_mean_confidence: float
    raw_ece_equal_width: float
    raw_ece_equal_mass: float
    raw_brier: float
    selective_area: float
    """Mean accuracy over all coverages, most confident first."""
    histogram_right: tuple[int, ...]
    """Right answers in 20 bins of confidence, of equal width from 0 to 1."""
    histogram_wrong: tuple[int, ...]
    """Likewise wrong ones; a tie counts as wrong here."""
    num_confident: int | None = None
    """This and what follows: of the pool before the round. What the rule selected."""
    num_selected: int | None = None
    """What was trained on: fewer where a prompt has no room, more where labels accumulate."""
    coverage: float | None = None
    """Share that was trained on."""
    selected_accuracy: float | None = None
    """Of the pseudo-labels that items were kept with, those of earlier rounds too; None where
    nothing was selected."""
    selected_confidence: float | None = None
    """Of the selected items, in the answers before this round."""
    target_accuracy: float | None = None
    """Of the labels that the selected items were trained on; None where on none."""


def audit_rows(rounds: Iterable[AuditedRound]) -> tuple[AuditRow, ...]:
    """Returns the audit of each round: its sets of answers, each level and all together."""
    return tuple(
        row
        for found in rounds
        for items, moment, answers in found.answers()
        for row in _rows(found, items, moment, answers)
    )


def _rows(
    found: AuditedRound, items: Items, moment: Moment, answers: PoolAnswers
) -> Iterable[AuditRow]:
    known = list(dict.fromkeys(answers.levels))
    for level in (None, *sorted(known)):
        rows = np.array([i for i, of in enumerate(answers.levels) if level in (None, of)])
        row = _row(found, items, moment, answers.take(rows), level)
        yield (
            _with_selection(row, found, rows)
            if row.items == "pool" and row.moment == "before"
            else row
        )


def _row(
    found: AuditedRound, items: Items, moment: Moment, answers: PoolAnswers, level: str | None
) -> AuditRow:
    planned, options = found.planned, found.planned.cell.self_training
    if options is None:
        raise ValueError(f"cell {planned.id} is no round of self-training")
    confidence, correct, raw = answers.confidence, answers.correct, answers.untempered()
    histogram = confidence_histogram(confidence, correct == 1.0)
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
        threshold_used=found.threshold,
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
        brier=brier_score(answers.probabilities, answers.gold),
        raw_mean_confidence=float(raw.confidence.mean()),
        raw_ece_equal_width=calibrate(raw.confidence, raw.correct).ece,
        raw_ece_equal_mass=calibrate(raw.confidence, raw.correct, binning="equal-mass").ece,
        raw_brier=brier_score(raw.probabilities, raw.gold),
        selective_area=selective_accuracy(confidence, correct).area,
        histogram_right=histogram.right,
        histogram_wrong=histogram.wrong,
    )


def _with_selection(row: AuditRow, found: AuditedRound, rows: NDArray[np.intp]) -> AuditRow:
    """Adds what was selected of these rows of the pool."""
    kept = [i for i in rows.tolist() if found.selected[i]]
    right = [float(found.kept[i] == found.pool.gold[i]) for i in kept]
    chosen = found.pool.take(kept)
    trained = [
        float(found.targets[i] == found.pool.gold[i])
        for i in rows.tolist()
        if found.targets[i] is not None
    ]
    return replace(
        row,
        num_confident=int(found.confident[rows].sum()),
        num_selected=len(kept),
        coverage=len(kept) / len(rows),
        selected_accuracy=sum(right) / len(right) if kept else None,
        selected_confidence=float(chosen.confidence.mean()) if kept else None,
        target_accuracy=sum(trained) / len(trained) if trained else None,
    )
