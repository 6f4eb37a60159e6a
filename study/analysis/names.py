"""Labels of recipes, points and sources for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from search_spaces.recipes import Recipe
from study.analysis.surface_rows import Scalar, SurfaceRow, recipe_factors, recipe_text
from study.artifacts.points import Point
from study.formatting import number, span
from study.statistics.recovery import IMPRECISE

LABEL_COUNTS = frozenset({"n_train", "k"})
"""Factors of a recipe that set its number of labels."""


def recipe_labels(
    recipes: Iterable[Recipe], *, without: frozenset[str] = frozenset()
) -> Mapping[str, str]:
    """Returns a short label of each recipe: its method and the factors that vary.

    Args:
        recipes: All recipes that are shown together.
        without: Factors to leave out, because an axis shows them.

    Returns:
        Recipe text -> label, such as `lora`, or `lora rank=4` if the rank varies.
    """
    known = {recipe_text(recipe): recipe for recipe in recipes}
    varying = varying_factors(known.values())
    return {
        text: recipe_label(recipe, [n for n in varying[recipe.method] if n not in without])
        for text, recipe in known.items()
    }


def varying_factors(recipes: Iterable[Recipe]) -> Mapping[str, tuple[str, ...]]:
    """Returns for each method the factors in which its recipes differ."""
    by_method: dict[str, dict[str, Mapping[str, Scalar]]] = {}
    for recipe in recipes:
        by_method.setdefault(recipe.method, {})[recipe_text(recipe)] = recipe_factors(recipe)
    return {
        method: tuple(
            name
            for name in dict.fromkeys(name for values in factors.values() for name in values)
            if len({values.get(name) for values in factors.values()}) > 1
        )
        for method, factors in by_method.items()
    }


def recipe_label(recipe: Recipe, factors: Iterable[str]) -> str:
    """Returns a recipe's method with these factors; it may leave some of them to its axis."""
    values = recipe_factors(recipe)
    return " ".join(
        [recipe.method, *(f"{name}={values[name]}" for name in factors if name in values)]
    )


def last_part(model: str) -> str:
    """Returns a model's name without path or owner, case-folded: `llama-2-70b-hf`."""
    return model.rstrip("/").rpartition("/")[2].casefold()


def point_label(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    """Returns the label of a point in a sentence: `micro-l lora, easy -> hard`."""
    point = row.point
    method = labels[recipe_text(point.recipe)]
    return f"{point.model} {method}, {point.source} -> {point.test_level.name}"


def source_label(point: Point, hidden: frozenset[str] = frozenset()) -> str:
    """Returns the label of a point's source.

    Args:
        point: The point.
        hidden: Parts to leave out, `threshold` or `ssrm_round`, because an axis or a column shows
            them.
    """
    parts = [point.condition, point.variant] if point.variant else [point.condition]
    if point.threshold is not None and "threshold" not in hidden:
        parts.append(f"tau {point.threshold:g}")
    if point.ssrm_round is not None and "ssrm_round" not in hidden:
        parts.append(f"round {point.ssrm_round}")
    return " ".join(parts)


def hidden_rounds(rows: Iterable[SurfaceRow]) -> frozenset[str]:
    """Returns the parts that no source needs to name: the round, if no source has a second one."""
    has_several = any((row.point.ssrm_round or 0) > 1 for row in rows)
    return frozenset() if has_several else frozenset({"ssrm_round"})


def outcome(row: SurfaceRow) -> str:
    """Returns a point's result in a few words: its SGR, its verdict, or why there is none."""
    if row.verdict is None:
        return f"no estimate: {row.reason}"
    share = row.sgr.estimate
    result = row.verdict if share is None else f"{number(share)} {span(row.sgr.low, row.sgr.high)}"
    grade = IMPRECISE if share is not None and row.verdict == IMPRECISE else ""
    return "; ".join(filter(None, (result, grade, *map(brief, row.caveats), row.draw_note)))


def brief(caveat: str) -> str:
    """Returns the short form of a caveat: the text before its colon."""
    return caveat.partition(":")[0]
