"""Writes docs/results/arc.md from the archived records: `python -m benchmarks.arc_results`.

Reads docs/results/arc_small_models (`study.archive`), finished or not: neither data nor weights are
needed, and no model runs. Every number and every sentence of the page comes from the records.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.arc_figures import Panels, Point, draw_panels
from search_spaces.levels import Level
from search_spaces.registry import named_spaces
from study.analysis.contrasts import declared_contrasts
from study.analysis.label_curves import label_curves
from study.analysis.names import outcome
from study.analysis.pooled import pooled_rows
from study.analysis.power_analysis import estimate_power, power_parts
from study.analysis.self_training.audit import AuditRow, audit_rows
from study.analysis.self_training.rounds import read_rounds
from study.analysis.surface import ArmReader, Surface, compute_surface
from study.analysis.surface_rows import Interval, SurfaceRow
from study.archive import RECORDS, restore_study
from study.artifacts.plan import Plan, read_plan
from study.artifacts.points import PlannedArm
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.formatting import duration, number, percent, points_span, span, text_of
from study.reporting.findings import findings
from study.reporting.surface_views.tiles import Status, status
from study.statistics.across_points.pooled_sgr import MIN_POINTS
from trainables.storage.filesystem import Storage, open_storage

RESULTS = Path(__file__).parents[1] / "docs" / "results"
STUDY = "arc_small_models"
MODULE = f"search_spaces.studies.small.{STUDY}"

GRADES = tuple(Level(name=f"grade {grade}", low=grade, high=grade) for grade in range(3, 9))

BUDGET_HOURS = 5
"""Of 2 cores."""

LEFT_OUT = ("arc_gemma3_lora", "arc_gemma3_in_context", "arc_gemma3_ssrm")
"""Spaces that do not fit into the budget, in the order in which they were dropped."""

TARGET_WIDTH = 1.0
"""Of an SGR interval, for the seeds and items that the last section asks for."""


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
    def audit(self) -> tuple[AuditRow, ...]:
        """Pseudo-labels against gold."""
        return audit_rows(read_rounds(self.storage, self.plan, self.surface).audited)

    def method(self, row: SurfaceRow) -> str:
        """The method with its prompt, and with its number of examples if it shows some."""
        recipe = row.point.recipe
        shown = f" k={row.point.num_labels}" if recipe.method == "in-context" else ""
        return f"{recipe.method}{shown}{', listed prompt' if recipe.prompt else ''}"

    def interval(self, arm: PlannedArm, row: SurfaceRow, level: Level) -> Interval | None:
        """An arm's accuracy on a level with its interval."""
        place = (row.point.task, row.point.measure, level)
        return self.reader.accuracy(arm, place, self.surface.level)

    def accuracy(self, arm: PlannedArm, row: SurfaceRow, level: Level) -> str:
        """The same as text."""
        found = self.interval(arm, row, level)
        if found is None:
            return "-"
        return f"{percent(found.estimate)} {_points(found.low, found.high)}"


def main() -> int:
    """Writes the page; returns the exit status."""
    archive = open_storage(str(RESULTS / STUDY))
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(folder)
        parts = tuple(_parts(archive, storage))
        if not parts:
            print(
                f"no records in {archive.root}: archive a space of {STUDY} first", file=sys.stderr
            )
            return 2
        _draw(parts)
        page = RESULTS / "arc.md"
        page.write_text("\n".join(_page(parts)))
    print(f"{page}: {', '.join(part.name for part in parts)}")
    return 0


def spaces() -> list[str]:
    """Returns the names of the study's spaces, in their order."""
    return [name for name, make in named_spaces().items() if make.__module__ == MODULE]


def _parts(archive: Storage, storage: Storage) -> Iterator[Part]:
    for name in spaces():
        if archive.exists(f"{name}/{RECORDS}"):
            restore_study(archive, read_plan(archive, name), storage)
    for name in spaces():
        if archive.exists(f"{name}/{RECORDS}"):
            plan = read_plan(storage, name)
            yield Part(storage=storage, plan=plan, surface=compute_surface(storage, plan))


def _page(parts: Sequence[Part]) -> Iterator[str]:
    yield Path(__file__).with_name("arc_results_head.md").read_text()
    yield from _section("What was found", _findings(parts))
    yield from _section("Surface: easy, medium and all labels against hard ones", _surface(parts))
    yield from _section("Declared contrasts", _contrasts(parts))
    yield from _section("Accuracy by grade", _by_grade(parts))
    yield from _section("Learning curve", _curve(parts))
    yield from _section("Pooled SGR", _pooled(parts))
    yield from _section("Self-training on unlabelled hard questions", _self_training(parts))
    yield from _section("What ran, where, and how long", _runs(parts))
    yield from _section("What is not resolved", _unresolved(parts))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"## {title}\n"
    yield from lines
    yield ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        yield "No cell of this section has finished yet."
        return
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def _brief(text: str) -> str:
    """Returns a text without the hyper-parameters that a search found: a space has one recipe."""
    return re.sub(r" (?:search|l2|n_train|learning_rate|layers)=[^\s,)]+", "", text)


