"""Recipes that a search found, and SGR with them and with the defaults: does tuning change it?

A search that sees only easy labels may leave the hard arm under-tuned. Hard labels then gain less
than they could, and SGR rises although easy labels are no better.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from pydantic import ValidationError

from search_spaces.recipes import Recipe
from search_spaces.tuning import FoundRecipe
from study.analysis.surface_rows import SurfaceRow, recipe_factors
from study.artifacts.plan import Plan
from study.artifacts.points import Point
from trainables.storage import layout
from trainables.storage.filesystem import Storage

_SEARCH = frozenset({"search"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedRecipe:
    """A recipe of the study that a search found."""

    recipe: Recipe
    search: str
    """Hash of the search's history."""
    found: FoundRecipe | None
    """None if the file is not in the run folder."""


def tuned_recipes(storage: Storage, plan: Plan) -> tuple[TunedRecipe, ...]:
    """Returns each search that found a recipe of the plan, with its trials if its file exists.

    The file of a search may be in the folder of any space in the run folder.
    """
    wanted = {
        search: planned.cell.recipe
        for planned in plan.cells
        if (search := getattr(planned.cell.recipe, "search", None)) is not None
    }
    if not wanted:
        return ()
    results = _searches(storage, plan.space.name, set(wanted))
    return tuple(
        TunedRecipe(recipe=recipe, search=search, found=results.get(search))
        for search, recipe in wanted.items()
    )


def _searches(storage: Storage, space: str, wanted: Set[str]) -> dict[str, FoundRecipe]:
    """Reads the wanted searches of the run folder, starting with this space."""
    others = [name for name in storage.list_root() if name not in {space, *layout.FOLDERS}]
    keys = (
        f"{layout.tune(name)}/{file}"
        for name in (space, *others)
        for file in storage.list(layout.tune(name))
        if file.endswith(".json")
    )
    known: dict[str, FoundRecipe] = {}
    for key in keys:
        try:
            result = FoundRecipe.model_validate_json(storage.read_bytes(key))
        except ValidationError:
            continue  # edited, so its hash is not a wanted one
        if result.history.hash in wanted:
            known.setdefault(result.history.hash, result)
        if wanted <= known.keys():
            break
    return known


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
