"""Draws of a cell from a task: labels, validation items, the unlabelled pool, test items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from search_spaces.frozen import FrozenModel
from search_spaces.levels import Level
from search_spaces.space import Space, TaskAxis
from trainables.data.seeding import draw_id, draw_ids

Use = Literal["train", "validation", "unlabelled", "policy"]
"""Purpose of the drawn items."""


class Draw(FrozenModel):
    """A draw from one level's pool, or from the whole pool, for one purpose."""

    task: str
    measure: str | None
    """None: every item of the pool, whatever its hardness."""
    level: Level | None
    """None: the whole pool (condition `all`)."""
    n: int | None
    """None: all items that the cell's other draws leave."""
    study_seed: int
    seed: int
    use: Use = "train"

    @model_validator(mode="after")
    def _level_is_of_a_measure(self) -> Draw:
        if self.measure is None and self.level is not None:
            raise ValueError(f"level {self.level.name!r} has no measure; a level is a band of one")
        return self

    @property
    def names(self) -> tuple[str | int, ...]:
        """Names of the draw; without `n`, so that draws are nested, and the level's name."""
        interval = "all"
        if self.level is not None:
            interval = f"{_short(self.level.low)}..{_short(self.level.high)}"
        measure = self.measure or "every item"
        return (self.study_seed, self.use, self.task, measure, interval, self.seed)

    @property
    def id(self) -> str:
        """Arms whose seeds have the same draw ids share their labelled items."""
        return draw_id(*self.names)


def _short(bound: float) -> str:
    """Returns a bound in four digits: more digits of a level cut by models are rounding noise."""
    return repr(bound if isinstance(bound, int) else float(f"{bound:.4g}"))


class CellDraws(FrozenModel):
    """All draws of a cell; no item is drawn for two purposes."""

    labelled: tuple[Draw, ...]
    """One per level, in equal shares; items are taken in turn."""
    validation: tuple[Draw, ...] = ()
    unlabelled: tuple[Draw, ...] = ()
    """One per level, from easy to hard."""

    @property
    def id(self) -> str:
        """Arms whose seeds have the same ids share their labelled items."""
        ids = [draw.id for draw in self.labelled]
        return ids[0] if len(ids) == 1 else draw_id(*ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnIds:
    """The drawn ids of a cell, disjoint."""

    labelled: tuple[str, ...]
    validation: tuple[str, ...] = ()
    unlabelled: tuple[tuple[str, ...], ...] = ()
    """Level after level."""


class TestDraw(FrozenModel):
    """Which test items the cells of an axis are scored on: at most `n` of each test level.

    One order of all test items serves every level and measure. So the items of a larger `n` contain
    those of a smaller one, levels that overlap share items, and of each single value the tested
    items are a random sample.
    """

    task: str
    measure: str
    levels: tuple[Level, ...]
    n: int
    study_seed: int

    def of_level(self, ids: Sequence[str]) -> frozenset[str]:
        """Returns those of a level's test items that are scored."""
        number = min(self.n, len(ids))
        return frozenset(draw_ids(ids, number, self.study_seed, "test", self.task))

    def draws_from(self, level: Level | None) -> bool:
        """Returns whether items are drawn from a level, whatever its name."""
        bounds = {(each.low, each.high) for each in self.levels}
        return level is not None and (level.low, level.high) in bounds


def axis_test_draw(space: Space, axis: TaskAxis) -> TestDraw | None:
    """Returns the draw of an axis's test items; None where all of them are scored."""
    if axis.test_items is None:
        return None
    return TestDraw(
        task=axis.task,
        measure=axis.measure,
        levels=axis.test_levels,
        n=axis.test_items,
        study_seed=space.study_seed,
    )
