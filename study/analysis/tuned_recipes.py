"""SGR with a default recipe beside SGR with a found one: does tuning on easy labels move it?

A search that sees easy labels alone may leave the hard arm under-tuned. Hard labels then buy less
than they could, and SGR rises without easy labels being any better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.surface_rows import SurfaceRow, recipe_factors
from study.artifacts.points import Point

_SEARCH = frozenset({"search"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipePair:
    """One point with a recipe that was chosen by hand and with one that a search found."""

    default: SurfaceRow
    found: SurfaceRow

    @property
    def changes(self) -> str:
        """What the search changed: `learning_rate 0.0001 -> 0.001`."""
        before, after = (recipe_factors(row.point.recipe) for row in (self.default, self.found))
        return ", ".join(
            f"{name} {before.get(name, '-')} -> {after.get(name, '-')}"
            for name in dict.fromkeys((*before, *after))
            if name not in _SEARCH and before.get(name) != after.get(name)
        )


def recipe_pairs(rows: Sequence[SurfaceRow]) -> tuple[RecipePair, ...]:
    """Returns each point of a found recipe beside the same point of every recipe chosen by hand."""
    by_hand: dict[tuple[object, ...], list[SurfaceRow]] = {}
    for row in rows:
        if not _search(row.point):
            by_hand.setdefault(_place(row.point), []).append(row)
    return tuple(
        RecipePair(default=default, found=found)
        for found in rows
        if _search(found.point)
        for default in by_hand.get(_place(found.point), ())
    )


def _search(point: Point) -> str | None:
    return getattr(point.recipe, "search", None)


def _place(point: Point) -> tuple[object, ...]:
    """All that a point is apart from its recipe; the labels of the search are not among its own."""
    return (
        *(point.model, point.task, point.measure, point.recipe.method),
        *(point.source, point.test_level.name, point.num_labels),
    )
