"""What the study found: declared contrasts, resolved points, pooled SGR and trends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from search_spaces.explain import count
from study.analysis.contrasts import ContrastResult
from study.analysis.names import outcome, point_label
from study.analysis.pooled import PooledRow
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow
from study.analysis.trends import TrendRow
from study.artifacts.plan import Plan
from study.formatting import DASH, number, p_text, percent, points_span, span
from study.reporting.charts.chart import Chart
from study.reporting.charts.filters import Filters, method_of, of_point, shared
from study.reporting.charts.intervals import IntervalLine, Kind, interval_chart
from study.reporting.content import Content
from study.reporting.findings import main_rows
from study.reporting.legacy import LegacyRow, paper_text
from study.reporting.sections.section import Block, Heading, Section
from study.reporting.surface_views.tiles import NUMBERED, Status, status
from study.reporting.tables import PageColumn, PageTable, make_table, text_column

SGR_LIMITS = (-0.5, 1.5)
"""Shares at the ends of the axis of a forest plot, as on the colour scale."""


def found_section(plan: Plan, surface: Surface, content: Content) -> Section:
    """Returns the section that opens the page."""
    return Section(
        name="found",
        title="What was found",
        label="Found",
        blocks=[*_contrasts(content, surface.level), *_points(plan, surface, content)],
    )


def _contrasts(content: Content, level: float) -> Iterator[Block]:
    if not content.contrasts:
        yield "The space declares no contrasts."
        return
    yield Heading(text="Declared contrasts")
    yield (
        "Declared before the study ran; p-values are adjusted for multiple testing (Holm), and the "
        f"intervals have simultaneous coverage of {100 * level:g} %. A null with a margin is "
        "tested one-sided: rejecting it shows that the first arm is not inferior."
    )
    for of, axis in (("accuracy", "difference, points"), ("sgr", "difference of SGR")):
        members = [c for c in content.contrasts if (c.contrast.of == "sgr") == (of == "sgr")]
        if members:
            yield _contrast_chart(of, axis, members, 1.0 - level)
    yield _contrast_table(content.contrasts)


def _contrast_chart(of: str, axis: str, members: Sequence[ContrastResult], alpha: float) -> Chart:
    scale = 1.0 if of == "sgr" else 100.0
    margins = {scale * -(c.contrast.margin or 0.0) for c in members}
    return interval_chart(
        f"contrasts-{of}",
        [
            _contrast_line(result, label, scale)
            for result, label in zip(members, _distinct_parts(members), strict=True)
        ],
        title="Differences of accuracy" if of == "accuracy" else "Differences of SGR",
        quote=contrast_quote(members, alpha),
        reading=(
            "Difference of the two arms on the same test items, with its simultaneous interval. "
            "The dashed lines mark the null hypotheses."
        ),
        table="contrasts",
        axis=axis,
        references=sorted(margins),
    )


def contrast_quote(members: Sequence[ContrastResult], alpha: float) -> str:
    """Returns how many nulls are rejected, and the clearest of them with its interval."""
    rejected = [c for c in members if c.holm_p is not None and c.holm_p < alpha]
    nulls = count(len(members), "declared null hypothesis", "declared null hypotheses")
    text = f"{len(rejected)} of {nulls} rejected"
    if not rejected:
        return f"{text} (Holm, alpha {alpha:.2g})."
    clearest = min(rejected, key=lambda c: c.holm_p or 0.0)
    return (
        f"{text} (Holm, alpha {alpha:.2g}); the clearest: {clearest.contrast.name}, "
        f"{clearest.where}: {_contrast_said(clearest)}, p {p_text(clearest.holm_p)}."
    )


def _contrast_said(result: ContrastResult) -> str:
    found = result.estimate
    if found.estimate is None:
        return result.reason or DASH
    if result.contrast.of == "sgr":
        return f"{number(found.estimate)} {span(found.low, found.high)}".rstrip()
    return (
        f"{percent(found.estimate, sign=True)} points {points_span(found.low, found.high)}".rstrip()
    )


def _distinct_parts(members: Sequence[ContrastResult]) -> list[str]:
    """Returns each contrast's arms and test level without the parts that all have in common."""
    parts = [result.where.split(", ") for result in members]
    common = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return [", ".join(part for part in each if part not in common) for each in parts]


def _contrast_line(result: ContrastResult, label: str, scale: float) -> IntervalLine:
    found = result.estimate

    def scaled(value: float | None) -> float | None:
        return None if value is None else scale * value

    return IntervalLine(
        filters=_of_contrast(result),
        label=label,
        estimate=scaled(found.estimate),
        low=scaled(found.low),
        high=scaled(found.high),
        said=_contrast_said(result),
        more={
            "contrast": result.contrast.name,
            "arms": result.where,
            "null": result.contrast.null,
            "p (Holm)": p_text(result.holm_p),
        },
    )


