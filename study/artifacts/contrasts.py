"""Which arms of a plan a declared contrast compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from search_spaces.contrasts import START, ZERO_SHOT, Arm, Contrast
from search_spaces.recipes import PolicyDPO, Recipe, ZeroShot, with_num_labels
from study.artifacts.points import PlannedArm, Point

_Value = str | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedArm:
    """An arm with the point that it belongs to."""

    condition: str
    point: Point
    planned: PlannedArm
    has_own_labels: bool
    """Whether the condition is the point's source, with its threshold and round."""

    @property
    def label(self) -> str:
        """The condition with its threshold and round."""
        return self.point.source if self.has_own_labels else self.condition

    def agrees(self, arm: Arm) -> bool:
        """Returns whether the declaration names this arm."""
        own = self.point if self.has_own_labels else None
        return (
            arm.condition == self.condition
            and arm.model in (None, self.point.model)
            and arm.method in (None, self.point.recipe.method)
            and arm.recipe in (None, self.point.recipe)
            and arm.threshold in (None, own and own.threshold)
            and arm.round in (None, own and own.ssrm_round)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPair:
    """Two arms on the same test items."""

    contrast: Contrast
    first: PlacedArm
    second: PlacedArm


def pairs_of(contrast: Contrast, points: Sequence[Point]) -> tuple[ArmPair, ...]:
    """Returns the pairs of arms that a contrast compares, in the order of the points.

    Unless both arms name it, both have the same model, recipe, threshold and round.
    Arms whose numbers of labels differ by their conditions are paired only if no recipe is equal.
    """
    points = [
        point
        for point in points
        if point.test_level.name == contrast.test_level
        and contrast.task in (None, point.task)
        and contrast.measure in (None, point.measure)
    ]
    placed = list(_distinct(arm for point in points for arm in _arms(point)))
    firsts = [arm for arm in placed if arm.agrees(contrast.first)]
    if contrast.second.condition == START:
        started = [(arm, _start(arm)) for arm in firsts]
        found = [(first, second) for first, second in started if second is not None]
    else:
        seconds = [arm for arm in placed if arm.agrees(contrast.second)]
        found = [pair for pair in product(firsts, seconds) if _match(contrast, *pair)]
        equal = [(a, b) for a, b in found if a.point.recipe == b.point.recipe]
        if not _is_free(contrast, "method", "recipe"):
            found = equal or found
    return tuple(ArmPair(contrast=contrast, first=a, second=b) for a, b in found)


def check_contrasts(contrasts: Sequence[Contrast], points: Sequence[Point]) -> None:
    """Checks that every declared contrast has a pair of arms.

    Raises:
        ValueError: If one has none; with the contrast.
    """
    for contrast in contrasts:
        if not pairs_of(contrast, points):
            raise ValueError(
                f"contrast {contrast.name!r} on {contrast.test_level!r} has no pair of arms: the "
                "plan has no two such arms of one task, model, recipe, threshold and round. Name "
                "in the arms what may differ"
            )


def _arms(point: Point) -> Iterator[PlacedArm]:
    def placed(condition: str, arm: PlannedArm, *, own: bool = False) -> PlacedArm:
        return PlacedArm(condition=condition, point=point, planned=arm, has_own_labels=own)

    yield placed(point.condition, point.easy, own=True)
    yield placed(ZERO_SHOT, point.zero_shot)
    if point.hard is not None and point.hard_level is not None:
        yield placed(point.hard_level.name, point.hard)


def _start(arm: PlacedArm) -> PlacedArm | None:
    """The arm that another one's self-training starts from."""
    start = arm.point.start
    if start is None or not arm.has_own_labels:
        return None
    return PlacedArm(condition=START, point=arm.point, planned=start, has_own_labels=False)


def _distinct(arms: Iterator[PlacedArm]) -> Iterator[PlacedArm]:
    """Each arm once; as a source of its point rather than as the ceiling of another point."""
    seen: dict[tuple[object, ...], PlacedArm] = {}
    for arm in arms:
        point = arm.point
        recipe = point.recipe if arm.condition == ZERO_SHOT else None
        key = (arm.condition, point.task, point.measure, point.model, arm.planned.cells, recipe)
        if key not in seen or (arm.has_own_labels and not seen[key].has_own_labels):
            seen[key] = arm
    yield from seen.values()


def _is_free(contrast: Contrast, *fields: str) -> bool:
    """Whether both arms name one of these fields, which may therefore differ."""
    arms = (contrast.first, contrast.second)
    return all(any(getattr(arm, field) is not None for field in fields) for arm in arms)


def _match(contrast: Contrast, first: PlacedArm, second: PlacedArm) -> bool:
    """Whether two arms agree in what the contrast leaves open."""
    a, b = first.point, second.point
    if (a.task, a.measure) != (b.task, b.measure) or first.planned == second.planned:
        return False
    if not _is_free(contrast, "model") and a.model != b.model:
        return False
    if not _is_free(contrast, "method", "recipe") and _kind(a.recipe) != _kind(b.recipe):
        return False
    if not (first.has_own_labels and second.has_own_labels):
        return True
    return (_is_free(contrast, "threshold") or _agree(a.threshold, b.threshold)) and (
        _is_free(contrast, "round") or _agree(a.ssrm_round, b.ssrm_round)
    )


def _kind(recipe: Recipe) -> Recipe:
    """The recipe whatever its number of labels."""
    if isinstance(recipe, ZeroShot | PolicyDPO):
        return recipe
    return with_num_labels(recipe, 1)


def _agree(first: _Value, second: _Value) -> bool:
    """Whether two values are equal, or one arm has none."""
    return first is None or second is None or first == second
