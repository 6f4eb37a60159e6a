"""Supervision: the labels of a cell, and its use of items without labels.

A `Condition` names a source of supervision; a space need not list the plain ones (one a training
level, and `all`). Controls, label noise, learning curves and self-training are conditions too.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from search_spaces.frozen import FrozenModel

ALL = "all"
"""Name of the condition that draws from every level's pool; no level may have it."""


LabelKind = Literal["gold", "noise", "paper noise", "random", "trivial"]


class Labels(FrozenModel):
    """How the labels of a cell's training items are assigned."""

    kind: LabelKind = "gold"
    """`noise`: the stated share of labels is wrong. `paper noise`: each label is redrawn with that
    probability, the right one included (arXiv:2401.06751's code). `random`: every label is drawn
    uniformly. `trivial`: examples of the task's form without its content."""
    rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Of `noise`, the share of wrong labels, and of `paper noise`, the share of labels that are
    redrawn, possibly to the right one; 0 for the others."""

    @model_validator(mode="after")
    def _rate_has_a_kind(self) -> Labels:
        if self.rate and self.kind not in ("noise", "paper noise"):
            raise ValueError(f"labels of kind {self.kind!r} have no rate, got {self.rate:g}")
        return self


class SelfTraining(FrozenModel):
    """One way of learning from unlabelled items, as SSRM does (arXiv:2409.06903).

    Defaults: a fixed threshold on the confidence, hard labels, and in every round a training that
    restarts from the base, on the labels and all items above the threshold.
    """

    threshold: float | None = Field(default=0.8, ge=0.0, le=1.0)
    """tau: items with *more* confidence are kept (value and rule of the released code). For
    `quantile`, the share of the pool that is left out; None for `softmatch`, which has none."""
    rule: Literal["fixed", "quantile", "class-balanced", "freematch", "softmatch"] = "fixed"
    confidence: Literal["raw", "chance-normalised"] = "raw"
    """`raw`: the largest probability. `chance-normalised`: 0 at chance, 1 at certainty, so that
    items with different numbers of choices share one threshold."""
    start: Literal["restart", "continue"] = "restart"
    """Train every round from the base, or from the weights of the round before."""
    memory: Literal["relabel", "accumulate"] = "relabel"
    """Relabel the whole pool in every round, or keep items and labels once admitted."""
    admission: Literal["at-once", "by-level"] = "at-once"
    """`by-level`: round t labels the first t levels of the pool, from easy to hard."""
    orders: Literal["given", "all"] = "all"
    """Orders of the choices that the confidence is averaged over; `all`: both of a pair, the k
    rotations of k choices."""
    calibration: Literal["none", "temperature"] = "none"
    """`temperature`: one temperature fitted on validation items of the labelled levels. Their
    labels are as noisy as the training labels."""
    n_validation: NonNegativeInt = 0
    """Labelled items used only to calibrate; they count as labels."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a pseudo-label's weight that is spread evenly over all choices."""
    targets: Literal["pseudo", "random", "oracle", "none"] = "pseudo"
    """Labels of the selected items: their pseudo-labels, or as a control random labels, their gold
    labels (`oracle_selected`), or `none`, where the labelled items are repeated to keep the number
    of steps."""
    max_unlabelled: PositiveInt | None = None
    """Most unlabelled items per level; None: all."""

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
                "rule 'softmatch' admits every item in its first round, and memory 'accumulate' "
                "would keep that label and weight forever, so later rounds would have no effect; "
                "use memory='relabel', or a rule with a threshold"
            )
        return self

    @model_validator(mode="after")
    def _calibration_has_labels(self) -> SelfTraining:
        if (self.calibration == "temperature") != (self.n_validation > 0):
            raise ValueError(
                "calibration 'temperature' needs n_validation > 0, and no other calibration uses "
                f"validation items; got calibration={self.calibration!r}, "
                f"n_validation={self.n_validation}"
            )
        return self


class Condition(FrozenModel):
    """A source of supervision: labels of some levels, and perhaps self-training."""

    name: str = Field(min_length=1)
    levels: tuple[str, ...] = ()
    """Training levels that the labelled items are drawn from, in equal shares; empty: the whole
    pool."""
    n_train: PositiveInt | None = None
    """Labelled items; replaces the recipe's `n_train` or `k`."""
    labels: Labels = Labels()
    self_training: SelfTraining | None = None
    unlabelled: tuple[str, ...] = ()
    """Levels of the unlabelled pool, from easy to hard; empty: the whole pool."""
    rounds: PositiveInt = Field(default=1, le=1_000)
    """Rounds of self-training; each is a cell and a row of the surface."""
    label_cost: float = Field(default=1.0, gt=0.0)
    """Price of one label, in labels of the easiest level."""
    control: bool = False
    """A control is shown next to results, never as one: it rules out an explanation, as a pool as
    easy as the labels does. Random and trivial labels, and self-training on anything but
    pseudo-labels, are always controls."""

    @model_validator(mode="after")
    def _pool_belongs_to_self_training(self) -> Condition:
        if self.self_training is None and (self.unlabelled or self.rounds > 1):
            raise ValueError(
                f"condition {self.name!r}: unlabelled levels and rounds need self-training; add "
                "self_training=SelfTraining(...)"
            )
        is_gradual = self.self_training is not None and self.self_training.admission == "by-level"
        if is_gradual and len(self.unlabelled) < 2:
            raise ValueError(
                f"condition {self.name!r}: admission 'by-level' admits one level a round, so it "
                f"needs at least two unlabelled levels, from easy to hard; got {self.unlabelled}"
            )
        return self

    @property
    def threshold(self) -> float | None:
        """The threshold on the confidence, if any."""
        return None if self.self_training is None else self.self_training.threshold