def _of_contrast(result: ContrastResult) -> Filters:
    point = result.point
    return Filters(
        model=point.model,
        method=point.recipe.method,
        task=point.task,
        level=point.test_level.name,
    )


def _contrast_table(results: Sequence[ContrastResult]) -> PageTable:
    return make_table(
        "contrasts",
        "Declared contrasts",
        (
            text_column("contrast", lambda c: c.contrast.name),
            text_column("null hypothesis", lambda c: c.contrast.null),
            text_column("arms", lambda c: c.where),
            text_column("estimate and interval", _contrast_said),
            PageColumn("p", "p", lambda c: c.estimate.p_value),
            PageColumn("p (Holm)", "p", lambda c: c.holm_p),
        ),
        results,
        _of_contrast,
    )


def _points(plan: Plan, surface: Surface, content: Content) -> Iterator[Block]:
    rows = main_rows(plan, surface)
    resolved = [row for row in rows if row.sgr.estimate is not None]
    yield Heading(text="Resolved points")
    counts = Counter(status(row) for row in rows)
    others = ", ".join(
        f"{counts[kind]} {kind.value}" for kind in Status if counts[kind] and kind not in NUMBERED
    )
    if not resolved:
        yield f"No point that the study is about has an SGR ({others or 'no point'})."
        return
    resolved.sort(key=_precise_and_large_first)
    yield interval_chart(
        "resolved",
        [sgr_line(row, point_label(row, content.labels)) for row in resolved],
        title="SGR of the resolved points that the study is about",
        quote=extremes_quote(resolved, content.labels),
        reading=(
            "SGR with its interval, largest first; 0: easier labels add nothing to zero-shot, 1: "
            "they do as well as hard ones. Grey triangles: resolved, imprecise. Intervals are cut "
            "at -0.5 and 1.5." + (f" Without a number: {others}." if others else "")
        ),
        table="points",
        axis="SGR",
        references=(0.0, 1.0),
        limits=SGR_LIMITS,
    )


def sgr_line(row: SurfaceRow, label: str, panel: str = "") -> IntervalLine:
    """Returns a point as a line of a forest plot."""
    kind: Kind = "imprecise" if status(row) is Status.IMPRECISE else "estimate"
    return IntervalLine(
        filters=of_point(row),
        label=label,
        panel=panel,
        estimate=row.sgr.estimate,
        low=row.sgr.low,
        high=row.sgr.high,
        said=outcome(row),
        kind=kind,
        more={"verdict": row.verdict, "items": row.num_items, "seeds": row.num_seeds},
    )


def _precise_and_large_first(row: SurfaceRow) -> tuple[bool, float]:
    return status(row) is not Status.RESOLVED, -(row.sgr.estimate or 0.0)


def extremes_quote(rows: Sequence[SurfaceRow], labels: Mapping[str, str]) -> str:
    """Returns the largest and the smallest SGR of points, without the imprecise ones."""
    resolved = sorted(
        (row for row in rows if row.sgr.estimate is not None), key=_precise_and_large_first
    )
    precise = [row for row in resolved if status(row) is Status.RESOLVED]
    if not precise:
        return f"{count(len(resolved), 'point')} resolved, all imprecise."
    first = precise[0]
    text = f"Largest SGR: {outcome(first)} ({point_label(first, labels)})"
    if len(precise) > 1:
        last = precise[-1]
        text += f"; smallest: {outcome(last)} ({point_label(last, labels)})"
    imprecise = len(resolved) - len(precise)
    return f"{text}; {imprecise} more resolved, imprecise." if imprecise else f"{text}."


def pooled_section(surface: Surface, content: Content) -> Section | None:
    """Returns pooled SGR, trends and the paper's bootstrap; None if the study has none of them."""
    blocks = [
        *_pooled(content.pooled, surface.level),
        *_trends(content.trends),
        *_legacy(content.legacy),
    ]
    if not blocks:
        return None
    return Section(name="pooled", title="Pooled SGR and trends", label="Pooled", blocks=blocks)


