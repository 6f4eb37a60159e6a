"""How points, recipes and numbers are written for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search_spaces.recipes import Recipe
from study.analysis.surface_rows import SurfaceRow, recipe_factors, recipe_text
from study.artifacts.points import Point
from study.formatting import number, span

LABEL_COUNTS = frozenset({"n_train", "k"})
"""Factors of a recipe that say how many labels it has."""


def recipe_labels(
    recipes: Iterable[Recipe], *, without: frozenset[str] = frozenset()
) -> Mapping[str, str]:
    """Returns a short name of each recipe: its method, and the factors it differs in from others.

    Args:
        recipes: All recipes that are shown together.
        without: Factors that are not named, because an axis shows them.

    Returns:
        Recipe text -> label, such as `lora` or, beside others, `lora rank=4`.
    """
    by_method: dict[str, dict[str, Recipe]] = {}
    for recipe in recipes:
        by_method.setdefault(recipe.method, {})[recipe_text(recipe)] = recipe
    labels = {}
    for method, known in by_method.items():
        factors = {text: recipe_factors(recipe) for text, recipe in known.items()}
        names = dict.fromkeys(name for values in factors.values() for name in values)
        varying = [
            name
            for name in names
            if name not in without and len({f.get(name) for f in factors.values()}) > 1
        ]
        for text, values in factors.items():
            # A recipe has no factor where it leaves the choice to its axis.
            named = (f"{name}={values[name]}" for name in varying if name in values)
            labels[text] = " ".join([method, *named])
    return labels


def point_label(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    """Returns how a sentence names a point: `micro-l lora, easy -> hard`."""
    point = row.point
    method = labels[recipe_text(point.recipe)]
    return f"{point.model} {method}, {point.source} -> {point.test_level.name}"


def source_label(point: Point, hidden: frozenset[str] = frozenset()) -> str:
    """Returns the source of a point without what is said elsewhere.

    Args:
        point: The point.
        hidden: `threshold`, `ssrm_round`: parts that an axis, a column or the reader knows.
    """
    parts = [point.condition, point.variant] if point.variant else [point.condition]
    if point.threshold is not None and "threshold" not in hidden:
        parts.append(f"tau {point.threshold:g}")
    if point.ssrm_round is not None and "ssrm_round" not in hidden:
        parts.append(f"round {point.ssrm_round}")
    return " ".join(parts)


def hidden_rounds(rows: Iterable[SurfaceRow]) -> frozenset[str]:
    """Returns what a source need not name: its round, where no source has a second one."""
    has_several = any((row.point.ssrm_round or 0) > 1 for row in rows)
    return frozenset() if has_several else frozenset({"ssrm_round"})


def outcome(row: SurfaceRow) -> str:
    """Returns what is known of a point in a few words: its SGR, its verdict, or the reason."""
    if row.verdict is None:
        return f"no estimate: {row.reason}"
    share = row.sgr.estimate
    told = row.verdict if share is None else f"{number(share)} {span(row.sgr.low, row.sgr.high)}"
    return "; ".join(filter(None, (told, *map(brief, row.caveats), row.draw_note)))


def brief(caveat: str) -> str:
    """Returns the short form of a caveat: what stands in front of its colon."""
    return caveat.partition(":")[0]
