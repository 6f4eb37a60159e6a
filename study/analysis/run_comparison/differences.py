"""Differences of two studies in accuracy and SGR, with intervals and one Holm correction."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from search_spaces.levels import Level
from study.analysis.run_comparison.coordinates import (
    ArmAtPoint,
    ComparedRun,
    Coordinates,
    Located,
    locate,
)
from study.analysis.run_comparison.identity import (
    FieldDifference,
    arm_differences,
    field_differences,
)
from study.analysis.surface import ArmReader, missing_reason
from study.analysis.surface_rows import Interval, SurfaceRow
from study.artifacts.points import PlannedArm
from study.statistics.across_points.multiplicity import holm, simultaneous_level
from study.statistics.arms import ArmScores
from study.statistics.differences import t_difference
from study.statistics.influences import Contrast, Influences, influences
from study.statistics.moments import Moments, independent, moments
from study.statistics.recovery import Roles
from study.statistics.sgr_difference import sgr_difference_of

Quantity = Literal["accuracy", "sgr"]
Pairing = Literal["paired", "unpaired", "same cells"]
PAIRED: Final = "paired"
UNPAIRED: Final = "unpaired"
SAME_CELLS: Final = "same cells"

NAMES = ("A", "B")
"""The studies in the names of arms and in messages."""

_NO_VARIANCE = "no variance over items or seeds"
_UNKNOWN = Interval()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDifference:
    """One quantity in both studies, or in the only one that has it."""

    quantity: Quantity
    where: Coordinates
    studies: Literal["both", "A", "B"] = "both"
    first: float | None = None
    """Value in A: a fraction of accuracy, or an SGR; over the common items if paired."""
    second: float | None = None
    difference: Interval = _UNKNOWN
    """A - B. The interval is simultaneous with all others of the comparison at its level
    (Bonferroni); the p-value, of the null that the two are equal, is not adjusted."""
    holm_p: float | None = None
    """p-value adjusted over all differences of the comparison."""
    pairing: Pairing | None = None
    """None if only one study has it."""
    first_items: int | None = None
    """Test items behind the value in A; with `paired` those that both studies have scored."""
    second_items: int | None = None
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Identity fields of the cells that differ, with both values; of an SGR those of its source."""
    reason: str | None = None
    """Why there is no difference."""

    @property
    def fields_text(self) -> str:
        """The fields with their values: `recipe.rank: 8 | 16; version: 2 | 3`."""
        pairs = self.fields.items()
        return "; ".join(f"{name}: {first} | {second}" for name, (first, second) in pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunComparison:
    """Two studies compared."""

    first: ComparedRun
    second: ComparedRun
    level: float
    """Joint coverage of the intervals."""
    num_tests: int
    """Differences in the Holm correction."""
    rows: tuple[RunDifference, ...]
    fields: tuple[FieldDifference, ...]

    def only_in(self, name: Literal["A", "B"]) -> tuple[RunDifference, ...]:
        """Returns what only one study has."""
        return tuple(row for row in self.rows if row.studies == name)

    @property
    def differing(self) -> tuple[RunDifference, ...]:
        """Differences that are significant after the correction, the smallest p-value first."""
        alpha = 1.0 - self.level
        found = [row for row in self.rows if row.holm_p is not None and row.holm_p < alpha]
        return tuple(sorted(found, key=lambda row: row.difference.p_value or 0.0))


def compare_runs(first: ComparedRun, second: ComparedRun) -> RunComparison:
    """Compares two studies at all coordinates that both have.

    Arms are paired by item id where both studies have the same data and the same split of the
    task, and by draw where they share draws of labels. Otherwise the studies count as independent
    samples of items, which is conservative if they share some. SGRs are compared where each study
    has one.

    Args:
        first: A. Its confidence level is that of the comparison.
        second: B.

    Returns:
        A row for each accuracy and then each SGR of both studies, in the order of A, and a row for
        each that only one of them has.
    """
    one, two = locate(first, second)
    pairs = [
        _Pair(quantity="accuracy", where=where, sides=(_of_arm(arm), _of_arm(two.arms[where])))
        for where, arm in one.arms.items()
        if where in two.arms
    ]
    pairs += [
        _Pair(quantity="sgr", where=where, sides=(_of_row(row), _of_row(two.points[where])))
        for where, row in one.points.items()
        if where in two.points
    ]
    joiner = _Joiner(first, second)
    joined = [joiner.join(pair) for pair in pairs]
    num_tests = sum(each.spread is not None for each in joined)
    level = simultaneous_level(first.surface.level, max(num_tests, 1))
    rows = [_row(pair, each, level) for pair, each in zip(pairs, joined, strict=True)]
    adjusted = holm([row.difference.p_value for row in rows])
    rows = [replace(row, holm_p=holm_p) for row, holm_p in zip(rows, adjusted, strict=True)]
    return RunComparison(
        first=first,
        second=second,
        level=first.surface.level,
        num_tests=num_tests,
        rows=(*rows, *_alone("A", one, two), *_alone("B", two, one)),
        fields=field_differences(
            (first, second), [row.fields for row in rows if row.quantity == "accuracy"]
        ),
    )


def _alone(name: Literal["A", "B"], own: Located, other: Located) -> Iterator[RunDifference]:
    """Yields the rows of what only one study has."""
    quantities: tuple[tuple[Quantity, Iterable[Coordinates], Container[Coordinates]], ...] = (
        ("accuracy", own.arms, other.arms),
        ("sgr", own.points, other.points),
    )
    for quantity, places, others in quantities:
        for where in places:
            if where not in others:
                yield RunDifference(
                    quantity=quantity, where=where, studies=name, reason=f"only in {name}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """One study's part of a difference."""

    place: tuple[str, str, Level]
    arms: Mapping[str, PlannedArm]
    """Role -> arm: one arm for an accuracy, three for an SGR."""
    value: float | None = None
    """On all test items, where it is known."""
    reason: str | None = None
    """Why it has no value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """Two sides with the same coordinates."""

    quantity: Quantity
    where: Coordinates
    sides: tuple[_Side, _Side]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Joined:
    """A pair of sides with the joint moments of their contrasts."""

    pairing: Pairing
    fields: Mapping[str, tuple[str, str]]
    spread: Moments | None = None
    """Of the mean of each arm, or of both gains of each SGR; None with a reason."""
    items: tuple[int | None, int | None] = (None, None)
    reason: str | None = None


_ARM = "arm"
_ROLES = Roles("zero-shot", "source", "hard")


def _of_arm(arm: ArmAtPoint) -> _Side:
    return _Side(place=arm.point.place, arms={_ARM: arm.planned}, value=arm.accuracy)


def _of_row(row: SurfaceRow) -> _Side:
    point = row.point
    arms = {_ROLES.floor: point.zero_shot, _ROLES.source: point.easy}
    if point.hard is not None:
        arms[_ROLES.ceiling] = point.hard
    reason = row.reason if row.has_floor else row.verdict_note
    return _Side(place=point.place, arms=arms, value=row.sgr.estimate, reason=reason)


def _roles(number: int) -> Roles:
    """The roles of a study's arms among those of both."""
    return Roles(*(f"{role} {NAMES[number]}" for role in _ROLES))


class _Joiner:
    """Joins arms of two studies by item id and by draw."""

    def __init__(self, first: ComparedRun, second: ComparedRun) -> None:
        self._runs = (first, second)
        self._readers = [ArmReader(run.surface.items, run.surface.scores) for run in self._runs]
        self._cells = [{planned.id: planned for planned in run.plan.cells} for run in self._runs]

    def join(self, pair: _Pair) -> _Joined:
        """Returns the joint moments of a pair, or the reason why there are none."""
        first, second = pair.sides
        pairing: Pairing = PAIRED if self._have_one_split(first.place[0]) else UNPAIRED
        if (first.place, first.arms) == (second.place, second.arms) and pairing == PAIRED:
            return _Joined(pairing=SAME_CELLS, fields={}, reason=SAME_CELLS)
        fields = self._fields(pair)
        reasons = [self._reason(number, side) for number, side in enumerate(pair.sides)]
        if any(reasons):
            return _Joined(pairing=pairing, fields=fields, reason="; ".join(filter(None, reasons)))
        try:
            parts = self._parts(pair, is_paired=pairing == PAIRED)
        except ValueError as error:  # no common item, or an arm without a score
            return _Joined(pairing=pairing, fields=fields, reason=str(error))
        if any(part.unit_weights is None for part in parts):
            return _Joined(pairing=pairing, fields=fields, reason=_NO_VARIANCE)
        spreads = [moments(part) for part in parts]
        return _Joined(
            pairing=pairing,
            fields=fields,
            spread=spreads[0] if len(spreads) == 1 else independent(*spreads),
            items=(parts[0].sample.num_items, parts[-1].sample.num_items),
        )

    def _have_one_split(self, task: str) -> bool:
        hashes = [run.surface.items.test[task] for run in self._runs]
        return len({(items.data_hash, items.split_hash) for items in hashes}) == 1

    def _fields(self, pair: _Pair) -> Mapping[str, tuple[str, str]]:
        role = _ARM if pair.quantity == "accuracy" else _ROLES.source
        one, two = (
            [self._cells[number][id_] for id_ in side.arms[role].cells]
            for number, side in enumerate(pair.sides)
        )
        return arm_differences(one, two)

    def _reason(self, number: int, side: _Side) -> str | None:
        """Why a side cannot be compared."""
        reason = side.reason or missing_reason(side.arms, self._runs[number].surface.scores)
        if reason is None and not len(self._readers[number].test_level(*side.place).columns):
            reason = f"no test item in {side.place[2].name}"
        return reason and f"{NAMES[number]}: {reason}"

    def _parts(self, pair: _Pair, *, is_paired: bool) -> list[Influences]:
        """The contrasts of both sides on common items, or of each side on its own."""
        names: dict[PlannedArm, str] = {}
        arms: list[dict[str, ArmScores]] = []
        contrasts: list[list[Contrast]] = []
        clusters: list[Mapping[str, str] | None] = []
        for number, side in enumerate(pair.sides):
            reader = self._readers[number]
            test = reader.test_level(*side.place)
            if not is_paired:
                names = {}
            # Cells of both studies enter once, with covariance 1.
            own = {
                role: names.setdefault(arm, f"{role} {NAMES[number]}")
                for role, arm in side.arms.items()
            }
            arms.append(
                {
                    own[role]: replace(reader.arm(arm, *side.place), item_ids=test.ids)
                    for role, arm in side.arms.items()
                }
            )
            contrasts.append(_contrasts(own))
            clusters.append(test.clusters_by_id)
        if is_paired:
            common = None if None in clusters else {**(clusters[0] or {}), **(clusters[1] or {})}
            return [influences(arms[1] | arms[0], [*contrasts[0], *contrasts[1]], common)]
        return [influences(*each) for each in zip(arms, contrasts, clusters, strict=True)]


def _contrasts(names: Mapping[str, str]) -> list[Contrast]:
    """The mean of an arm, or numerator and denominator of an SGR."""
    if _ARM in names:
        return [{names[_ARM]: 1.0}]
    roles = Roles(*(names[role] for role in _ROLES))
    return [roles.numerator, roles.denominator]


def _row(pair: _Pair, joined: _Joined, level: float) -> RunDifference:
    first, second = (side.value for side in pair.sides)
    found, reason = _UNKNOWN, joined.reason
    if joined.spread is not None and pair.quantity == "accuracy":
        first, second = (float(value) for value in joined.spread.values)
        found = Interval.of(t_difference(joined.spread.combine([1.0, -1.0]), level=level))
        reason = _NO_VARIANCE if found.p_value is None else None
    elif joined.spread is not None:
        share = sgr_difference_of(joined.spread, _roles(0), _roles(1), level=level)
        found = Interval(
            estimate=share.estimate, low=share.low, high=share.high, p_value=share.p_value
        )
        if share.estimate is not None:
            first, second = share.first, share.second
        reason = share.reason or None
    return RunDifference(
        quantity=pair.quantity,
        where=pair.where,
        first=first,
        second=second,
        difference=found,
        pairing=joined.pairing,
        first_items=joined.items[0],
        second_items=joined.items[1],
        fields=joined.fields,
        reason=reason,
    )
