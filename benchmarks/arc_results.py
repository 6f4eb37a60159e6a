"""Writes docs/results/arc.md from the archived records: `python -m benchmarks.arc_results`.

Reads docs/results/arc_small_models (`study.archive`), finished or not: neither data nor weights are
needed, and no model runs. Every number and every sentence of the page comes from the records.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.arc_costs import LEFT_OUT, run_lines, unresolved_lines
from benchmarks.arc_design import design_lines
from benchmarks.arc_figures import Panels, Point, draw_panels
from benchmarks.arc_findings import finding_lines, holm_sentence
from benchmarks.arc_parts import (
    STUDY,
    Part,
    difference,
    labelled_rows,
    method_label,
    natural,
    num_selected,
    pair_of,
    prompt_label,
    read_parts,
    spaces,
    table,
    with_interval,
)
from search_spaces.levels import Level
from search_spaces.recipes import LinearProbe
from study.analysis.contrasts import ContrastResult
from study.analysis.label_curves import LabelCurves, label_curves
from study.analysis.names import outcome
from study.analysis.pooled import PooledRow, pooled_rows
from study.analysis.surface_rows import Interval, SurfaceRow
from study.artifacts.points import PlannedArm
from study.artifacts.points import Point as PlannedPoint
from study.formatting import DASH, number, percent, span
from study.statistics.across_points.pooled_sgr import MIN_POINTS
from trainables.storage import layout
from trainables.storage.filesystem import open_storage

RESULTS = Path(__file__).parents[1] / "docs" / "results"

BY_GRADE = "grade"
"""Measure of the section on grades."""

GRADES = tuple(Level(name=f"grade {grade}", low=grade, high=grade) for grade in range(3, 9))

FIGURES = {
    "grades.svg": "Accuracy by school grade and source of labels",
    "curve.svg": "Accuracy by number of labels; dashed: zero-shot",
    "ssrm.svg": "Gain of self-training over its start by threshold",
}


def main() -> int:
    """Writes the page and its figures; returns the exit status."""
    archive = open_storage(str(RESULTS / STUDY))
    with tempfile.TemporaryDirectory() as folder:
        parts = tuple(read_parts(archive, open_storage(folder), spaces()))
        if not parts:
            print(
                f"no records in {archive.root}: archive a space of {STUDY} first", file=sys.stderr
            )
            return 2
        draw(parts, RESULTS / STUDY)
        page = RESULTS / "arc.md"
        page.write_text(page_text(parts))
    print(f"{page}: {', '.join(part.name for part in parts)}")
    return 0


def page_text(parts: Sequence[Part]) -> str:
    """Returns the page."""
    sections = (
        ("What was found", finding_lines(parts, LEFT_OUT)),
        ("Design", design_lines(parts)),
        ("Surface: easy, medium and all labels against hard ones", _surface(parts)),
        ("Declared contrasts", _contrasts(parts)),
        ("Accuracy by grade", _by_grade(parts)),
        ("Learning curve", _curve(parts)),
        ("Pooled SGR", _pooled(parts)),
        ("Self-training on unlabelled hard questions", _self_training(parts)),
        ("What ran, where, and how long", run_lines(parts)),
        ("What is not resolved", unresolved_lines(parts)),
    )
    head = Path(__file__).with_name("arc_results_head.md").read_text()
    blocks = [head, *("\n".join([f"## {title}\n", *lines, ""]) for title, lines in sections)]
    return "\n".join(blocks)


def draw(parts: Sequence[Part], folder: Path) -> None:
    """Draws the figures that have data."""
    found = list(_number_curves(parts))
    curves = {_curve_title(part, c): _curve_series(part, c) for part, c in found}
    floors = {_curve_title(part, c): _zero_shot(part, c) for part, c in found}
    lines = {
        title: {"zero-shot": 100 * floor.estimate}
        for title, floor in floors.items()
        if floor is not None and floor.estimate is not None
    }
    accuracy = "accuracy, %"
    if grades := _grade_panels(parts):
        draw_panels(folder / "grades.svg", grades, x="school grade", y=accuracy)
    if curves:
        draw_panels(folder / "curve.svg", curves, x="labels", y=accuracy, log_x=True, lines=lines)
    if thresholds := _threshold_panels(parts):
        gain = "gain over start, points"
        zeros = {title: {"": 0.0} for title in thresholds}
        draw_panels(folder / "ssrm.svg", thresholds, x="threshold", y=gain, lines=zeros)


def _picture(name: str) -> str:
    return f"![{FIGURES[name]}]({STUDY}/{name})\n"


def _percents(x: float, value: Interval) -> Point:
    mean, low, high = (
        None if end is None else 100 * end for end in (value.estimate, value.low, value.high)
    )
    assert mean is not None
    return (x, mean, low, high)


def _surface(parts: Sequence[Part]) -> Iterator[str]:
    header = ("model", "method", "by", "train -> test", "zero-shot", "source", "hard")
    yield from table(
        (*header, "hard - zero-shot", "SGR"),
        (
            (
                row.point.model,
                method_label(row.point),
                row.point.measure,
                pair_of(row.point),
                part.accuracy(row.point.zero_shot, row.point.place),
                part.accuracy(row.point.easy, row.point.place),
                part.accuracy(row.point.hard, row.point.place),
                difference(row.hard_gain),
                outcome(row),
            )
            for part, row in labelled_rows(parts)
        ),
    )
    yield (
        "\n`hard`: the same method trained on the level of the test questions. `hard - zero-shot`: "
        "the gap in points, paired by question. These intervals, and the verdicts that follow from "
        "them, hold for one point at a time and are not adjusted for multiple tests. "
        + holm_sentence(parts, with_names=False)
    )


def _contrasts(parts: Sequence[Part]) -> Iterator[str]:
    yield (
        "Differences of accuracy in points. The intervals are simultaneous, and p-values are "
        "adjusted by Holm within each space, over its contrasts that could be tested: their cells "
        "have finished, and not every difference is 0. `easy_ssrm` trains on easy labels and "
        "pseudo-labels of hard questions. Its controls give the selected questions gold labels "
        "(`oracle_selected`) or random ones (`random_labels`), or train on as many repeated easy "
        "questions in their place (`easy_same_steps`).\n"
    )
    header = ("space", "method", "contrast", "by", "tested on", "null", "first - second")
    yield from table(
        (*header, "adjusted p"),
        (
            (
                f"`{part.name}`",
                method_label(result.point),
                _contrast_label(result),
                result.point.measure,
                result.point.test_level.name,
                result.contrast.null,
                difference(result.estimate),
                DASH if result.holm_p is None else f"{result.holm_p:.3f}",
            )
            for part in parts
            for result in part.contrasts
        ),
    )


def _contrast_label(result: ContrastResult) -> str:
    """Both conditions, with the threshold of a self-trained one."""
    threshold = result.point.threshold
    pair = f"{result.contrast.first.condition} - {result.contrast.second.condition}"
    return pair if threshold is None else f"{pair}, tau {threshold:g}"


@dataclass(frozen=True, kw_only=True)
class _GradeArm:
    """A finished arm that the section on grades shows."""

    part: Part
    row: SurfaceRow
    arm: PlannedArm
    method: str
    labels: str

    def at(self, grade: Level) -> Interval | None:
        """Its accuracy on a grade."""
        point = self.row.point
        return self.part.interval(self.arm, (point.task, point.measure, grade))


LABELS = ("none", "easy", "medium", "hard", "all")
"""Sources of labels, in the order of the section on grades."""


def _grade_arms(parts: Sequence[Part]) -> list[_GradeArm]:
    """Returns each finished arm once, sorted by model, method and labels."""
    arms: dict[tuple[str, str, str], _GradeArm] = {}
    for part in parts:
        for row in part.surface.rows:
            point = row.point
            if point.measure != BY_GRADE:
                continue
            method = method_label(point)
            named = [(f"zero-shot{prompt_label(point)}", "none", point.zero_shot)]
            if point.self_training is None:
                named.append((method, point.condition, point.easy))
            if point.hard is not None and point.hard_level is not None:
                named.append((method, point.hard_level.name, point.hard))
            for method, labels, arm in named:
                if labels in LABELS and part.reader.is_finished(arm):
                    new = _GradeArm(part=part, row=row, arm=arm, method=method, labels=labels)
                    arms.setdefault((point.model, method, labels), new)
    order = sorted(arms, key=lambda key: (key[0], natural(key[1]), LABELS.index(key[2])))
    return [arms[key] for key in order]


def _by_grade(parts: Sequence[Part]) -> Iterator[str]:
    if _grade_panels(parts):
        yield _picture("grades.svg")
    header = ("model", "method", "labels", *(level.name for level in GRADES))
    rows = []
    for shown in _grade_arms(parts):
        found = [shown.at(grade) for grade in GRADES]
        cells = [DASH if value is None else with_interval(value) for value in found]
        rows.append((shown.row.point.model, shown.method, shown.labels, *cells))
    yield from table(header, rows)


def _grade_panels(parts: Sequence[Part]) -> Panels:
    """A panel for each model and method with a trained arm, and zero-shot with its prompt."""
    arms = _grade_arms(parts)
    zero_shot = {shown.arm: _grade_points(shown) for shown in arms if shown.labels == LABELS[0]}
    panels: dict[str, dict[str, list[Point]]] = {}
    for shown in arms:
        if shown.labels != LABELS[0]:
            point = shown.row.point
            start = (
                {"zero-shot": zero_shot[point.zero_shot]} if point.zero_shot in zero_shot else {}
            )
            panel = panels.setdefault(f"{point.model}, {shown.method}", start)
            panel[shown.labels] = _grade_points(shown)
    return panels


def _grade_points(shown: _GradeArm) -> list[Point]:
    found = [(grade, shown.at(grade)) for grade in GRADES]
    return [_percents(grade.low, value) for grade, value in found if value is not None]


def _number_curves(parts: Sequence[Part]) -> Iterator[tuple[Part, LabelCurves]]:
    """Yields the curves over the number of labels that have more than one number."""
    for part in parts:
        for curves in label_curves(part.surface):
            if curves.axis == "num_labels" and _curve_values(part, curves):
                yield part, curves


def _point_of(part: Part, curves: LabelCurves) -> PlannedPoint:
    """Returns a point of the curves, for what its points share: recipe and zero-shot."""
    key = (curves.model, (curves.task, curves.measure, curves.test_level), curves.panel.method)
    points = (row.point for row in part.surface.rows)
    return next(p for p in points if (p.model, p.place, p.recipe.method) == key)


def _curve_title(part: Part, curves: LabelCurves) -> str:
    method = f"{curves.panel.method}{prompt_label(_point_of(part, curves))}"
    return f"{curves.model}, {method},\ntested on {curves.test_level.name}"


def _curve_values(part: Part, curves: LabelCurves) -> dict[str, dict[float, Interval]]:
    """Returns accuracies by number of labels, the easiest level first.

    Sources with one number of labels form no curve.
    """
    levels = [level.name for axis in part.plan.space.tasks for level in axis.train_levels]
    found = {
        curve.name: {p.x: Interval(estimate=p.mean, low=p.low, high=p.high) for p in curve.points}
        for curve in curves.panel.curves
        if len(curve.points) > 1
    }
    return {name: found[name] for name in sorted(found, key=lambda name: _place(levels, name))}


def _curve_series(part: Part, curves: LabelCurves) -> dict[str, list[Point]]:
    return {
        name: [_percents(x, value) for x, value in values.items()]
        for name, values in _curve_values(part, curves).items()
    }


def _zero_shot(part: Part, curves: LabelCurves) -> Interval | None:
    """Returns the accuracy of the untrained model on the questions of a curve."""
    point = _point_of(part, curves)
    return part.interval(point.zero_shot, point.place)


def _curve(parts: Sequence[Part]) -> Iterator[str]:
    found = list(_number_curves(parts))
    if not found:
        yield "No cell of this section has finished yet."
        return
    yield _picture("curve.svg")
    for part, curves in found:
        zero = _zero_shot(part, curves)
        floor = "" if zero is None else f"; zero-shot {with_interval(zero)}"
        title = _curve_title(part, curves).replace("\n", " ")
        yield f"\n{title}{floor}:\n"
        yield from _curve_table(part, curves)
    yield from _regularization(_point_of(part, curves) for part, curves in found)


def _curve_table(part: Part, curves: LabelCurves) -> Iterator[str]:
    series = _curve_values(part, curves)
    counts = sorted({x for values in series.values() for x in values})
    rows = [
        (name, *(with_interval(values[n]) if n in values else DASH for n in counts))
        for name, values in series.items()
    ]
    yield from table(("labels of", *(f"{n:g}" for n in counts)), rows)


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _regularization(points: Iterable[PlannedPoint]) -> Iterator[str]:
    """What the curves of probes do not separate from the number of labels."""
    penalties: dict[str, str] = {}
    for point in points:
        if isinstance(recipe := point.recipe, LinearProbe):
            origin = f"found for {recipe.n_train} labels" if recipe.search else "the default"
            penalties[point.model] = f"{recipe.l2:.3g}, {origin}"
    if not penalties:
        return
    values = "; ".join(f"{model}: {value}" for model, value in penalties.items())
    yield (
        f"\nAll points of a probe's curve share one ridge penalty l2 ({values}). The loss is a sum "
        "over the labelled questions, so the penalty per question is weaker with more labels: part "
        "of the rise may come from the weaker regularization, not from the labels."
    )


def _pooled(parts: Sequence[Part]) -> Iterator[str]:
    rows: dict[tuple[str, ...], None] = {}
    for part in parts:
        for row in pooled_rows(part.surface):
            result = row.result
            if result.num_points >= MIN_POINTS and row.members[0][1] in part.labelled:
                share = f"{number(result.value)} {span(result.low, result.high)}"
                rows[(*_pooled_label(row), str(result.num_points), result.reason or share)] = None
    yield from table(("over", "model", "method", "labels", "by", "points", "SGR"), list(rows))


def _pooled_label(row: PooledRow) -> tuple[str, ...]:
    """The pooled axis, and what its points share."""
    point = row.members[0][1].point
    source = point.condition if row.axis == "test levels" else pair_of(point)
    model = DASH if row.axis == "models" else point.model
    measure = DASH if row.axis == "tasks" else point.measure
    return (row.axis, model, method_label(point), source, measure)


def _rounds_on_hard(part: Part) -> list[SurfaceRow]:
    """Returns the finished rounds of self-training, tested on hard questions."""
    return [
        row
        for row in part.surface.rows
        if row.gain_over_start is not None and row.point.test_level.name == "hard"
    ]


def _self_training(parts: Sequence[Part]) -> Iterator[str]:
    rounds = [(part, row) for part in parts for row in _rounds_on_hard(part)]
    if _threshold_panels(parts):
        yield _picture("ssrm.svg")
    yield (
        "The probe (or the model with examples in context) trained on easy labels alone, `start`, "
        "answers unlabelled hard questions. Those that it answers with a confidence above tau "
        "are `selected`, and join the easy labels with their pseudo-labels, or with what replaces "
        "them in a control (`labels of the selected`; `none`: repeated easy questions replace "
        "them). Gains are paired by question and by draw of labels.\n"
    )
    header = [
        *("model", "method", "labels of the selected", "tau", "selected"),
        *("pseudo-labels right", "start", "after", "gain"),
    ]
    has_share = any(row.residual.estimate is not None for _, row in rounds)
    rows = [(*_gain(part, row), *([_share(row)] if has_share else [])) for part, row in rounds]
    yield from table((*header, *["share of hard - start"] * has_share), rows)
    if rounds and not has_share:
        yield (
            "\nHard labels do not beat the start measurably, so no share of `hard - start` is "
            "shown."
        )


def _gain(part: Part, row: SurfaceRow) -> tuple[str, ...]:
    options = row.point.self_training
    assert options is not None
    right = [_pseudo_accuracy(part, row, cell) for cell in row.point.easy.cells]
    known = [value for value in right if value is not None]
    is_pseudo = options.targets == "pseudo" and known
    return (
        row.point.model,
        method_label(row.point),
        options.targets,
        f"{options.threshold:g}",
        f"{num_selected(part, row):.0f}",
        f"{100 * np.mean(known):.1f} %" if is_pseudo else "",
        percent(row.start),
        percent(row.easy),
        difference(row.ssrm_gain),
    )


def _share(row: SurfaceRow) -> str:
    return f"{number(row.residual.estimate)} {span(row.residual.low, row.residual.high)}".rstrip()


def _pseudo_accuracy(part: Part, row: SurfaceRow, cell: str) -> float | None:
    """Returns the share of right labels among the selected questions; None without any."""
    pool = part.surface.items.pool[row.point.task].table
    gold = dict(zip(pool["id"].to_pylist(), pool["gold_hash"].to_pylist(), strict=True))
    columns = ["item_id", "label", "weight"]
    content = pa.BufferReader(part.storage.read_bytes(layout.selection(cell)))
    rows = pq.read_table(content, columns=columns).to_pylist()
    right = [row["label"] == gold[row["item_id"]] for row in rows if row["weight"] > 0.0]
    return float(np.mean(right)) if right else None


def _threshold_panels(parts: Sequence[Part]) -> Panels:
    panels: dict[str, dict[str, list[Point]]] = {}
    for part in parts:
        for row in _rounds_on_hard(part):
            options = row.point.self_training
            if options is not None and options.threshold is not None:
                title = f"{row.point.model}, {method_label(row.point)}"
                series = panels.setdefault(title, {}).setdefault(options.targets, [])
                series.append(_percents(options.threshold, row.ssrm_gain))
    return panels


if __name__ == "__main__":
    sys.exit(main())
