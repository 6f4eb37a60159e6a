"""What a study found, as texts and tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from search_spaces.explain import count
from study.analysis.calibration import CalibrationRow
from study.analysis.contrasts import ContrastResult
from study.analysis.names import outcome, recipe_labels, source_label
from study.analysis.pooled import PooledRow
from study.analysis.preferences.policies import WinRate
from study.analysis.preferences.reward_models import RewardRow
from study.analysis.preferences.rewardbench import SUBSETS
from study.analysis.published.comparison import comparison_parts
from study.analysis.surface import Counts, Surface
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.formatting import DASH, Table, number, percent, points_span, span
from study.reporting.content import Content
from study.reporting.legacy import LegacyRow, paper_text
from study.reporting.sentences import crossing_lines, labels_text, source_of
from study.statistics.differences import Difference
from study.statistics.recovery import ONE_SEED
from study.statistics.resampling.calibration_intervals import CalibrationError


def surface_parts(surface: Surface) -> Iterator[str | Table]:
    """Yields the table of points, its legend, a summary, and the gains of self-training."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    several_tasks = _has_several_tasks(surface.rows)
    yield Table(
        header=("model", "method", "train -> test", "gap", "zero", "easy", "hard", "SGR"),
        rows=[
            (
                row.point.model,
                labels[recipe_text(row.point.recipe)],
                _levels(row, several_tasks=several_tasks),
                DASH if row.point.difficulty_gap is None else f"{row.point.difficulty_gap:+.1f}",
                percent(row.zero_shot),
                percent(row.easy),
                percent(row.hard),
                outcome(row),
            )
            for row in surface.rows
        ],
        numbers=("gap", "zero", "easy", "hard"),
    )
    yield ""
    yield "zero, easy, hard: accuracy in % on the test level, after training on nothing, on the"
    yield "level before the arrow, and on the test level itself"
    yield (
        f"gap: difficulty gap; SGR: with its {100 * surface.level:g} % interval if the gap "
        "hard - zero is resolved"
    )
    yield from dict.fromkeys(caveat for row in surface.rows for caveat in row.caveats)
    yield summary(surface.rows, surface.counts)
    yield from draws(surface.rows)
    yield from _over_trivial(surface.rows, labels)
    yield from _self_training(surface, labels)


def _over_trivial(rows: Sequence[SurfaceRow], labels: Mapping[str, str]) -> Iterator[str | Table]:
    """Yields SGR over the trivial control; nothing for a study without that control."""
    found = [row for row in rows if row.over_trivial is not None]
    if not found:
        return
    yield "\nSGR over the trivial control: (source - trivial) / (hard - trivial)"
    yield Table(
        header=("model", "method", "train -> test", "SGR over trivial"),
        rows=[
            (
                row.point.model,
                labels[recipe_text(row.point.recipe)],
                _levels(row, several_tasks=_has_several_tasks(rows)),
                row.format_matched_verdict or DASH
                if row.format_matched.estimate is None
                else f"{number(row.format_matched.estimate)} "
                f"{span(row.format_matched.low, row.format_matched.high)}",
            )
            for row in found
        ],
    )


def draws(rows: Sequence[SurfaceRow]) -> list[str]:
    """Returns a line that counts the intervals about a single draw; empty if there is none."""
    number = sum(bool(row.draw_note) for row in rows)
    if not number:
        return []
    return [
        f"{ONE_SEED}: {number} of {count(len(rows), 'point')}; their intervals are about new "
        "items, not about new draws of labels"
    ]


