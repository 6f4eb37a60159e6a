"""Accuracy by item hardness and topic, and the items with the largest influence on an SGR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from study.analysis.accuracy_curves import condition_order
from study.analysis.items.accuracy import TOPIC, GroupAccuracy
from study.analysis.items.influence import MAX_POINTS, ItemInfluence
from study.analysis.surface import Surface
from study.formatting import percent
from study.reporting.charts.curves import CurveAxes, CurveMark, curve_chart
from study.reporting.charts.filters import Filters, method_of
from study.reporting.content import Content
from study.reporting.sections.section import Block, Heading, Section
from study.reporting.tables import influence_page, item_accuracy_page


def items_section(surface: Surface, content: Content) -> Section | None:
    """Returns what depends on single items; None before any arm has finished."""
    rows, influences = content.item_accuracy, content.influences
    if not rows:
        return None
    blocks: list[Block] = [
        "Zero-shot, and the easiest and the hardest training level of each method, on groups of "
        "test items. scarce items RUN writes items.html, which has the questions and all "
        "arms; items.html#item=ID opens an item.",
        *_charts(rows, list(condition_order(surface))),
        item_accuracy_page(rows),
    ]
    num_points = len({id(influence.row) for influence in influences})
    if influences:
        blocks += [
            Heading(text="Items with the largest influence"),
            f"How far SGR moves if one test item is left out. {influence_quote(influences)} An SGR "
            "that few items decide needs more items, not more seeds.",
            *([f"Computed for the first {MAX_POINTS} points."] * (num_points == MAX_POINTS)),
            influence_page(influences),
        ]
    return Section(name="items", title="Items", label="Items", blocks=blocks)


def _charts(rows: Sequence[GroupAccuracy], conditions: Sequence[str]) -> Iterator[Block]:
    """Yields a chart per measure and one of the topics; the first is shown, others unfold."""
    for number, by in enumerate(dict.fromkeys(row.by for row in rows)):
        own = [row for row in rows if row.by == by]
        places = {name: place for place, name in enumerate(dict.fromkeys(r.group for r in own))}
        yield curve_chart(
            f"item-accuracy-{by}",
            [_mark(row, places[row.group]) for row in own],
            CurveAxes(x=by, y="right %", is_ordinal=True, has_bars=by == TOPIC),
            title=f"Accuracy by {by}",
            quote=accuracy_quote(own),
            reading=f"Accuracy on the test items of each group by {by}, with intervals.",
            table="item-accuracy-rows",
            curves=conditions,
            is_folded=number > 0,
        )


def _mark(row: GroupAccuracy, place: int) -> CurveMark:
    accuracy = row.accuracy
    mean, low, high = (
        None if value is None else 100.0 * value
        for value in (accuracy.estimate, accuracy.low, accuracy.high)
    )
    return CurveMark(
        filters=Filters(model=row.model, method=method_of(row.method), task=row.task),
        panel=f"{row.model} {row.method}: {row.task}",
        curve=row.condition,
        x=place,
        x_label=row.group,
        y=mean or 0.0,
        low=low,
        high=high,
        said=said(row),
        more={"items": row.num_items},
    )


def said(row: GroupAccuracy) -> str:
    """Returns an accuracy with its interval."""
    accuracy = row.accuracy
    if accuracy.low is None or accuracy.high is None:
        return f"{percent(accuracy.estimate)} %"
    return f"{percent(accuracy.estimate)} % [{percent(accuracy.low)}, {percent(accuracy.high)}]"


def accuracy_quote(rows: Sequence[GroupAccuracy]) -> str:
    """Returns the groups of items on which an arm differs most, for the arm that differs most."""
    arms: dict[tuple[str, str, str, str], list[GroupAccuracy]] = {}
    for row in rows:
        arms.setdefault((row.task, row.model, row.method, row.condition), []).append(row)

    def accuracy(row: GroupAccuracy) -> float:
        return row.accuracy.estimate or 0.0

    ends = [(min(own, key=accuracy), max(own, key=accuracy)) for own in arms.values()]
    low, high = max(ends, key=lambda pair: accuracy(pair[1]) - accuracy(pair[0]))
    return (
        f"{low.model} {low.method} after {low.condition} differs most: {said(low)} on {low.by} "
        f"{low.group}, {said(high)} on {high.by} {high.group}."
    )


def influence_quote(rows: Sequence[ItemInfluence]) -> str:
    """Returns the item of the largest influence."""
    row = max(rows, key=lambda row: abs(row.change))
    point = row.row.point
    return (
        f"The largest change is {row.change:+.3f}, of {point.model} {point.recipe.method}, "
        f"{point.source} -> {point.test_level.name} (SGR {row.row.sgr.estimate:.2f}), without "
        f"item {row.item_id}."
    )
