"""What a row of the page is about: the page's filters choose rows of charts and tables by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, get_args

from search_spaces.recipes import Recipe
from study.analysis.surface_rows import SurfaceRow


class Filters(NamedTuple):
    """Values of a row by filter; None: the filter does not concern the row, which stays."""

    model: str | None = None
    method: str | None = None
    """Of the recipe, without its factors."""
    task: str | None = None
    level: str | None = None
    """The test level."""
    verdict: str | None = None


def of_point(row: SurfaceRow) -> Filters:
    """Returns what a point is about."""
    point = row.point
    return Filters(
        model=point.model,
        method=point.recipe.method,
        task=point.task,
        level=point.test_level.name,
        verdict=row.verdict or "no estimate",
    )


METHODS: tuple[str, ...] = tuple(
    kind.model_fields["method"].default for kind in get_args(get_args(Recipe)[0])
)
"""Names of all methods; some have blanks."""


def method_of(label: str) -> str:
    """Returns the method of a recipe's label or text (`names.recipe_labels`, `recipe_text`)."""
    return next((method for method in METHODS if label.startswith(method)), label)


def shared(members: Iterable[Filters]) -> Filters:
    """Returns what all members have in common."""
    columns = [set(values) for values in zip(*members, strict=True)]
    return Filters(*(values.pop() if len(values) == 1 else None for values in columns))
