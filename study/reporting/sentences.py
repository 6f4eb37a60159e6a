"""Sentences a reader can quote: the question, the verdict over all points, and one a point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from study.analysis.names import recipe_labels
from study.analysis.surface import Surface
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.artifacts.plan import Plan
from study.formatting import number, percent, span
from study.reporting.surface_views.tiles import Status, status


def question(plan: Plan) -> str:
    """Returns what the study asks."""
    tasks = " and ".join(
        dict.fromkeys(f"{axis.task} (by {axis.measure})" for axis in plan.space.tasks)
    )
    return (
        f"How much of what hard labels would have bought on hard questions of {tasks} do easier "
        "labels recover?"
    )


def verdict(surface: Surface) -> str:
    """Returns the answer in two sentences: how many points are resolved, and their range.

    Values of different points are never averaged: the range names its two ends. Controls are no
    answer to the question, so they are not counted.
    """
    rows = [row for row in surface.rows if row.role != "control"]
    counts = Counter(status(row) for row in rows)
    resolved = [row for row in rows if row.sgr.estimate is not None]
    left_out = len(surface.rows) - len(rows)
    told = f"Of {_count(len(rows), 'point')}"
    told += f" ({_count(left_out, 'control')} apart)" if left_out else ""
    told += f", {counts[Status.RESOLVED]} are resolved"
    rest = [
        f"at {counts[kind]} {text}"
        for kind, text in (
            (Status.NOT_RESOLVABLE, "the gap between hard labels and zero-shot is not resolvable"),
            (Status.HARD_LABELS_HURT, "hard labels hurt"),
            (Status.NO_FLOOR, "zero-shot is below chance or not readable"),
            (Status.MISSING, "there is no estimate"),
        )
        if counts[kind]
    ]
    told += f"; {', '.join(rest)}." if rest else "."
    if not resolved:
        return f"{told} So this study cannot say which share easier labels recover."
    low = min(resolved, key=lambda row: row.sgr.estimate or 0.0)
    high = max(resolved, key=lambda row: row.sgr.estimate or 0.0)
    labels = recipe_labels(row.point.recipe for row in rows)
    return (
        f"{told} Where it is resolved, the supervision gap recovered (SGR) runs from "
        f"{_sgr(low)} ({_where(low, labels)}) to {_sgr(high)} ({_where(high, labels)})."
    )


def sentence(row: SurfaceRow, labels: Mapping[str, str], level: float) -> str:
    """Returns what may be said of one point, numbers and interval included.

    Args:
        row: The point.
        labels: Recipe text -> label, of all recipes of the study.
        level: Confidence of the intervals.
    """
    point = row.point
    who = f"{point.model} ({labels[recipe_text(point.recipe)]}), trained on {point.source}"
    where = f"{point.test_level.name} items of {point.task}"
    accuracies = (
        f"zero-shot {percent(row.zero_shot)} %, {point.source} {percent(row.easy)} %, "
        f"hard {percent(row.hard)} %"
    )
    sure = f"{100 * level:g} % interval"
    match status(row):
        case Status.RESOLVED:
            share, low, high = (
                percent(value) for value in (row.sgr.estimate, row.sgr.low, row.sgr.high)
            )
            text = (
                f"{who}, recovers {share} % ({sure} {low} to {high} %) of what hard labels buy on "
                f"{where}: {accuracies}"
            )
        case Status.HARD_LABELS_HURT:
            text = (
                f"{who}: no share can be given on {where}, because hard labels hurt by "
                f"{_points(row.gap)}: {accuracies}"
            )
        case Status.NOT_RESOLVABLE:
            text = (
                f"{who}: no share can be given on {where}, because what hard labels buy, "
                f"{_points(row.gap)}, cannot be told from nothing: {accuracies}"
            )
        case Status.NO_FLOOR:
            text = (
                f"{who}: no share can be given on {where}, because zero-shot is no floor "
                f"({row.verdict_note}): {accuracies}"
            )
        case Status.MISSING:
            told = f"{who}: no estimate on {where}: {row.reason}."
            return " ".join(filter(None, (told, gain_sentence(row))))
    return " ".join(filter(None, (f"{text} ({_evidence(row)}).", gain_sentence(row))))


def gain_sentence(row: SurfaceRow) -> str:
    """Returns whether self-training beats what it started from, whatever the sign.

    Empty for a source that is not self-trained, and where an arm is missing.
    """
    gain, point = row.ssrm_gain, row.point
    if gain.estimate is None:
        return ""
    start = "its start" if point.train_level is None else f"{point.train_level.name} labels alone"
    if gain.low is None or gain.high is None:
        return f"{point.source} against {start}: {_points(gain)}, without an interval."
    if gain.low > 0.0:
        return f"{point.source} beats {start} by {_points(gain)}."
    if gain.high < 0.0:
        return f"{point.source} hurts: against {start} {_points(gain)}."
    return f"{point.source} is not told apart from {start}: {_points(gain)}."


def _evidence(row: SurfaceRow) -> str:
    note = "" if status(row) is not Status.RESOLVED else row.verdict_note
    seeds = row.draw_note or f"{row.num_seeds} seeds"
    known = (f"{row.num_items} items", "" if seeds in note else seeds, *row.caveats, note)
    return ", ".join(filter(None, known))


def _points(gap: Interval) -> str:
    ends = ""
    if gap.low is not None:
        ends = f" [{percent(gap.low, sign=True)}, {percent(gap.high, sign=True)}]"
    return f"{percent(gap.estimate, sign=True)} points{ends}"


def _sgr(row: SurfaceRow) -> str:
    return f"{number(row.sgr.estimate)} {span(row.sgr.low, row.sgr.high)}"


def _where(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    point = row.point
    method = labels[recipe_text(point.recipe)]
    return f"{point.model}, {method}, {point.source} -> {point.test_level.name}"


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'' if number_of == 1 else 's'}"
