"""Accuracy over the number, noise rate and cost of labels, and where easy and hard labels cross.

All sources of one level form one curve, whatever the names of their conditions; the hard arm is a
point on the curve of hard labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search_spaces.explain import count
from search_spaces.levels import Level
from search_spaces.supervision import LabelKind
from study.analysis.accuracy_curves import ArmMeter, Curve, CurvePanel, CurvePoint
from study.analysis.names import LABEL_COUNTS, recipe_labels, source_label
from study.analysis.surface import ArmReader, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts.points import PlannedArm
from study.statistics.across_points.crossing import Crossing, CurveArm, find_crossing

AXES: Mapping[str, str] = {
    "noise_rate": "noise rate",
    "num_labels": "labels",
    "label_cost": "cost of the labels",
}
"""Axis -> title."""

NOISE_KINDS: tuple[LabelKind, ...] = ("noise", "paper noise")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelCurves:
    """The curves of one model, recipe, test level and axis."""

    model: str
    task: str
    measure: str
    method: str
    test_level: Level
    axis: str
    """See `AXES`."""
    panel: CurvePanel
    easy: str
    """Name of the curve of the easiest labels; empty without one."""
    hard: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """One trained arm with the facts of its labels."""

    name: str
    """Name of its curve."""
    arm: PlannedArm
    level: Level | None
    kind: LabelKind
    num_labels: int
    noise_rate: float
    price: float


def label_curves(surface: Surface) -> tuple[LabelCurves, ...]:
    """Returns curves over those of noise rate, number and cost of labels that the study varies."""
    meter = ArmMeter(surface)
    labels = recipe_labels((row.point.recipe for row in surface.rows), without=LABEL_COUNTS)
    groups: dict[tuple[str, str, str, str, Level], list[SurfaceRow]] = {}
    # A hard arm is scored on every test level, but only points of its own level name it.
    ceilings: dict[tuple[str, str, str, str], list[SurfaceRow]] = {}
    for row in surface.rows:
        point = row.point
        method = labels[recipe_text(point.recipe)]
        key = (point.model, point.task, point.measure, method, point.test_level)
        if row.role != "control":
            groups.setdefault(key, []).append(row)
            ceilings.setdefault(key[:-1], []).append(row)
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    panels = []
    for (model, task, measure, method, test), rows in groups.items():
        hard = next((row.point.hard_level for row in rows if row.point.hard_level), None)
        sources = list(_sources(rows, ceilings[model, task, measure, method]))
        for axis, title, note, chosen, place in _cuts(sources, hard):
            column = f"{model}, {task} by {measure}" if several_tasks else model
            curves = _curves(meter, task, measure, test, chosen, place)
            if not any(len(curve.points) > 1 for curve in curves):
                continue
            easy = min(
                (s for s in chosen if s.level is not None),
                key=lambda source: source.level.low if source.level else 0.0,
                default=None,
            )
            ends = ("" if easy is None else easy.name, "" if hard is None else hard.name)
            panels.append(
                LabelCurves(
                    model=model,
                    task=task,
                    measure=measure,
                    method=method,
                    test_level=test,
                    axis=axis,
                    panel=CurvePanel(
                        row=", ".join(filter(None, (f"{method} on {test.name}", note))),
                        column=column,
                        x_title=title,
                        curves=curves,
                        model=model,
                        method=rows[0].point.recipe.method,
                        task=task,
                        level=test.name,
                        is_log=axis != "noise_rate",
                        crossing=_crossing(
                            surface, (task, measure, test), chosen, place, ends, axis
                        ),
                    ),
                    easy=ends[0],
                    hard=ends[1],
                )
            )
    return tuple(panels)


def _sources(rows: Sequence[SurfaceRow], ceilings: Iterable[SurfaceRow]) -> Iterator[_Source]:
    """Yields the source of each point, then the hard arms, which have clean labels.

    Args:
        rows: The points of one test level.
        ceilings: Those of every test level.
    """
    prices: dict[str, float] = {}
    for row in rows:
        level = row.point.train_level
        if level is not None:
            # A plain condition has no price: its labels cost as much as others of their level.
            prices[level.name] = max(prices.get(level.name, 1.0), row.point.label_cost)
    for row in rows:
        point = row.point
        level = point.train_level if row.role == "labels" else None
        yield _Source(
            name=source_label(point) if level is None else level.name,
            arm=point.easy,
            level=level,
            kind=row.label_kind,
            num_labels=point.num_labels,
            noise_rate=point.noise_rate or 0.0,
            price=point.label_cost if level is None else prices[level.name],
        )
    for row in ceilings:
        point = row.point
        if point.hard is not None and point.hard_level is not None and row.hard_labels:
            yield _Source(
                name=point.hard_level.name,
                arm=point.hard,
                level=point.hard_level,
                kind="gold",
                num_labels=row.hard_labels,
                noise_rate=0.0,
                price=prices.get(point.hard_level.name, 1.0),
            )


_Place = Callable[[_Source], float]


def _cuts(
    sources: Sequence[_Source], hard: Level | None
) -> Iterator[tuple[str, str, str, list[_Source], _Place]]:
    """Yields each axis along which these sources vary: title, note, sources and x of a source."""
    clean = [source for source in sources if source.kind == "gold"]
    for kind in NOISE_KINDS:
        noisy = [s for s in sources if s.kind == kind and s.level is not None]
        for number in dict.fromkeys(source.num_labels for source in noisy):
            chosen = [
                source
                for source in (*clean, *noisy)
                if source.num_labels == number and source.level is not None
            ]
            factor = _noise_factor(chosen, hard)
            title, name = AXES["noise_rate"], "" if hard is None else hard.name
            if factor != 1.0:
                title += f" ({factor:g} times as high for {name})"
            note = f"{count(number, 'label')}, {kind}"
            yield "noise_rate", title, note, chosen, _noise_place(name, factor)
    if len({source.num_labels for source in clean}) > 1:
        yield "num_labels", AXES["num_labels"], "", clean, lambda source: float(source.num_labels)
    if len({source.price for source in clean}) > 1:
        title = f"{AXES['label_cost']} (in easiest-level labels)"
        yield "label_cost", title, "", clean, lambda source: source.num_labels * source.price


def _noise_place(hard: str, factor: float) -> _Place:
    def place(source: _Source) -> float:
        return source.noise_rate / (factor if source.name == hard else 1.0)

    return place


def _noise_factor(sources: Iterable[_Source], hard: Level | None) -> float:
    """Ratio of the noise rate of hard labels to that of others, if the study pairs them so."""
    rates: dict[bool, set[float]] = {True: set(), False: set()}
    for source in sources:
        if source.noise_rate:
            rates[hard is not None and source.name == hard.name].add(source.noise_rate)
    ours, theirs = sorted(rates[False]), sorted(rates[True])
    if not ours or len(ours) != len(theirs):
        return 1.0
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    # Rates are rounded to whole labels, so the ratios differ slightly.
    factor = round(float(np.median(ratios)), 1)
    return factor if all(abs(ratio / factor - 1.0) < 0.1 for ratio in ratios) else 1.0


def _curves(
    meter: ArmMeter,
    task: str,
    measure: str,
    test: Level,
    sources: Iterable[_Source],
    place: _Place,
) -> tuple[Curve, ...]:
    curves: dict[str, dict[float, CurvePoint]] = {}
    for source in sources:
        x = place(source)
        if x in curves.get(source.name, {}):
            continue  # every point has the same hard arm
        point = meter.point(source.arm, task, measure, test, x, f"{x:g}")
        if point is not None:
            curves.setdefault(source.name, {})[x] = point
    return tuple(
        Curve(name=name, points=tuple(points[x] for x in sorted(points)))
        for name, points in curves.items()
    )


def _crossing(
    surface: Surface,
    where: tuple[str, str, Level],
    sources: Iterable[_Source],
    place: _Place,
    ends: tuple[str, str],
    axis: str,
) -> Crossing | None:
    """Crosses the curves of the easiest and the hard labels; costs and numbers as logarithms."""
    if ends[0] == ends[1] or "" in ends:
        return None
    reader = ArmReader(surface.items, surface.scores)
    level = reader.test_level(*where)
    is_log = axis != "noise_rate"
    curves: dict[str, dict[float, CurveArm]] = {name: {} for name in ends}
    for source in sources:
        x = place(source)
        if source.name in ends and reader.is_finished(source.arm):
            arm = replace(reader.arm(source.arm, *where), item_ids=level.ids)
            curve_arm = CurveArm(x=math.log(x) if is_log else x, arm=arm)
            curves[source.name].setdefault(x, curve_arm)
    easy, hard = (list(curves[name].values()) for name in ends)
    crossing = find_crossing(easy, hard, level=surface.level, clusters=level.clusters_by_id)
    return _unlogged(crossing) if crossing is not None and is_log else crossing


def _unlogged(crossing: Crossing) -> Crossing:
    def back(x: float | None) -> float | None:
        return None if x is None else math.exp(x)

    return replace(
        crossing,
        estimate=back(crossing.estimate),
        low=back(crossing.low),
        high=back(crossing.high),
        start=math.exp(crossing.start),
        stop=math.exp(crossing.stop),
    )
