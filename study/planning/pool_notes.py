"""Unlabelled pools that hold fewer items than a condition asks for: said before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from study.artifacts.condition_kinds import condition_label
from study.planning.arms import Cells
from study.planning.axes import PreparedAxis


def pool_notes(cells: Cells, axis: PreparedAxis) -> tuple[str, ...]:
    """Returns a sentence for each condition of an axis with a level that is smaller than asked.

    Args:
        cells: All that the plan has.
        axis: Whose conditions are looked at.
    """
    sizes: dict[str, dict[str, set[int]]] = {}
    asked: dict[str, int] = {}
    for planned in cells.planned.values():
        cell, draws = planned.cell, planned.draws
        is_of_axis = (cell.task, planned.measure) == (axis.axis.task, axis.axis.measure)
        if cell.self_training is None or draws is None or not is_of_axis:
            continue
        most = cell.self_training.max_unlabelled
        if most is None:
            continue
        source = condition_label(planned, has_rounds=False)
        asked[source] = most
        levels = sizes.setdefault(source, {})
        for draw, ids in zip(draws.unlabelled, cells.drawn(axis, draws).unlabelled, strict=True):
            name = "the pool" if draw.level is None else draw.level.name
            levels.setdefault(name, set()).add(len(ids))
    return tuple(
        f"{source}: of the {asked[source]} unlabelled items asked for of each level there are "
        f"{_listed(levels)}."
        for source, levels in sizes.items()
        if min(map(min, levels.values())) < asked[source]
    )


def _listed(levels: Mapping[str, Iterable[int]]) -> str:
    parts = []
    for name, numbers in levels.items():
        low, high = min(numbers), max(numbers)
        parts.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    return ", ".join(parts)
