"""Views: a surface over any two axes, with all others fixed or faceted. Values are never averaged.

Every point has its own tile: properties that neither axis shows and no fixed value decides become
facets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.analysis.names import LABEL_COUNTS, hidden_rounds, recipe_labels
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts.condition_kinds import ConditionKind
from study.reporting.surface_views.places import (
    AXES,
    FACTOR_AXES,
    Place,
    Rank,
    all_places,
    places_of,
    source_name,
)

__all__ = ["AXES", "VALUES", "SurfacePanel", "Tile", "View", "make_view", "varying_axes"]

VALUES: Mapping[str, str] = {
    "sgr": "SGR",
    "easy_gain": "source minus zero-shot (points)",
    "hard_gain": "hard minus zero-shot (points)",
    "hard_minus_easy": "hard minus source (points)",
    "ssrm_gain": "self-trained minus its start (points)",
    "residual": "residual recovery",
}
"""Values of a surface: name -> title."""

OF_SELF_TRAINING = ("ssrm_gain", "residual")
"""Values of self-trained points only."""

ROLES: Mapping[ConditionKind, str] = {
    "labels": "labels alone",
    "self-training": "self-training",
    "control": "controls",
}
"""Titles of the panels of each kind of condition; controls have separate panels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One point in a panel."""

    x: int
    y: int
    row: int
    """Index of the point among the surface's rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SurfacePanel:
    """The tiles of one facet."""

    label: str
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A surface over two axes."""

    x: str
    y: str
    value: str
    panels: tuple[SurfacePanel, ...]

    @property
    def title(self) -> str:
        """Title of the view."""
        return f"{VALUES[self.value]} over {AXES[self.x]} and {AXES[self.y]}"


def make_view(
    rows: Sequence[SurfaceRow],
    *,
    x: str = "model_size",
    y: str = "difficulty_gap",
    value: str = "sgr",
    fixed: Mapping[str, str] | None = None,
) -> View:
    """Lays out the points of a surface over two axes.

    Args:
        rows: The surface's rows.
        x: Name of an axis, see `AXES`.
        y: Name of another axis.
        value: Value to show, see `VALUES`.
        fixed: Axis -> the label of the one category to keep (a model's name for the model size, a
            level's name for a level).

    Returns:
        The view, with one panel per facet.

    Raises:
        ValueError: If an axis, value or category is unknown, or no point remains.
    """
    fixed = dict(fixed or {})
    if value not in VALUES:
        raise ValueError(f"value {value!r}: a surface shows one of {', '.join(VALUES)}")
    if value in OF_SELF_TRAINING and all(row.point.threshold is None for row in rows):
        raise ValueError(f"value {value!r}: this study has no self-trained points")
    if x == y:
        raise ValueError(f"a surface needs two different axes, got {x!r} twice")
    shown = frozenset((x, y))
    places = {axis: places_of(rows, axis, shown) for axis in (x, y, *fixed)}
    kept = _keep(rows, places, fixed)
    kept = [i for i in kept if places[x][i] is not None and places[y][i] is not None]
    if not kept:
        raise ValueError(f"no point of this study has both a {AXES[x]} and a {AXES[y]}")
    facets = _facets(rows, kept, {x, y, *fixed})
    facets = _apart(rows, facets, {i: (places[x][i], places[y][i]) for i in kept})
    panels = []
    for label in dict.fromkeys(facets.values()):
        members = [i for i in kept if facets[i] == label]
        panels.append(_panel(label, members, places[x], places[y]))
    return View(x=x, y=y, value=value, panels=tuple(panels))


def varying_axes(rows: Sequence[SurfaceRow]) -> tuple[str, ...]:
    """Returns the axes on which the points of the study differ."""
    varying = []
    for axis in AXES:
        labels = {place.label for place in all_places(rows, axis) if place is not None}
        if len(labels) > 1:
            varying.append(axis)
    return tuple(varying)


def _keep(
    rows: Sequence[SurfaceRow],
    places: Mapping[str, Sequence[Place | None]],
    fixed: Mapping[str, str],
) -> list[int]:
    kept = list(range(len(rows)))
    for axis, wanted in fixed.items():
        names = {
            i: (str(place.key), place.label)
            for i, place in enumerate(places[axis])
            if place is not None
        }
        if not any(wanted in pair for pair in names.values()):
            known = ", ".join(dict.fromkeys(key for key, _ in names.values()))
            raise ValueError(f"{axis}={wanted!r}: this study has {known}")
        kept = [i for i in kept if wanted in names.get(i, ())]
    if not kept:
        chosen = ", ".join(f"{axis}={wanted}" for axis, wanted in fixed.items())
        raise ValueError(f"no point of this study has {chosen}")
    return kept


def _facets(rows: Sequence[SurfaceRow], kept: Sequence[int], taken: set[str]) -> dict[int, str]:
    """Names the facet of each row: its properties that no axis and no fixed value shows."""
    has_gap = "difficulty_gap" in taken
    has_source = has_gap or "train_level" in taken
    covered = {
        "model": "model_size" in taken,
        "condition": has_source,
        "test": has_gap or "test_level" in taken,
        # A source names its threshold and round, unless an axis does.
        "threshold": has_source or "threshold" in taken,
        "round": has_source or "ssrm_round" in taken,
        "recipe": "method" in taken,
    }
    hidden = hidden_rounds(rows) | {"threshold", "ssrm_round"}
    without = frozenset(taken & FACTOR_AXES.keys())
    if taken & {"num_labels", "label_cost"}:
        without |= LABEL_COUNTS
    labels = recipe_labels((rows[i].point.recipe for i in kept), without=without)
    names: dict[str, dict[int, str]] = {"task": {}, "role": {}, **{name: {} for name in covered}}
    for i in kept:
        point = rows[i].point
        names["task"][i] = f"{point.task} by {point.measure}"
        names["recipe"][i] = labels[recipe_text(point.recipe)]
        names["model"][i] = point.model
        names["role"][i] = ROLES[rows[i].role]
        names["condition"][i] = f"trained on {source_name(rows[i], hidden, frozenset(taken))}"
        names["test"][i] = f"tested on {point.test_level.name}"
        names["threshold"][i] = "" if point.threshold is None else f"threshold {point.threshold:g}"
        names["round"][i] = "" if point.ssrm_round is None else f"round {point.ssrm_round}"
    shown = [
        name_of
        for property_, name_of in names.items()
        if not covered.get(property_, False) and len(set(name_of.values())) > 1
    ]
    return {i: ", ".join(filter(None, (name_of[i] for name_of in shown))) for i in kept}


def _apart(
    rows: Sequence[SurfaceRow],
    facets: Mapping[int, str],
    tiles: Mapping[int, tuple[Place | None, Place | None]],
) -> dict[int, str]:
    """Adds the source to the facet of points that would share a tile (two kinds of noise, say)."""

    def tile(i: int) -> tuple[str, ...]:
        return (facets[i], *("" if place is None else place.label for place in tiles[i]))

    counts = Counter(tile(i) for i in facets)
    return {
        i: label if counts[tile(i)] == 1 else ", ".join(filter(None, (label, rows[i].point.source)))
        for i, label in facets.items()
    }


def _panel(
    label: str,
    members: Sequence[int],
    x_places: Sequence[Place | None],
    y_places: Sequence[Place | None],
) -> SurfacePanel:
    x_order, y_order = _order(members, x_places), _order(members, y_places)
    tiles = []
    for i in members:
        x_place, y_place = x_places[i], y_places[i]
        if x_place is not None and y_place is not None:
            tiles.append(Tile(x=x_order[x_place.label], y=y_order[y_place.label], row=i))
    return SurfacePanel(
        label=label, x_labels=tuple(x_order), y_labels=tuple(y_order), tiles=tuple(tiles)
    )


def _order(members: Sequence[int], places: Sequence[Place | None]) -> dict[str, int]:
    """Numbers the categories of an axis by the rank of their first row."""
    ranks: dict[str, Rank] = {}
    for i in members:
        place = places[i]
        if place is not None:
            ranks[place.label] = min(ranks.get(place.label, place.rank), place.rank)
    return {label: number for number, label in enumerate(sorted(ranks, key=lambda k: ranks[k]))}
