"""Points: the rows of the surface, with the cells of their arms."""

from __future__ import annotations

from search_spaces.frozen import FrozenModel
from search_spaces.levels import Level
from search_spaces.recipes import PolicyDPO, Recipe, ZeroShot
from search_spaces.supervision import SelfTraining

NO_HARD_ARM = "no training level contains the test level"


class PlannedArm(FrozenModel):
    """One arm of a point: its cells, one a seed, with the ids of their draws."""

    cells: tuple[str, ...]
    draws: tuple[str, ...] = ()
    """Empty for the zero-shot arm, which draws no items."""


class Point(FrozenModel):
    """One row of the surface: a source condition on one test level."""

    model: str
    num_params: int | None
    task: str
    measure: str
    recipe: Recipe
    condition: str
    """The source of supervision: a training level, `all`, or a condition of the space."""
    variant: str = ""
    """Label that tells the condition from others of its name (`study.planning.conditions`)."""
    train_level: Level | None
    """None if the labels come from several levels."""
    test_level: Level
    hard_level: Level | None
    """The training level that contains the test level."""
    difficulty_gap: float | None
    """Mean hardness of the test level minus that of the labelled levels, over the pools."""
    num_labels: int
    """Labelled items of one seed of the source, including those that only calibrate, without
    trivial examples."""
    label_cost: float = 1.0
    """Price of one label, in labels of the easiest level."""
    noise_rate: float | None = None
    """Of noisy labels. `noise`: the share of wrong labels, which is the stated rate rounded to
    whole labels. `paper noise`: the stated rate, at which labels are redrawn, possibly to the
    right one."""
    threshold: float | None = None
    """Of a self-trained source: its confidence threshold."""
    ssrm_round: int | None = None
    """Of a self-trained source: its round, from 1."""
    self_training: SelfTraining | None = None
    """Of a self-trained source: all its options."""
    pool_overlap: float
    """Expected share of labelled items that two seeds' draws have in common, in the trained arm
    with the larger share."""
    zero_shot: PlannedArm
    easy: PlannedArm
    hard: PlannedArm | None
    start: PlannedArm | None = None
    """Of a self-trained source: the arm that it started from and shares draws with."""
    reason: str | None = None
    """Why the point has no estimate, if that is known before any cell runs."""

    @property
    def place(self) -> tuple[str, str, Level]:
        """Task, measure and test level: the items that its arms are compared on."""
        return (self.task, self.measure, self.test_level)

    @property
    def search_labels(self) -> int | None:
        """Labels that the search of its recipe used, besides `num_labels`; None: no search."""
        return None if isinstance(self.recipe, ZeroShot | PolicyDPO) else self.recipe.search_labels

    @property
    def source(self) -> str:
        """The full name of the condition."""
        parts = [self.condition, self.variant] if self.variant else [self.condition]
        if self.threshold is not None:
            parts.append(f"tau {self.threshold:g}")
        if self.ssrm_round is not None:
            parts.append(f"round {self.ssrm_round}")
        return " ".join(parts)
