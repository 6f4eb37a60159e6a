"""The SGR table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.analysis.names import outcome, recipe_labels, source_label
from study.analysis.surface import Counts, Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import DASH, percent, points_span, span
from study.reporting.content import Content
from study.reporting.crossings import crossing_lines
from study.reporting.policy_table import format_win_rates
from study.statistics.recovery import ONE_SEED

MAX_WIDTH = 118
"""Columns of the widest line; longer reasons are cut, the report has them in full."""

MIN_LAST_WIDTH = 64
"""Columns of the last cell at least: an SGR with its interval and both caveats is never cut."""

_RIGHT_ALIGNED = frozenset(
    {"gap", "zero", "easy", "hard", "tau", "round", "start", "ssrm", "ssrm - start"}
)


def format_table(surface: Surface) -> str:
    """Returns the surface as text: a line a point, then what is there of the study."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    several_tasks = len({(row.point.task, row.point.measure) for row in surface.rows}) > 1
    header = ["model", "method", "train -> test", "gap", "zero", "easy", "hard", "SGR"]
    lines = [
        [
            row.point.model,
            labels[recipe_text(row.point.recipe)],
            _levels(row, several_tasks=several_tasks),
            DASH if row.point.difficulty_gap is None else f"{row.point.difficulty_gap:+.1f}",
            percent(row.zero_shot),
            percent(row.easy),
            percent(row.hard),
            outcome(row),
        ]
        for row in surface.rows
    ]
    return "\n".join(
        [
            *_aligned(header, lines),
            "",
            "zero, easy, hard: accuracy in % on the test level; easy: the labels before the arrow",
            f"gap: difficulty gap; SGR: with its {100 * surface.level:g} % interval where the gap "
            "hard - zero is resolved",
            *dict.fromkeys(caveat for row in surface.rows for caveat in row.caveats),
            summary(surface.rows, surface.counts),
            *draws(surface.rows),
            *_self_training(surface, labels),
        ]
    )


def draws(rows: Sequence[SurfaceRow]) -> list[str]:
    """Returns a line that says which intervals are about one draw; none where all have more."""
    count = sum(bool(row.draw_note) for row in rows)
    if not count:
        return []
    return [
        f"{ONE_SEED}: {count} of {len(rows)} points; their intervals are about new items, not "
        "about new draws of labels"
    ]


def _self_training(surface: Surface, labels: Mapping[str, str]) -> list[str]:
    """Lines that say whether self-training beats its start; none where nothing trains itself."""
    rows = [row for row in surface.rows if row.point.start is not None]
    if not rows:
        return []
    several_tasks = len({(row.point.task, row.point.measure) for row in rows}) > 1
    header = ["model", "method", "condition", "tau", "round", "test", "start", "ssrm"]
    header += ["ssrm - start", "residual recovery"]
    lines = [
        [
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
        ]
        for row in sorted(rows, key=lambda row: row.role == "control")
    ]
    return [
        "",
        "Self-training against its start, accuracy in %, difference in points (paired, "
        f"{100 * surface.level:g} % interval); * excludes 0; controls last",
        *_aligned(header, lines),
    ]


def gain_text(row: SurfaceRow) -> str:
    """Returns the gain over the start with its interval, starred where it excludes 0."""
    gain = row.ssrm_gain
    if gain.estimate is None:
        return DASH
    text = f"{percent(gain.estimate, sign=True)} {points_span(gain.low, gain.high)}".rstrip()
    is_told = gain.low is not None and gain.high is not None and not gain.low <= 0.0 <= gain.high
    return f"{text} *" if is_told else text


def residual_text(row: SurfaceRow) -> str:
    """Returns the residual recovery with its interval, or why there is none."""
    share = row.residual
    if share.estimate is None:
        return row.residual_verdict or f"no estimate: {row.reason}"
    return f"{share.estimate:.2f} {span(share.low, share.high)}"


def summary(rows: Sequence[SurfaceRow], counts: Counts) -> str:
    """Returns how many points have which verdict, and how many cells there are."""
    verdicts: dict[str, int] = {}
    for row in rows:
        verdict = row.verdict or "without estimate"
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
    points = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    cells = [f"{counts.finished} of {counts.planned} cells finished"]
    cells += [f"{counts.failed} failed"] * (counts.failed > 0)
    cells += [f"{counts.not_valid} records not valid"] * (counts.not_valid > 0)
    cells += [f"{counts.ignored} records of other studies ignored"] * (counts.ignored > 0)
    return f"{len(rows)} points: {points}; {', '.join(cells)}"


def _levels(row: SurfaceRow, *, several_tasks: bool) -> str:
    levels = f"{row.point.source} -> {row.point.test_level.name}"
    return f"{row.point.task}/{row.point.measure} {levels}" if several_tasks else levels


def _aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    columns = list(zip(header, *lines, strict=True))
    widths = [max(map(len, column)) for column in columns[:-1]]
    last_width = max(MAX_WIDTH - sum(widths) - 2 * len(widths), MIN_LAST_WIDTH)
    aligned = []
    for line in (header, *lines):
        cells = [
            text.rjust(width) if name in _RIGHT_ALIGNED else text.ljust(width)
            for name, text, width in zip(header, line, widths, strict=False)
        ]
        last = line[-1] if len(line[-1]) <= last_width else line[-1][: last_width - 3] + "..."
        aligned.append("  ".join([*cells, last]).rstrip())
    return aligned


def print_findings(content: Content) -> None:
    """Prints what stands beside the table of points: policies side by side, and each warning."""
    if content.alignment:
        print(f"\nPolicies under the gold reward\n{format_win_rates(content.alignment)}")
    crossings = crossing_lines(content.label_curves)
    if crossings:
        print("\nWhere easy and hard labels are worth the same")
    for line in crossings:
        print(f"- {line}")
    if content.warnings:
        print("\nWarnings")
    for line in content.warnings:
        print(f"- {line}")
