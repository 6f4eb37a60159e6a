"""The spaces of the study `arc_small_models` with their archived records, and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from search_spaces.levels import Level
from search_spaces.registry import named_spaces
from study.analysis.contrasts import ContrastResult, declared_contrasts
from study.analysis.surface import ArmReader, Surface, compute_surface
from study.analysis.surface_rows import Interval, SurfaceRow
from study.archive import RECORDS, restore_study
from study.artifacts.plan import Plan, read_plan
from study.artifacts.points import PlannedArm, Point
from study.formatting import DASH, percent, points_span
from trainables.storage.filesystem import Storage

STUDY = "arc_small_models"
MODULE = f"search_spaces.studies.small.{STUDY}"

Place = tuple[str, str, Level]
"""Task, measure and test level."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One space of the study with its records."""

    storage: Storage
    plan: Plan
    surface: Surface

    @property
    def name(self) -> str:
        """The space's name."""
        return self.plan.space.name

    @cached_property
    def reader(self) -> ArmReader:
        """Its arms."""
        return ArmReader(self.surface.items, self.surface.scores)

    @cached_property
    def contrasts(self) -> tuple[ContrastResult, ...]:
        """Its declared contrasts that could be tested: finished, and with some variance."""
        results = declared_contrasts(self.plan, self.surface)
        return tuple(result for result in results if result.reason is None)

    @cached_property
    def labelled(self) -> list[SurfaceRow]:
        """The finished points of gold labels in the recipe's own number."""
        levels = {level.name for axis in self.plan.space.tasks for level in axis.train_levels}
        return [
            row
            for row in self.surface.rows
            if row.estimate is not None and row.point.condition in levels | {"all"}
        ]

    def interval(self, arm: PlannedArm, place: Place) -> Interval | None:
        """Returns an arm's accuracy with its interval; None if it is not known."""
        found = self.reader.accuracy(arm, place, self.surface.level)
        return None if found is None else Interval.of(found)

    def accuracy(self, arm: PlannedArm | None, place: Place) -> str:
        """Returns an arm's accuracy as text."""
        found = None if arm is None else self.interval(arm, place)
        return DASH if found is None else with_interval(found)

    def is_significant(self, result: ContrastResult) -> bool:
        """Returns whether a declared contrast is significant after the correction by Holm."""
        return result.holm_p is not None and result.holm_p < 1.0 - self.surface.level


def spaces() -> list[str]:
    """Returns the names of the study's spaces, in their order."""
    return [name for name, make in named_spaces().items() if make.__module__ == MODULE]


def read_parts(archive: Storage, storage: Storage, names: Sequence[str]) -> Iterator[Part]:
    """Restores the archived ones of these spaces to a run folder and yields them."""
    archived = [name for name in names if archive.exists(f"{name}/{RECORDS}")]
    for name in archived:
        restore_study(archive, read_plan(archive, name), storage)
    for name in archived:
        plan = read_plan(storage, name)
        yield Part(storage=storage, plan=plan, surface=compute_surface(storage, plan))


def num_selected(part: Part, row: SurfaceRow) -> float:
    """Returns how many questions a round of self-training selected, as a mean over seeds."""
    records = part.surface.scores.records
    return fmean((records[cell].selection or {})["num_selected"] for cell in row.point.easy.cells)


def labelled_rows(parts: Iterable[Part]) -> Iterator[tuple[Part, SurfaceRow]]:
    """Yields every finished point of gold labels once, although spaces share points."""
    seen = set()
    for part in parts:
        for row in part.labelled:
            point = row.point
            key = (point.place, point.zero_shot, point.easy, point.hard)
            if key not in seen:
                seen.add(key)
                yield part, row


def method_label(point: Point) -> str:
    """Returns the method with its prompt, and with its number of examples if it shows some."""
    shown = f" k={point.num_labels}" if point.recipe.method == "in-context" else ""
    return f"{point.recipe.method}{shown}{prompt_label(point)}"


def prompt_label(point: Point) -> str:
    """Returns the suffix of a method whose prompt is not that of its axis."""
    return ", listed prompt" if point.recipe.prompt else ""


def natural(text: str) -> tuple[str | int, ...]:
    """Returns a sort key with which `k=4` is before `k=16`."""
    return tuple(int(s) if s.isdigit() else s for s in re.split(r"(\d+)", text))


def pair_of(point: Point) -> str:
    """Returns source and test level of a point: `easy -> hard`."""
    return f"{point.condition} -> {point.test_level.name}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yields a Markdown table, or a sentence if it has no row."""
    rows = list(rows)
    if not rows:
        yield "No cell of this section has finished yet."
        return
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def joined(words: Iterable[str]) -> str:
    """Returns `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def code(names: Iterable[str]) -> str:
    """Returns names as code, joined."""
    return joined(f"`{name}`" for name in names)


def with_interval(value: Interval) -> str:
    """Returns a fraction in percent with its interval."""
    if value.low is None or value.high is None:
        return percent(value.estimate)
    return f"{percent(value.estimate)} [{percent(value.low)}, {percent(value.high)}]"


def difference(value: Interval) -> str:
    """Returns a difference in points with its interval."""
    return f"{percent(value.estimate, sign=True)} {points_span(value.low, value.high)}".rstrip()