def _points(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def _difference(interval: Interval) -> str:
    return f"{percent(interval.estimate, sign=True)} {points_span(interval.low, interval.high)}"


def _labelled(part: Part) -> list[SurfaceRow]:
    """The finished points of gold labels in the recipe's own number."""
    levels = {level.name for axis in part.plan.space.tasks for level in axis.train_levels}
    return [
        row
        for row in part.surface.rows
        if row.estimate is not None and row.point.condition in levels | {"all"}
    ]


def _draw(parts: Sequence[Part]) -> None:
    folder = RESULTS / STUDY
    curves = dict(_curve_panels(parts))
    grades = {title: of for title, of in _grade_panels(parts).items() if len(of) > 1}
    thresholds = _threshold_panels(parts)
    accuracy = "accuracy, %"
    if grades:
        draw_panels(folder / "grades.svg", grades, x="school grade", y=accuracy)
    if curves:
        draw_panels(folder / "curve.svg", curves, x="labels", y=accuracy, log_x=True)
    if thresholds:
        draw_panels(
            folder / "ssrm.svg", thresholds, x="threshold", y="gain over start, points", zero=True
        )


def _picture(name: str, text: str) -> Iterator[str]:
    if (RESULTS / STUDY / name).exists():
        yield f"![{text}]({STUDY}/{name})\n"


def _percents(x: float, mean: float, low: float | None, high: float | None) -> Point:
    return (
        x,
        100 * mean,
        None if low is None else 100 * low,
        None if high is None else 100 * high,
    )


def _grade_panels(parts: Sequence[Part]) -> Panels:
    panels: dict[str, dict[str, list[Point]]] = {}
    for (model, method, name), (part, row, arm) in sorted(_grade_arms(parts).items()):
        found = [(level, part.interval(arm, row, level)) for level in GRADES]
        panels.setdefault(f"{model}, {method}", {})[name] = [
            _percents(level.low, value.estimate, value.low, value.high)
            for level, value in found
            if value is not None
        ]
    return panels


def _curve_panels(parts: Sequence[Part]) -> Iterator[tuple[str, Mapping[str, Sequence[Point]]]]:
    for part in parts:
        for curves in label_curves(part.surface):
            series = {
                curve.name: [_percents(p.x, p.mean, p.low, p.high) for p in curve.points]
                for curve in curves.panel.curves
                if curves.axis == "num_labels" and len(curve.points) > 1
            }
            if series:
                method = _brief(curves.method)
                yield f"{curves.model}, {method},\ntested on {curves.test_level.name}", series


def _threshold_panels(parts: Sequence[Part]) -> Panels:
    panels: dict[str, dict[str, list[Point]]] = {}
    for part in parts:
        for row in _rounds_on_hard(part):
            options = row.point.self_training
            if options is not None and options.threshold is not None:
                gain = row.ssrm_gain
                panel = panels.setdefault(f"{row.point.model}, {part.method(row)}", {})
                panel.setdefault(options.targets, []).append(
                    _percents(options.threshold, gain.estimate, gain.low, gain.high)
                )
    return panels


def _rounds_on_hard(part: Part) -> list[SurfaceRow]:
    """The finished rounds of self-training, tested on hard questions."""
    return [
        row
        for row in part.surface.rows
        if row.gain_over_start is not None and row.point.test_level.name == "hard"
    ]


def _findings(parts: Sequence[Part]) -> Iterator[str]:
    open_ = []
    for part in parts:
        if any(row.estimate is not None for row in part.surface.rows):
            yield f"* `{part.name}`: {_brief(' '.join(findings(part.plan, part.surface)))}"
        elif part.name not in LEFT_OUT:
            open_.append(part.name)
    if open_:
        yield f"* No point has all of its cells yet in {_names(open_)}."
    yield f"* Left out ([why](#what-ran-where-and-how-long)): {_names(LEFT_OUT)}."


def _names(spaces: Sequence[str]) -> str:
    return ", ".join(f"`{space}`" for space in spaces)


def _surface(parts: Sequence[Part]) -> Iterator[str]:
    header = ("model", "method", "by", "train -> test", "zero-shot", "source", "hard", "SGR")
    yield from _table(
        header,
        (
            (
                row.point.model,
                part.method(row),
                row.point.measure,
                f"{row.point.condition} -> {row.point.test_level.name}",
                part.accuracy(row.point.zero_shot, row, row.point.test_level),
                part.accuracy(row.point.easy, row, row.point.test_level),
                "-"
                if row.point.hard is None
                else part.accuracy(row.point.hard, row, row.point.test_level),
                outcome(row),
            )
            for part in parts
            for row in _labelled(part)
        ),
    )
    yield "\n`hard`: the same method trained on the level of the test questions."


def _contrasts(parts: Sequence[Part]) -> Iterator[str]:
    yield (
        "Differences of accuracy in points with simultaneous intervals; p-values are adjusted by "
        "Holm in each space.\n"
    )
    yield from _table(
        ("model", "method", "contrast", "by", "tested on", "null", "first - second", "adjusted p"),
        (
            (
                *_where(result.where),
                result.contrast.null,
                _difference(result.estimate),
                "-" if result.holm_p is None else f"{result.holm_p:.3f}",
            )
            for part in parts
            for result in declared_contrasts(part.plan, part.surface)
            if result.reason is None
        ),
    )


def _where(text: str) -> Sequence[str]:
    """Returns model, method, pair of arms, measure and test level of a contrast."""
    model, method, *arms, axis, level = _brief(text).split(", ")
    return (model, method, ", ".join(arms).replace(" round 1", ""), axis, level)


def _by_grade(parts: Sequence[Part]) -> Iterator[str]:
    yield from _picture("grades.svg", "Accuracy by school grade and source of labels")
    header = ("model", "method", "labels", *(level.name for level in GRADES))
    yield from _table(
        header,
        (
            (*key, *(part.accuracy(arm, row, grade) for grade in GRADES))
            for key, (part, row, arm) in sorted(_grade_arms(parts).items())
        ),
    )


def _grade_arms(
    parts: Sequence[Part],
) -> dict[tuple[str, str, str], tuple[Part, SurfaceRow, PlannedArm]]:
    """Returns each finished arm by grade: model, method and source of labels."""
    arms: dict[tuple[str, str, str], tuple[Part, SurfaceRow, PlannedArm]] = {}
    for part in parts:
        for row in part.surface.rows:
            point = row.point
            if point.measure != "grade" or point.self_training is not None:
                continue
            named = {"zero-shot": point.zero_shot, point.condition: point.easy}
            if point.hard is not None and point.hard_level is not None:
                named[point.hard_level.name] = point.hard
            for name, arm in named.items():
                if part.reader.is_finished(arm) and not name[0].isdigit():
                    arms.setdefault((point.model, part.method(row), name), (part, row, arm))
    return arms


def _curve(parts: Sequence[Part]) -> Iterator[str]:
    yield from _picture("curve.svg", "Accuracy by number of labels")
    for part in parts:
        for curves in label_curves(part.surface):
            if curves.axis != "num_labels":
                continue
            counts = sorted({p.x for curve in curves.panel.curves for p in curve.points})
            rows = []
            levels = part.plan.space.tasks[0].train_levels
            order = [level.name for level in levels]
            for curve in sorted(curves.panel.curves, key=lambda curve: _place(order, curve.name)):
                if len(curve.points) < 2:  # other conditions have one number of labels
                    continue
                by_count = {point.x: point for point in curve.points}
                cells = [
                    f"{percent(by_count[n].mean)} {_points(by_count[n].low, by_count[n].high)}"
                    if n in by_count
                    else "-"
                    for n in counts
                ]
                rows.append((curve.name, *cells))
            test = curves.test_level.name
            yield f"\n{curves.model}, {_brief(curves.method)}, tested on {test}:\n"
            header = ("labels of", *(f"{n:g}" for n in counts))
            yield from _table(header, rows)


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _pooled(parts: Sequence[Part]) -> Iterator[str]:
    rows = []
    for part in parts:
        for row in pooled_rows(part.surface):
            result = row.result
            if result.num_points < MIN_POINTS or row.members[0][1] not in _labelled(part):
                continue
            share = f"{number(result.value)} {span(result.low, result.high)}"
            rows.append(
                (row.axis, _brief(row.where), str(result.num_points), result.reason or share)
            )
    yield from _table(("over", "where", "points", "SGR"), rows)


def _self_training(parts: Sequence[Part]) -> Iterator[str]:
    yield from _picture("ssrm.svg", "Gain of self-training over its start by threshold")
    yield "`start` is easy labels alone; gains are paired by seed.\n"
    header = (
        "model",
        "method",
        "labels of the selected",
        "tau",
        "selected",
        "right",
        "start",
        "after",
        "gain",
        "share of hard - start",
    )
    yield from _table(
        header,
        (_gain(part, row) for part in parts for row in _rounds_on_hard(part)),
    )


def _gain(part: Part, row: SurfaceRow) -> Sequence[str]:
    options = row.point.self_training
    assert options is not None and row.point.start is not None
    cells = set(row.point.easy.cells)
    audited = [a for a in part.audit if a.cell in cells and _is_pool(a)]
    return (
        row.point.model,
        part.method(row),
        options.targets,
        f"{options.threshold:g}",
        _mean([a.num_selected for a in audited], "{:.0f}"),
        _mean(
            [None if a.selected_accuracy is None else 100 * a.selected_accuracy for a in audited],
            "{:.1f} %",
        ),
        percent(row.start),
        percent(row.easy),
        _difference(row.ssrm_gain),
        f"{number(row.residual.estimate)} {span(row.residual.low, row.residual.high)}",
    )


def _is_pool(row: AuditRow) -> bool:
    return row.items == "pool" and row.moment == "before" and row.level is None


def _mean(values: Sequence[float | None], shown: str) -> str:
    known = [value for value in values if value is not None]
    return shown.format(np.mean(known)) if known else "-"


def _runs(parts: Sequence[Part]) -> Iterator[str]:
    rows = []
    for part in parts:
        records = part.surface.scores.records
        flop = [(cell.flop, cell.id in records) for cell in part.plan.cells]
        planned, done = (
            sum(work for work, is_done in flop if is_done or not only_done) / CPU_FLOP_PER_SECOND
            for only_done in (False, True)
        )
        rows.append(
            (
                f"`{part.name}`",
                f"{len(records)} of {len(part.plan.cells)}",
                duration(planned),
                duration(done),
                duration(sum(record.seconds["total"] for record in records.values())),
            )
        )
    header = ("space", "cells finished", "core time planned", "of those finished", "taken")
    yield from _table(header, rows)
    yield (
        "\nTaken: wall-clock time of one thread on a machine of 2 cores that other work shared, so "
        f"an upper bound. Planned at {_per_second(CPU_FLOP_PER_SECOND)}, the guess before cells "
        "are timed. Cells that several spaces share count in each."
    )
    yield from _budget(parts)
    hosts = Counter(
        (
            str(r.execution.get("host")),
            str(r.execution.get("device")),
            str(r.execution.get("class")),
        )
        for part in parts
        for r in part.surface.scores.records.values()
    )
    yield ""
    for (host, device, kind), count in hosts.items():
        yield f"* {count} cells on {device}, host {host}, class {kind}"


def _budget(parts: Sequence[Part]) -> Iterator[str]:
    """The plan of all spaces, and the measured speed."""
    planned = {part.name: part.plan.flop for part in parts}
    total, left_out = sum(planned.values()), sum(planned[name] for name in LEFT_OUT)
    cells = {cell.id: cell for part in parts for cell in part.plan.cells}
    records = {id_: r for part in parts for id_, r in part.surface.scores.records.items()}
    seconds = sum(r.seconds["total"] - r.seconds.get("load", 0.0) for r in records.values())
    speed = sum(cells[id_].flop for id_ in records) / seconds
    yield (
        f"\nBefore the run the plan estimated {_hours(total, CPU_FLOP_PER_SECOND)} of one core for "
        f"all {len(planned)} spaces, more than the budget of {BUDGET_HOURS} hours of 2 cores. So "
        f"{_names(LEFT_OUT)} ({_hours(left_out, CPU_FLOP_PER_SECOND)}) are left out, in this "
        f"order. The other {len(planned) - len(LEFT_OUT)} spaces were planned to take "
        f"{_hours(total - left_out, CPU_FLOP_PER_SECOND)}. The finished cells ran at "
        f"{_per_second(speed)} on average; an idle core reaches 48 to 70 GFLOP/s "
        "([performance](../reference/performance.md))."
    )


def _hours(flop: float, per_second: float) -> str:
    return f"{flop / per_second / 3600:.1f} hours"


def _per_second(flop: float) -> str:
    return f"{flop / 1e9:.0f} GFLOP/s a core"


def _unresolved(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        open_ = [row for row in _labelled(part) if status(row) is not Status.RESOLVED]
        if not open_:
            if _labelled(part):
                yield f"* `{part.name}`: every finished point is resolved."
            continue
        plan = part.plan.model_copy(update={"points": tuple(row.point for row in open_)})
        power = estimate_power(plan, target_width=TARGET_WIDTH, pilot=part.surface)
        yield f"\n`{part.name}` ({len(open_)} points without a precise SGR):\n\n```text"
        yield text_of(power_parts(power, target_width=TARGET_WIDTH))
        yield "```"


if __name__ == "__main__":
    sys.exit(main())
