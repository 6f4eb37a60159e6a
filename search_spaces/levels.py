"""Levels: bands of a hardness measure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from pydantic import Field, model_validator

from search_spaces.frozen import FrozenModel
from search_spaces.supervision import ALL

RESERVED_NAMES = frozenset({ALL, "zero-shot"})


class Level(FrozenModel):
    """A band of one measure: all items with a value in `[low, high]`."""

    name: str = Field(min_length=1)
    low: float
    high: float

    @model_validator(mode="after")
    def _check(self) -> Level:
        if self.low > self.high:
            raise ValueError(f"level {self.name!r}: low {self.low:g} is above high {self.high:g}")
        if self.name in RESERVED_NAMES:
            raise ValueError(f"a level may not be named {self.name!r}: that name is a condition")
        return self

    def holds(self, value: float) -> bool:
        """Returns whether an item with this value of the measure belongs to the level."""
        return self.low <= value <= self.high

    def contains(self, other: Level) -> bool:
        """Returns whether this level covers the other one."""
        return self.low <= other.low and other.high <= self.high


def check_disjoint(levels: Iterable[Level], *, may_meet: bool) -> None:
    """Checks that levels do not overlap: a mix of them could draw a shared item twice.

    Args:
        levels: In any order.
        may_meet: Whether one may begin where another ends, as quantiles do before the plan turns
            them into values.

    Raises:
        ValueError: Naming two levels with a value in common.
    """
    for first, second in pairwise(sorted(levels, key=lambda level: level.low)):
        meets = may_meet and first.low < first.high == second.low
        if second.low <= first.high and not meets:
            raise ValueError(
                f"levels {first.name!r} [{first.low:g}, {first.high:g}] and "
                f"{second.name!r} [{second.low:g}, {second.high:g}] overlap and could draw an item "
                "twice; use levels without a common value"
            )
