"""Compares SGR of default and of searched recipes: does tuning on easy labels change it?

A search that sees only easy labels may leave the hard arm under-tuned. Hard labels then gain less
than they could, and SGR rises although easy labels are no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.surface_rows import SurfaceRow, recipe_factors
from study.artifacts.points import Point

_SEARCH = frozenset({"search"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipePair:
    """One point with a default recipe and with one from a search."""

    default: SurfaceRow
    searched: SurfaceRow

    @property
    def changes(self) -> str:
        """Factors that the search changed: `learning_rate 0.0001 -> 0.001`."""
        before, after = (recipe_factors(row.point.recipe) for row in (self.default, self.searched))
        return ", ".join(
            f"{name} {before.get(name, '-')} -> {after.get(name, '-')}"
            for name in dict.fromkeys((*before, *after))
            if name not in _SEARCH and before.get(name) != after.get(name)
        )


def recipe_pairs(rows: Sequence[SurfaceRow]) -> tuple[RecipePair, ...]:
    """Pairs each point of a searched recipe with the same point of every default recipe."""
    defaults: dict[tuple[object, ...], list[SurfaceRow]] = {}
    for row in rows:
        if not _search(row.point):
            defaults.setdefault(_place(row.point), []).append(row)
    return tuple(
        RecipePair(default=default, searched=row)
        for row in rows
        if _search(row.point)
        for default in defaults.get(_place(row.point), ())
    )


def _search(point: Point) -> str | None:
    return getattr(point.recipe, "search", None)


def _place(point: Point) -> tuple[object, ...]:
    """Identity of a point without its recipe and without the labels of its search."""
    return (
        *(point.model, point.task, point.measure, point.recipe.method),
        *(point.source, point.test_level.name, point.num_labels),
    )