def _self_training(surface: Surface, labels: Mapping[str, str]) -> Iterator[str | Table]:
    """Yields the gains of self-training over its start; nothing for a study without it."""
    rows = [row for row in surface.rows if row.point.start is not None]
    if not rows:
        return
    several_tasks = _has_several_tasks(rows)
    yield ""
    yield (
        "Self-training against its start, accuracy in %, difference in points (paired, "
        f"{100 * surface.level:g} % interval); * excludes 0; controls last"
    )
    yield Table(
        header=(
            *("model", "method", "condition", "tau", "round", "test", "start", "ssrm"),
            *("ssrm - start", "residual recovery"),
        ),
        rows=[
            (
                row.point.model,
                labels[recipe_text(row.point.recipe)],
                source_label(row.point, frozenset({"threshold", "ssrm_round"})),
                DASH if row.point.threshold is None else f"{row.point.threshold:g}",
                str(row.point.ssrm_round),
                f"{row.point.task} {row.point.test_level.name}"
                if several_tasks
                else row.point.test_level.name,
                percent(row.start),
                percent(row.easy),
                gain_text(row),
                residual_text(row),
            )
            for row in sorted(rows, key=lambda row: row.role == "control")
        ],
        numbers=("tau", "round", "start", "ssrm", "ssrm - start"),
    )


def gain_text(row: SurfaceRow) -> str:
    """Returns the gain over the start with its interval, starred if that excludes 0."""
    gain = row.ssrm_gain
    if gain.estimate is None:
        return DASH
    text = f"{percent(gain.estimate, sign=True)} {points_span(gain.low, gain.high)}".rstrip()
    if gain.low is None or gain.high is None or gain.low <= 0.0 <= gain.high:
        return text
    return f"{text} *"


def residual_text(row: SurfaceRow) -> str:
    """Returns the residual recovery with its interval, or why it is undefined."""
    share = row.residual
    if share.estimate is None:
        return row.residual_verdict or f"no estimate: {row.reason}"
    return f"{share.estimate:.2f} {span(share.low, share.high)}"


def summary(rows: Sequence[SurfaceRow], counts: Counts) -> str:
    """Returns the number of points by verdict and of cells by state."""
    verdicts: dict[str, int] = {}
    for row in rows:
        verdict = row.verdict or "without estimate"
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
    points = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    cells = [f"{counts.finished} of {count(counts.planned, 'cell')} finished"]
    cells += [f"{counts.failed} failed"] * (counts.failed > 0)
    cells += [f"{count(counts.not_valid, 'record')} not valid"] * (counts.not_valid > 0)
    cells += [f"{count(counts.ignored, 'record')} of other studies ignored"] * (counts.ignored > 0)
    return f"{count(len(rows), 'point')}: {points}; {', '.join(cells)}"


def _levels(row: SurfaceRow, *, several_tasks: bool) -> str:
    levels = f"{row.point.source} -> {row.point.test_level.name}"
    return f"{row.point.task}/{row.point.measure} {levels}" if several_tasks else levels


def finding_parts(content: Content) -> Iterator[str | Table]:
    """Yields what follows the table of points: calibration, policies, crossings and warnings."""
    if content.calibration:
        yield "\nCalibration in %, Brier score from 0 to 2 (intervals over items and seeds)"
        yield calibration_lines(content.calibration)
    benched = [row for row in content.rewards if row.sections]
    if benched:
        yield "\nRewardBench, accuracy in % by section (intervals over pairs and seeds)"
        yield rewardbench_table(benched)
    if content.alignment:
        yield "\nPolicies under the gold reward"
        yield win_rate_table(content.alignment)
    if content.contrasts:
        yield "\nDeclared contrasts, accuracies in points (simultaneous intervals, Holm's p)"
        yield contrast_table(content.contrasts)
    if content.pooled:
        yield "\nPooled SGR (random effects over the points)"
        yield pooled_table(content.pooled)
    crossings = crossing_lines(content.label_curves)
    for title, lines in (
        ("Where the curves of easy and hard labels cross", crossings),
        ("Warnings", content.warnings),
    ):
        if lines:
            yield "\n".join((f"\n{title}", *(f"- {line}" for line in lines)))


def requested_parts(content: Content) -> Iterator[str | Table]:
    """Yields the comparisons that the reader asked for."""
    if content.legacy:
        yield "\nThe paper's block bootstrap and our estimate"
        yield legacy_table(content.legacy)
    if content.against is not None:
        yield ""
        yield from comparison_parts(content.against)


def contrast_table(results: Sequence[ContrastResult]) -> Table:
    """Returns the declared contrasts, one per row."""
    return Table(
        header=("contrast", "null", "arms", "estimate", "interval", "p (Holm)"),
        rows=[
            (result.contrast.name, result.contrast.null, result.where, *_contrast_cells(result))
            for result in results
        ],
        numbers=("estimate", "p (Holm)"),
    )


