"""Points: the rows of the surface, each with the cells that its three arms are made of."""

from __future__ import annotations

from search_spaces.frozen import FrozenModel
from search_spaces.levels import Level
from search_spaces.recipes import PolicyDPO, Recipe, ZeroShot
from search_spaces.supervision import SelfTraining

NO_HARD_ARM = "no training level contains the test level"


class PlannedArm(FrozenModel):
    """One arm of a point: its cells, one a seed, each with the id of its draw."""

    cells: tuple[str, ...]
    draws: tuple[str, ...] = ()
    """Empty for the zero-shot arm, which has no draw."""


class Point(FrozenModel):
    """One row of the surface: a source condition on one test level."""

    model: str
    num_params: int | None
    task: str
    measure: str
    recipe: Recipe
    condition: str
    """The source of supervision: a training level's name, `all`, or one of the space's own."""
    variant: str = ""
    """What tells the condition from others of its name, in words (`study.planning.variants`)."""
    train_level: Level | None
    """None where the labels are not of exactly one level."""
    test_level: Level
    hard_level: Level | None
    """The training level that contains the test level."""
    difficulty_gap: float | None
    """Mean hardness of the test level minus that of the labelled levels, over the pools."""
    num_labels: int
    """Labelled items of one seed of the source, those that only calibrate counted; trivial examples
    are none."""
    label_cost: float = 1.0
    """Price of one label, in labels of the easiest level."""
    noise_rate: float | None = None
    """Where labels are noisy: for `noise` the share of labels that are wrong, the stated rate
    rounded to whole labels; for `paper noise` the stated rate, at which labels are redrawn, the
    right one among what is drawn from."""
    threshold: float | None = None
    """Of a self-trained source: what the confidence had to exceed."""
    ssrm_round: int | None = None
    """Of a self-trained source: its round, from 1."""
    self_training: SelfTraining | None = None
    """Of a self-trained source: all its options."""
    pool_overlap: float
    """Expected share of labelled items that two seeds' draws have in common: the larger of the
    two trained arms'."""
    zero_shot: PlannedArm
    easy: PlannedArm
    hard: PlannedArm | None
    start: PlannedArm | None = None
    """For a self-trained source: the arm it started from, and shares draws with."""
    reason: str | None = None
    """Why there can be no estimate, where that is known before anything runs."""

    @property
    def search_labels(self) -> int | None:
        """Labels that the search of its recipe used, beside `num_labels`; None: no search."""
        return None if isinstance(self.recipe, ZeroShot | PolicyDPO) else self.recipe.search_labels

    @property
    def source(self) -> str:
        """The condition with what tells it from others of its name."""
        parts = [self.condition, self.variant] if self.variant else [self.condition]
        if self.threshold is not None:
            parts.append(f"tau {self.threshold:g}")
        if self.ssrm_round is not None:
            parts.append(f"round {self.ssrm_round}")
        return " ".join(parts)
