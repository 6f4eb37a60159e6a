"""The end of a sweep on a terminal: what the study found, in at most `MAX_LINES` lines.

A matrix shows the main points (`findings.main_rows`), and another one the gains of self-training.
What does not fit is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten, wrap

from search_spaces.explain import count
from study.analysis.contrasts import ContrastResult
from study.analysis.names import brief, hidden_rounds, recipe_labels, source_label
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.artifacts.plan import Plan
from study.formatting import DASH, Table, number, percent, span
from study.reporting.content import Content
from study.reporting.findings import gain_rows, gain_span, is_oracle, main_rows
from study.reporting.self_training import AuditLine, selected_line
from study.reporting.surface_views.tiles import IMPRECISE_MARK, Status, status
from study.reporting.terminal import draws, finding_parts, requested_parts, surface_parts
from study.statistics.recovery import IMPRECISE, MAX_INTERVAL

MAX_LINES = 25
MAX_WIDTH = 80

WORDS: Mapping[Status, str] = {
    Status.NOT_RESOLVABLE: "gap not resolvable",
    Status.HARD_LABELS_HURT: "hard labels hurt",
    Status.NO_FLOOR: "no floor",
    Status.MISSING: "no estimate",
}
"""Verdicts of points without a number."""

MAX_CONTRASTS, NAME_WIDTH = 5, 52
"""Contrasts of the summary, and characters of their names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Short texts by row and column."""

    corner: str
    cells: Mapping[tuple[str, str], str]
    """(row, column) -> text."""

    def height(self) -> int:
        """Returns the lines of all blocks."""
        return sum(1 + len(block.rows) for block in self.blocks())

    def blocks(self) -> Iterator[Table]:
        """Yields the matrix as tables of at most `MAX_WIDTH` columns of text."""
        rows = list(dict.fromkeys(row for row, _ in self.cells))
        rest = list(dict.fromkeys(column for _, column in self.cells))
        while rest:
            width, taken = max(map(len, (self.corner, *rows))), 0
            while taken < len(rest):
                texts = (rest[taken], *(self.cells.get((row, rest[taken]), "") for row in rows))
                width += 2 + max(map(len, texts))
                if taken and width > MAX_WIDTH:
                    break
                taken += 1
            columns, rest = rest[:taken], rest[taken:]
            lines = [[row, *(self.cells.get((row, c), "") for c in columns)] for row in rows]
            yield Table(header=(self.corner, *columns), rows=lines)


def result_parts(
    plan: Plan, surface: Surface, content: Content, *, files: Sequence[str], table: bool
) -> Iterator[str | Table]:
    """Yields what a sweep or a report prints: the summary, or every point.

    Args:
        plan: The study.
        surface: Its surface.
        content: Its report's content, with the comparisons that the reader asked for.
        files: Lines that say where the rest is.
        table: Whether to print every point.
    """
    if table:
        yield from surface_parts(surface)
        yield from finding_parts(content)
        yield from ("", *content.findings, *files)
    else:
        yield from summary_parts(plan, surface, content, files=files)
    yield from requested_parts(content)


def summary_parts(
    plan: Plan, surface: Surface, content: Content, *, files: Sequence[str]
) -> Iterator[str | Table]:
    """Yields the summary.

    Args:
        plan: The study.
        surface: Its surface.
        content: Its report's content.
        files: Lines that say where the rest is.
    """
    ending: list[list[str | Table]] = [
        [*_contrast_parts(content.contrasts, 1.0 - surface.level)],
        ["\n".join(wrap(text, MAX_WIDTH)) for text in content.findings],
        [*_notes(main_rows(plan, surface), surface, content), *files],
    ]
    space = MAX_LINES - sum(_height(part) for section in ending for part in section)
    blocks = _matrices(plan, surface, content)
    spare = space - sum(map(_height, blocks))
    shown, left_out = _fitted(blocks, space if spare >= 0 else space - 1)
    if left_out:
        shown.append(f"... and {count(left_out, 'more row')}: see --table")
    sections = [section for section in (shown, *ending) if section]
    for i, section in enumerate(sections):
        if i > 0 and spare >= len(sections) - 1:
            yield ""
        yield from section


def _height(part: str | Table) -> int:
    return len(str(part).splitlines())


def _fitted(blocks: Sequence[Table], space: int) -> tuple[list[str | Table], int]:
    """Returns the blocks cut to some lines in all, and the number of rows that were cut.

    Every block keeps an equal share of the lines, or all its rows if they are fewer.
    """
    shown: list[str | Table] = []
    left_out = 0
    for i, block in enumerate(blocks):
        lines = space // (len(blocks) - i)
        kept = block.rows[: max(lines - 1, 0)]
        left_out += len(block.rows) - len(kept)
        if kept:
            shown.append(Table(header=block.header, rows=kept))
            space -= _height(shown[-1])
    return shown, left_out


def _matrices(plan: Plan, surface: Surface, content: Content) -> list[Table]:
    matrices = [*_sgr_matrices(main_rows(plan, surface), surface)]
    matrices += _gain_matrices(gain_rows(plan, surface), surface, content)
    return [block for matrix in matrices for block in matrix.blocks()]


def _sgr_matrices(rows: Sequence[SurfaceRow], surface: Surface) -> Iterator[Matrix]:
    """Yields SGR by model and method; one matrix for each source, test level, task and measure."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    task_of = _task_labels(rows)
    groups: dict[str, list[SurfaceRow]] = {}
    for row in rows:
        groups.setdefault(f"{task_of[row.point.place[:2]]}{_levels(row)}", []).append(row)
    for name, members in groups.items():
        cells = {
            (row.point.model, labels[recipe_text(row.point.recipe)]): _sgr_text(row)
            for row in members
        }
        turned = {place[::-1]: text for place, text in cells.items()}
        matrices = [Matrix(corner=f"SGR {name}", cells=each) for each in (cells, turned)]
        yield min(matrices, key=Matrix.height)