def _pooled(rows: Sequence[PooledRow], level: float) -> Iterator[Block]:
    if not rows:
        return
    yield (
        "Random effects over points: at each value of SGR, a meta-analysis of source - zero-shot "
        "minus that share of hard - zero-shot (Paule-Mandel, Hartung-Knapp). Every point enters, "
        "resolved or not; ratios are never averaged. Below three points there is no pooled value."
    )
    known = [row for row in rows if row.result.value is not None]
    if known:
        yield interval_chart(
            "forest",
            [line for row in known for line in _forest_lines(row)],
            title="Pooled SGR",
            quote=_pooled_quote(known, level),
            reading=(
                "SGR of each point with its interval, and pooled over the points (black diamond). "
                "Points without a resolved gap have no interval here but enter the pooled value. "
                "Intervals are cut at -0.5 and 1.5."
            ),
            table="pooled-rows",
            axis="SGR",
            references=(0.0, 1.0),
            limits=SGR_LIMITS,
        )
    yield make_table(
        "pooled-rows",
        "Pooled SGR",
        (
            text_column("over", lambda row: row.axis),
            PageColumn("points", "number", lambda row: row.result.num_points),
            text_column("what", lambda row: row.where),
            text_column("SGR", pooled_text),
            text_column(
                "SD between points",
                lambda row: (
                    DASH if row.result.reason else f"{percent(row.result.heterogeneity)} points"
                ),
            ),
        ),
        rows,
        _of_pooled,
    )


def _of_pooled(row: PooledRow) -> Filters:
    return shared(of_point(member) for _, member in row.members)._replace(verdict=None)


def pooled_text(row: PooledRow) -> str:
    """Returns the pooled SGR with its interval, or why there is none."""
    result = row.result
    return result.reason or f"{number(result.value)} {span(result.low, result.high)}"


def _forest_lines(row: PooledRow) -> Iterator[IntervalLine]:
    panel = f"pooled over {row.axis}: {row.where}"
    for place, member in row.members:
        yield sgr_line(member, place, panel)
    result = row.result
    yield IntervalLine(
        filters=_of_pooled(row),
        label="pooled",
        panel=panel,
        estimate=result.value,
        low=result.low,
        high=result.high,
        said=pooled_text(row),
        kind="pooled",
    )


def _pooled_quote(rows: Sequence[PooledRow], level: float) -> str:
    narrow = min(rows, key=lambda row: (row.result.high or 9.0) - (row.result.low or -9.0))
    return (
        f"Pooled over {narrow.result.num_points} {narrow.axis} ({narrow.where}), SGR is "
        f"{pooled_text(narrow)} ({100 * level:g} % interval)."
    )


def _trends(rows: Sequence[TrendRow]) -> Iterator[Block]:
    if not rows:
        return
    yield Heading(text="Trends")
    yield (
        "Trends compare sources of one kind, resolved or not: clean labels of single levels, equal "
        "in number, over model size and difficulty gap; labels of one level over their noise rate "
        "and their number. The slope is common to all strata (model, source, test level), each "
        "with its own intercept. The intervals account for points that share items or draws. A "
        "slope of SGR is that of the gain beyond what the same share of the gap would give, in "
        "points of accuracy. All p-values of this table are adjusted for multiple testing (Holm)."
    )
    yield make_table(
        "trends",
        "Trends",
        (
            text_column("task", lambda row: row.task),
            text_column("method", lambda row: row.method),
            text_column("sources", lambda row: row.sources),
            text_column("quantity", lambda row: row.quantity),
            text_column("against", lambda row: row.axis),
            text_column("slope (points a unit)", _slope_text),
            PageColumn("p", "p", lambda row: row.result.slope and row.result.slope.p_value),
            PageColumn("p (Holm)", "p", lambda row: row.holm_p),
            PageColumn("points", "number", lambda row: row.result.num_points),
        ),
        rows,
        lambda row: Filters(method=method_of(row.method), task=row.task.partition(" by ")[0]),
    )


def _slope_text(row: TrendRow) -> str:
    slope = row.result.slope
    if slope is None:
        return row.result.reason or DASH
    return f"{percent(slope.estimate, sign=True)} {points_span(slope.low, slope.high)}".rstrip()


def _legacy(rows: Sequence[LegacyRow]) -> Iterator[Block]:
    if not rows:
        return
    yield Heading(text="The paper's bootstrap")
    yield (
        "Mean +/- half-width as Hase et al. 2024 print it, for comparing tables only: for small "
        "gaps its coverage is wrong."
    )
    yield make_table(
        "legacy",
        "The paper's block bootstrap and our estimate",
        (
            text_column("point", lambda row: row.where),
            text_column("paper: mean +/- half-width", lambda row: paper_text(row.paper)),
            text_column(
                "dropped", lambda row: f"{row.paper.num_dropped} of {row.paper.num_resamples}"
            ),
            text_column("ours", lambda row: outcome(row.row)),
        ),
        rows,
        lambda row: of_point(row.row),
    )
