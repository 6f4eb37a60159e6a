"""Supervision: which labels a cell gets, and what it makes of items that have none.

A `Condition` names a source of supervision; the plain ones (one a training level, and `all`) need
no entry in a space. Controls, label noise, learning curves and self-training are conditions too.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel

ALL = "all"
"""Name of the condition that draws from every level's pool; no level may have it."""


LabelKind = Literal["gold", "noise", "paper noise", "random", "trivial"]


class Labels(FrozenModel):
    """How the labels of a cell's labelled items are made."""

    kind: LabelKind = "gold"
    """`noise`: the stated share of labels is wrong. `paper noise`: each label is redrawn with that
    probability, the right one included (arXiv:2401.06751's code). `random`: every label is drawn
    uniformly. `trivial`: examples of the task's form without its content."""
    rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Of `noise`, the share of wrong labels, and of `paper noise`, the share of labels that are
    redrawn, the right one among what is drawn from; 0 for the others."""

    @model_validator(mode="after")
    def _rate_has_a_kind(self) -> Labels:
        if self.rate and self.kind not in ("noise", "paper noise"):
            raise ValueError(f"labels of kind {self.kind!r} have no rate, got {self.rate:g}")
        return self


class SelfTraining(FrozenModel):
    """One way of learning from unlabelled items, as SSRM does (arXiv:2409.06903).

    Defaults: a fixed threshold on the confidence, hard labels, training from the base again in
    every round on the labels and all that the round before is confident of.
    """

    threshold: float | None = Field(default=0.8, ge=0.0, le=1.0)
    """tau: kept is what is *more* confident than this (the released code's value and rule). For
    `quantile` the share of the pool that is left out; None for `softmatch`, which has none."""
    rule: Literal["fixed", "quantile", "class-balanced", "freematch", "softmatch"] = "fixed"
    confidence: Literal["raw", "chance-normalised"] = "raw"
    """`raw`: the largest probability. `chance-normalised`: 0 at chance, 1 at certainty, so that
    items with different numbers of choices share one threshold."""
    start: Literal["restart", "continue"] = "restart"
    """Train every round from the base, or on from the round before."""
    memory: Literal["relabel", "accumulate"] = "relabel"
    """Label the whole pool anew in every round, or keep what was once admitted."""
    admission: Literal["at-once", "by-level"] = "at-once"
    """`by-level`: round t labels the first t levels of the pool, from easy to hard."""
    orders: Literal["given", "all"] = "all"
    """Orders of the choices that the confidence is averaged over: both of a pair, the k rotations
    of k choices."""
    calibration: Literal["none", "temperature"] = "none"
    """`temperature`: one temperature fitted on validation labels of the labelled levels, which are
    as noisy as the labels that are trained on."""
    n_validation: NonNegativeInt = 0
    """Labelled items that only calibrate; they are counted as labels."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a pseudo-label's weight that is spread over all choices."""
    targets: Literal["pseudo", "random", "oracle", "none"] = "pseudo"
    """What the selected items are trained on: their pseudo-labels, or a control: random labels,
    their gold labels (`oracle_selected`), or nothing, the labelled items being seen as often as
    makes up for it (`easy` for the same number of steps)."""
    max_unlabelled: PositiveInt | None = None
    """Largest number of unlabelled items of a level; None: all there are."""

    @model_validator(mode="after")
    def _rule_has_its_threshold(self) -> SelfTraining:
        if (self.threshold is None) != (self.rule == "softmatch"):
            raise ValueError(
                "rule 'softmatch' weights every item and has threshold=None, every other rule has "
                f"a threshold; got rule={self.rule!r}, threshold={self.threshold}"
            )
        return self

    @model_validator(mode="after")
    def _rule_can_accumulate(self) -> SelfTraining:
        if self.rule == "softmatch" and self.memory == "accumulate":
            raise ValueError(
                "rule 'softmatch' takes every item in the first round that sees it, and memory "
                "'accumulate' would keep that label and weight for good: later rounds would change "
                "nothing; use memory='relabel', or a rule with a threshold"
            )
        return self

    @model_validator(mode="after")
    def _calibration_has_labels(self) -> SelfTraining:
        if (self.calibration == "temperature") != (self.n_validation > 0):
            raise ValueError(
                "calibration 'temperature' needs n_validation > 0 labelled items, and nothing else "
                f"uses them; got calibration={self.calibration!r}, n_validation={self.n_validation}"
            )
        return self


class Condition(FrozenModel):
    """A source of supervision: labels of some levels, and what is done with unlabelled items."""

    name: str = Field(min_length=1)
    levels: tuple[str, ...] = ()
    """Training levels that the labelled items are drawn from, in equal shares; empty: the whole
    pool."""
    n_train: PositiveInt | None = None
    """Labelled items, in place of the recipe's `n_train` or `k`."""
    labels: Labels = Labels()
    self_training: SelfTraining | None = None
    unlabelled: tuple[str, ...] = ()
    """Levels of the unlabelled pool, from easy to hard; empty: the whole pool."""
    rounds: PositiveInt = Field(default=1, le=1_000)
    """Rounds of self-training: each is a cell, and a row of the surface."""
    label_cost: float = Field(default=1.0, gt=0.0)
    """Price of one label, in labels of the easiest level."""
    control: bool = False
    """Held beside results and never among them: it shows what a result is not due to, as a pool
    does that is as easy as the labels. Random and trivial labels, and self-training on anything
    but pseudo-labels, are controls without saying so."""

    @model_validator(mode="after")
    def _pool_belongs_to_self_training(self) -> Condition:
        if self.self_training is None and (self.unlabelled or self.rounds > 1):
            raise ValueError(
                f"condition {self.name!r}: unlabelled levels and rounds are part of self-training, "
                "and it has none; add self_training=SelfTraining(...)"
            )
        is_gradual = self.self_training is not None and self.self_training.admission == "by-level"
        if is_gradual and len(self.unlabelled) < 2:
            raise ValueError(
                f"condition {self.name!r}: admission 'by-level' admits one level a round, so name "
                f"at least two unlabelled levels, from easy to hard; got {self.unlabelled}"
            )
        return self

    @property
    def threshold(self) -> float | None:
        """The threshold on the confidence, where there is one."""
        return None if self.self_training is None else self.self_training.threshold
