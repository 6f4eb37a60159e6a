"""The picture of self-training: accuracy, and right pseudo-labels, by confidence threshold.

A column per base model. Accuracy is that of the start plus the gain over it, so the drawn interval,
of the paired difference, excludes the line of the start where the gain is resolved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.analysis.names import recipe_labels, source_label
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.reporting.figures.drawing import (
    MAX_PICTURES,
    Drawing,
    add_titled_key,
    finish,
    line_styles_of,
    panel_pairs,
)
from study.reporting.style import FIGURE_STYLE

START = "start"
HIDDEN = frozenset({"threshold", "ssrm_round"})
Selected = Callable[[SurfaceRow], tuple[float, float] | None]
"""Returns how many pseudo-labels a point selected, and which share was right; None: unknown."""


def draw_thresholds(
    rows: Sequence[SurfaceRow],
    selected: Selected,
    start_of: Callable[[SurfaceRow], Interval],
) -> tuple[Drawing, ...]:
    """Draws a picture per method, task and test level, at most `MAX_PICTURES`.

    Args:
        rows: Self-trained points and controls, those of the last round.
        selected: Of a self-trained point.
        start_of: Returns the accuracy of a point's start with its interval.
    """
    labels = recipe_labels(row.point.recipe for row in rows)
    groups: dict[str, list[SurfaceRow]] = {}
    for row in rows:
        if row.point.threshold is not None and row.ssrm_gain.estimate is not None:
            method = labels[recipe_text(row.point.recipe)]
            title = f"{method} on {row.point.task}, tested on {row.point.test_level.name}"
            groups.setdefault(title, []).append(row)
    drawings = []
    for i, (title, members) in enumerate(list(groups.items())[:MAX_PICTURES]):
        name = "thresholds" if i == 0 else f"thresholds-{i + 1}"
        with mpl.rc_context(FIGURE_STYLE):
            drawings.append(_draw(name, title, members, selected, start_of))
    return tuple(drawings)


def _draw(
    name: str,
    title: str,
    rows: Sequence[SurfaceRow],
    selected: Selected,
    start_of: Callable[[SurfaceRow], Interval],
) -> Drawing:
    models = list(dict.fromkeys(row.point.model for row in rows))
    sources = dict.fromkeys(
        source_label(row.point, HIDDEN)
        for row in sorted(rows, key=lambda row: row.role == "control")
    )
    looks = line_styles_of([START, *sources])
    y_titles = ("accuracy %", "right labels %")
    figure, pairs = panel_pairs(models, (2.3, 1.5), y_titles, margin=0.9, sharex=True)
    ticks = sorted({row.point.threshold or 0.0 for row in rows})
    for model, upper, lower in pairs:
        members = [row for row in rows if row.point.model == model]
        upper.set_title(model, loc="left", fontweight="bold")
        _draw_accuracy(upper, members, start_of(members[0]), looks)
        _draw_selected(lower, members, selected, looks)
        lower.set_xlabel("confidence threshold")
        for place in (upper, lower):
            place.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            place.grid(axis="y", alpha=0.3)
            place.margins(x=0.15)
    add_titled_key(figure, looks, title, num_columns=4)
    alt = (
        f"{title}, a column per base model. Above: accuracy by confidence threshold of "
        "self-training and its controls, with intervals of the difference from the start, whose "
        "accuracy is the line with a band. Below: share of the selected pseudo-labels that are "
        "right, with their number."
    )
    return finish(figure, name, alt)


def _draw_accuracy(
    place: Axes,
    rows: Sequence[SurfaceRow],
    start: Interval,
    looks: Mapping[str, Mapping[str, Any]],
) -> None:
    if start.estimate is not None:
        look = looks[START]
        place.axhline(100 * start.estimate, color=look["color"], linewidth=1.0)
        if start.low is not None and start.high is not None:
            place.axhspan(
                100 * start.low, 100 * start.high, color=look["color"], alpha=0.1, linewidth=0
            )
    by_source: dict[str, list[SurfaceRow]] = {}
    for row in rows:
        by_source.setdefault(source_label(row.point, HIDDEN), []).append(row)
    thresholds = [row.point.threshold or 0.0 for row in rows]
    step = 0.04 * ((max(thresholds) - min(thresholds)) or 1.0)
    for number, (source, members) in enumerate(by_source.items()):
        members = sorted(members, key=lambda row: row.point.threshold or 0.0)
        # Sources at one threshold stand side by side.
        shift = step * (number - (len(by_source) - 1) / 2)
        x = [(row.point.threshold or 0.0) + shift for row in members]
        base = [(row.easy or 0.0) - (row.ssrm_gain.estimate or 0.0) for row in members]
        place.plot(x, [100 * (row.easy or 0.0) for row in members], **looks[source])
        for at, from_, row in zip(x, base, members, strict=True):
            if row.ssrm_gain.low is not None and row.ssrm_gain.high is not None:
                low, high = 100 * (from_ + row.ssrm_gain.low), 100 * (from_ + row.ssrm_gain.high)
                place.vlines(at, low, high, color=looks[source]["color"], linewidth=1.0)
    place.yaxis.set_major_locator(MaxNLocator(5))


def _draw_selected(
    place: Axes,
    rows: Sequence[SurfaceRow],
    selected: Selected,
    looks: Mapping[str, Mapping[str, Any]],
) -> None:
    by_source: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        found = selected(row) if row.role == "self-training" else None
        if found is not None:
            places = by_source.setdefault(source_label(row.point, HIDDEN), [])
            places.append((row.point.threshold or 0.0, *found))
    for source, points in by_source.items():
        points.sort()
        place.plot(
            [x for x, _, _ in points], [100 * right for _, _, right in points], **looks[source]
        )
        for x, number, right in points:
            place.annotate(
                f"{number:.0f}",
                (x, 100 * right),
                textcoords="offset points",
                xytext=(0, 6),
                ha="center",
                fontsize=8,
            )
    place.set_ylim(0, 109)