def _levels(row: SurfaceRow) -> str:
    return f"{row.point.source} -> {row.point.test_level.name}"


def _task_labels(rows: Sequence[SurfaceRow]) -> Mapping[tuple[str, str], str]:
    """Returns task and measure -> their label, empty if there is only one."""
    pairs = {row.point.place[:2] for row in rows}
    return {pair: f"{'/'.join(pair)} " if len(pairs) > 1 else "" for pair in pairs}


def _sgr_text(row: SurfaceRow) -> str:
    if row.sgr.estimate is None:
        kind = status(row)
        return WORDS.get(kind, kind.value)
    mark = "*" if row.caveats or row.draw_note else ""
    mark += IMPRECISE_MARK * (status(row) is Status.IMPRECISE)
    return f"{number(row.sgr.estimate)}{mark} {span(row.sgr.low, row.sgr.high)}"


def _gain_matrices(
    rows: Sequence[SurfaceRow], surface: Surface, content: Content
) -> Iterator[Matrix]:
    """Yields start, gains and right pseudo-labels by source and model, one matrix per method."""
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    hidden = hidden_rounds(surface.rows) | {"ssrm_round"}
    lines = () if content.self_training is None else content.self_training.lines
    shown = [row for row in rows if row.role == "self-training"]
    shown += [row for row in rows if is_oracle(row) or _is_random(row)]
    num_tests = len({row.point.test_level.name for row in shown})
    num_methods = len({labels[recipe_text(row.point.recipe)] for row in shown})
    task_of = _task_labels(rows)
    groups: dict[str, list[SurfaceRow]] = {}
    for row in shown:
        method = f"{labels[recipe_text(row.point.recipe)]} " if num_methods > 1 else ""
        test = f" on {row.point.test_level.name}" if num_tests > 1 else ""
        name = f"{task_of[row.point.place[:2]]}{method}gain{test}, points"
        groups.setdefault(name, []).append(row)
    for name, members in groups.items():
        cells: dict[tuple[str, str], str] = {}
        right: dict[tuple[str, str], str] = {}
        if len({row.point.train_level for row in members}) == 1:
            for row in members:
                cells.setdefault(("start accuracy, %", row.point.model), percent(row.start))
        for row, source in zip(members, _short_sources(members, hidden), strict=True):
            gain = row.ssrm_gain.estimate
            cells[source, row.point.model] = DASH if gain is None else gain_span(row)
            if row.role == "self-training":
                text = _right_text(row, labels[recipe_text(row.point.recipe)], lines)
                right[f"right, {source}", row.point.model] = text
        yield Matrix(corner=name, cells=cells | right)


def _short_sources(rows: Sequence[SurfaceRow], hidden: frozenset[str]) -> Iterator[str]:
    """Yields the names of sources; the only one with pseudo-labels is named by its threshold."""
    trained = [row.point for row in rows if row.role == "self-training"]
    is_only_trained = len({(point.condition, point.variant) for point in trained}) == 1
    thresholds: dict[str, set[float | None]] = {}
    for row in rows:
        thresholds.setdefault(row.point.condition, set()).add(row.point.threshold)
    for row in rows:
        point = row.point
        if is_only_trained and row.role == "self-training" and point.threshold is not None:
            yield f"tau {point.threshold:g}"
        else:
            is_only = len(thresholds[point.condition]) == 1
            yield source_label(point, hidden | {"threshold"} if is_only else hidden)


