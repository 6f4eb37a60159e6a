"""Fields in which the cells of two matched arms differ, although their coordinates are equal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.cell import Cell, encode_cell
from study.analysis.run_comparison.coordinates import ComparedRun
from trainables.cells.planned import PlannedCell

SEEDS = "seeds"

PARENT = "parent"
"""Follows from the parent's own fields, so it is listed only where no other field differs."""

_ABSENT = "-"
_HASH = re.compile(r"[0-9a-f]{16,}")
_SHOWN_DIGITS = 12
"""Hex digits of a hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldDifference:
    """One field that differs, over all matched arms."""

    name: str
    """Of `search_spaces.cell.Cell`, such as `recipe.learning_rate`; `seeds`; or a property of the
    whole study."""
    first: str
    """Value in the first study; `several` if it depends on the arm."""
    second: str
    num_arms: int | None
    """Matched arms that differ in it; None: the whole study."""


def arm_differences(
    first: Sequence[PlannedCell], second: Sequence[PlannedCell]
) -> Mapping[str, tuple[str, str]]:
    """Returns the fields in which two arms differ, with both values.

    Args:
        first: Cells of one arm, a seed each; they are paired by seed.
        second: Of the other arm.
    """
    cells = [{planned.cell.seed: planned.cell for planned in arm} for arm in (first, second)]
    found: dict[str, tuple[str, str]] = {}
    if cells[0].keys() != cells[1].keys():
        found[SEEDS] = (_seeds(cells[0]), _seeds(cells[1]))
    for seed in cells[0].keys() & cells[1].keys():
        one, two = (_flat(each[seed]) for each in cells)
        for name in one | two:
            values = (one.get(name, _ABSENT), two.get(name, _ABSENT))
            if values[0] != values[1]:
                found.setdefault(name, values)
    if found.keys() - {SEEDS, PARENT}:
        found.pop(PARENT, None)
    return {name: (_shown(one), _shown(two)) for name, (one, two) in sorted(found.items())}


def field_differences(
    runs: tuple[ComparedRun, ComparedRun], arms: Iterable[Mapping[str, tuple[str, str]]]
) -> tuple[FieldDifference, ...]:
    """Returns every field that differs, those of the whole study first.

    Args:
        runs: The two studies.
        arms: `arm_differences` of each pair of matched arms.
    """
    values: dict[str, list[tuple[str, str]]] = {}
    for arm in arms:
        for name, pair in arm.items():
            values.setdefault(name, []).append(pair)
    return (
        *_study_differences(*runs),
        *(
            FieldDifference(
                name=name,
                first=_common([first for first, _ in pairs]),
                second=_common([second for _, second in pairs]),
                num_arms=len(pairs),
            )
            for name, pairs in sorted(values.items())
        ),
    )


def _study_differences(first: ComparedRun, second: ComparedRun) -> Iterator[FieldDifference]:
    for name, values in _study_fields(first).items():
        other = _study_fields(second).get(name)
        if other is not None and other != values:
            yield FieldDifference(name=name, first=values, second=other, num_arms=None)


def _study_fields(run: ComparedRun) -> Mapping[str, str]:
    """Properties of a study that change its numbers or intervals, but no cell."""
    levels = {
        f"level {level.name} of {axis.task} by {axis.measure}": f"{level.low:g} to {level.high:g}"
        for axis in run.plan.space.tasks
        for level in (*axis.train_levels, *axis.test_levels)
    }
    return {
        "program version": run.plan.version,
        "confidence level": f"{run.plan.space.level:g}",
        **levels,
    }


def _flat(cell: Cell) -> dict[str, str]:
    values = encode_cell(cell)
    values.pop("seed", None)  # it pairs the cells
    return dict(_leaves("", values))


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield prefix + name, str(value)


def _seeds(cells: Mapping[int | None, Cell]) -> str:
    seeds = sorted(seed for seed in cells if seed is not None)
    return ", ".join(map(str, seeds)) or _ABSENT


def _shown(value: str) -> str:
    return _HASH.sub(lambda match: match[0][:_SHOWN_DIGITS], value)


def _common(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else "several"