def _contrast_cells(result: ContrastResult) -> tuple[str, str, str]:
    found = result.estimate
    if result.reason is not None:
        return (DASH, result.reason, "")
    p_value = DASH if result.holm_p is None else f"{result.holm_p:.3f}"
    if result.contrast.of == "sgr":
        return (number(found.estimate), span(found.low, found.high), p_value)
    return (percent(found.estimate, sign=True), points_span(found.low, found.high), p_value)


def pooled_table(rows: Sequence[PooledRow]) -> Table:
    """Returns the pooled SGRs, one per row."""
    return Table(
        header=("over", "points", "what", "pooled SGR"),
        rows=[
            (
                row.axis,
                str(row.result.num_points),
                row.where,
                row.result.reason
                or f"{number(row.result.value)} {span(row.result.low, row.result.high)}",
            )
            for row in rows
        ],
        numbers=("points",),
    )


def calibration_lines(rows: Sequence[CalibrationRow]) -> Table:
    """Returns the calibration, an arm and test level per row."""
    return Table(
        header=(
            *("model", "method", "trained on", "test", "right", "confidence"),
            *("ECE", "Brier", "selective area"),
        ),
        rows=[
            (
                row.model,
                row.method,
                row.condition,
                f"{row.task} {row.test_level or 'all'}",
                percent(row.accuracy),
                percent(row.confidence),
                _percent_interval(row.ece),
                f"{number(row.brier.estimate)} {span(row.brier.low, row.brier.high)}".rstrip(),
                _percent_interval(row.selective_area),
            )
            for row in rows
        ],
        numbers=("right", "confidence"),
    )


def rewardbench_table(rows: Sequence[RewardRow]) -> Table:
    """Returns the complete sections of RewardBench, an arm per row."""
    return Table(
        header=("model", "method", "trained on", *SUBSETS, "4 sections"),
        rows=[
            (
                row.model,
                row.recipe.partition("(")[0],
                row.source,
                *(
                    _percent_interval(row.intervals[section])
                    if section in row.intervals
                    else percent(row.sections.get(section))
                    for section in SUBSETS
                ),
                percent(row.overall),
            )
            for row in rows
        ],
        numbers=("4 sections",),
    )


def _percent_interval(found: Difference | Interval | CalibrationError) -> str:
    """An estimate with its interval: `12.3 [8.1, 15.0]`."""
    if found.low is None or found.high is None:
        return percent(found.estimate)
    return f"{percent(found.estimate)} [{percent(found.low)}, {percent(found.high)}]"


def win_rate_table(rows: Sequence[WinRate]) -> Table:
    """Returns the comparisons of policies, one per row."""
    return Table(
        header=(
            *("model", "reward model", "policy", "against", "wins %", "interval", "p"),
            *("rewards", "labels right %"),
        ),
        rows=[
            (
                row.comparison.model,
                source_of(row.comparison),
                row.first,
                row.second,
                *_win_rate_cells(row),
            )
            for row in rows
        ],
        numbers=("wins %",),
    )


def _win_rate_cells(row: WinRate) -> tuple[str, ...]:
    rate = row.rate
    if rate.estimate is None:
        return (DASH, "", "", row.reason or "", "")
    return (
        percent(rate.estimate),
        DASH
        if rate.low is None or rate.high is None
        else f"[{percent(rate.low)}, {percent(rate.high)}]",
        DASH if rate.p_value is None else f"{rate.p_value:.3f}",
        f"{row.first_reward:.2f} : {row.second_reward:.2f}",
        labels_text(row),
    )


def legacy_table(rows: Sequence[LegacyRow]) -> Table:
    """Returns the paper's estimates and ours, a point per row."""
    return Table(
        header=("point", "paper: mean +/- half-width", "ours"),
        rows=[(row.where, paper_text(row.paper), outcome(row.row)) for row in rows],
    )


def _has_several_tasks(rows: Sequence[SurfaceRow]) -> bool:
    return len({(row.point.task, row.point.measure) for row in rows}) > 1