def _is_random(row: SurfaceRow) -> bool:
    options = row.point.self_training
    return options is not None and options.targets == "random"


def _right_text(row: SurfaceRow, method: str, lines: Sequence[AuditLine]) -> str:
    """Returns how many pseudo-labels were selected, and which share of them was right."""
    line = selected_line(row, method, lines)
    if line is None or line.means["num_selected"] is None:
        return DASH
    return f"{percent(line.means['selected_accuracy'])} % of {line.means['num_selected']:.0f}"


def _contrast_parts(contrasts: Sequence[ContrastResult], alpha: float) -> Iterator[Table]:
    """Yields the declared contrasts: for which pairs of arms each null is rejected.

    A contrast of one pair has its estimate and simultaneous interval, an accuracy in points.
    """
    groups: dict[str, list[ContrastResult]] = {}
    for result in contrasts:
        name, null = result.contrast.name, result.contrast.null
        if result.contrast.margin is not None:
            name += f" (null: {null})"
        groups.setdefault(name, []).append(result)
    rows = []
    for name, members in list(groups.items())[:MAX_CONTRASTS]:
        text = _one_result(members[0], alpha) if len(members) == 1 else _count(members, alpha)
        rows.append((shorten(name, NAME_WIDTH, placeholder="..."), text))
    more = len(groups) - MAX_CONTRASTS
    if more > 0:
        rows.append((f"{more} more: see --table", ""))
    if rows:
        yield Table(header=("contrast", f"null rejected (Holm, {alpha:.2g})"), rows=rows)


def _is_rejected(result: ContrastResult, alpha: float) -> bool:
    return result.holm_p is not None and result.holm_p < alpha


def _only_holm_rejects(result: ContrastResult, alpha: float) -> bool:
    """Returns whether a null of no difference is rejected and inside the simultaneous interval."""
    low, high = result.estimate.low, result.estimate.high
    if result.contrast.margin is not None or low is None or high is None:
        return False
    return _is_rejected(result, alpha) and low <= 0.0 <= high


def _one_result(result: ContrastResult, alpha: float) -> str:
    estimate = result.estimate
    parts = ["yes" if _is_rejected(result, alpha) else "no"]
    if estimate.low is not None and estimate.high is not None:
        is_sgr = result.contrast.of == "sgr"
        show = number if is_sgr else percent
        parts.append(f"({show(estimate.estimate)} [{show(estimate.low)}, {show(estimate.high)}])")
    return " ".join(parts)


def _count(members: Sequence[ContrastResult], alpha: float) -> str:
    rejected = [c for c in members if _is_rejected(c, alpha)]
    text = f"{len(rejected)} of {len(members)}"
    if rejected and members[0].contrast.margin is None:
        above = sum((c.estimate.estimate or 0.0) > 0.0 for c in rejected)
        text += f" ({above} up, {len(rejected) - above} down)"
    return text


def _notes(rows: Sequence[SurfaceRow], surface: Surface, content: Content) -> Iterator[str]:
    """Yields what must accompany the numbers, in a few lines.

    Args:
        rows: The points of the matrix.
        surface: All points.
        content: The report's content.
    """
    numbered = [row for row in rows if row.sgr.estimate is not None]
    marks = dict.fromkeys(brief(caveat) for row in numbered for caveat in row.caveats)
    notes = [f"*: {', '.join(marks)}"] if marks else []
    if any(status(row) is Status.IMPRECISE for row in numbered):
        notes.append(f"{IMPRECISE_MARK}: {IMPRECISE} (interval wider than {MAX_INTERVAL:g})")
    if any(status(row) is Status.NO_FLOOR for row in rows):
        notes.append(
            f"{WORDS[Status.NO_FLOOR]}: zero-shot is worse than guessing or unreadable, so mend "
            "the prompt"
        )
    if any(_only_holm_rejects(result, 1.0 - surface.level) for result in content.contrasts):
        notes.append("Holm's test is stronger than the simultaneous intervals")
    yield from wrap("; ".join(notes), MAX_WIDTH)
    yield from (line for text in draws(surface.rows) for line in wrap(text, MAX_WIDTH))
    missing = surface.counts.planned - surface.counts.finished
    if missing:
        yield f"{missing} of {count(surface.counts.planned, 'cell')} are missing or failed"
    elsewhere = [
        count(number_of, what)
        for number_of, what in (
            (len(surface.rows), "point"),
            (len(content.alignment), "policy comparison"),
            (len(content.label_curves), "label curve"),
            (len(content.warnings), "warning"),
        )
        if number_of
    ]
    yield f"--table prints all: {', '.join(elsewhere)}"
