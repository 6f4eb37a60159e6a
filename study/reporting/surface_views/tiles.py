"""Look and text of a surface tile, shared by the page, W&B and the PNG figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from search_spaces.explain import count
from study.analysis.names import brief
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import duration, number, percent, points_span, span
from study.statistics.recovery import HARD_LABELS_HURT, IMPRECISE, ONE_SEED, RESOLVED


class Status(Enum):
    """Status of a point; each has its own look, so that colour is not needed."""

    RESOLVED = RESOLVED
    IMPRECISE = IMPRECISE
    NOT_RESOLVABLE = "gap not resolvable"
    HARD_LABELS_HURT = "hard labels hurt"
    NO_FLOOR = "floor below chance or not readable"
    MISSING = "no estimate"


NUMBERED = (Status.RESOLVED, Status.IMPRECISE)
"""Statuses of points with a number."""

LOOKS: Mapping[Status, tuple[str, str]] = {
    Status.NOT_RESOLVABLE: ("/", "#e8e8e8"),
    Status.HARD_LABELS_HURT: ("x", "#f3d9c5"),
    Status.NO_FLOOR: ("\\", "#dfe5f3"),
    Status.MISSING: (".", "#ffffff"),
}
"""Pattern (of matplotlib) and fill of points without a number."""

IMPRECISE_MARK = "~"
"""Marks the number of a point that is resolved, but imprecisely."""

MAX_LABELLED_TILES = 500
"""Panels with more tiles have no labels: the tiles are too small."""


def status(row: SurfaceRow) -> Status:
    """Returns the status of a point."""
    if row.verdict is None:
        return Status.MISSING
    if not row.has_floor:
        return Status.NO_FLOOR
    if row.verdict in (RESOLVED, IMPRECISE):
        return Status(row.verdict)
    return Status.HARD_LABELS_HURT if row.verdict == HARD_LABELS_HURT else Status.NOT_RESOLVABLE


def shown_status(row: SurfaceRow, value: str) -> Status:
    """Returns the status of the shown value: a difference is known whatever the verdict on SGR."""
    point_status = status(row)
    if getattr(row, value).estimate is not None:
        is_imprecise = value == "sgr" and point_status is Status.IMPRECISE
        return Status.IMPRECISE if is_imprecise else Status.RESOLVED
    is_resolved = point_status in (Status.RESOLVED, Status.IMPRECISE)
    return Status.MISSING if is_resolved else point_status


def is_share(value: str) -> bool:
    """Returns whether a value is a share (SGR, residual recovery) rather than a difference."""
    return value in ("sgr", "residual")


def tile_text(row: SurfaceRow, value: str) -> str:
    """Returns the text of a tile: the number with its caveats, or one word for its absence.

    `draw_key` explains its marks.
    """
    caveats = map(brief, row.caveats if value == "sgr" else ())
    return "\n".join([tile_number(row, value), *caveats])


def tile_number(row: SurfaceRow, value: str) -> str:
    """Returns the number of a tile with its marks, or one word for its absence."""
    estimate = getattr(row, value).estimate
    star = " *" * bool(row.draw_note)
    if estimate is None:
        words = {
            Status.HARD_LABELS_HURT: "hurt",
            Status.NO_FLOOR: "no floor",
            Status.MISSING: "missing",
        }
        word = words.get(status(row), "?")
        return word if row.verdict is None else word + star
    if not is_share(value):
        return percent(estimate, sign=True) + star
    is_imprecise = shown_status(row, value) is Status.IMPRECISE
    return f"{estimate:.2f}{f' {IMPRECISE_MARK}' * is_imprecise}{star}"


def draw_key(rows: Iterable[SurfaceRow]) -> str:
    """Returns the meanings of the marks on tiles, as far as these points have them."""
    shown = list(rows)
    keys = [f"* {ONE_SEED}"] * any(row.draw_note for row in shown)
    keys += [f"{IMPRECISE_MARK} {IMPRECISE}"] * any(
        status(row) is Status.IMPRECISE for row in shown
    )
    return "; ".join(keys)


def ink_on(colour: Sequence[float]) -> str:
    """Returns black or white, whichever has more contrast on a colour (red, green, blue in [0, 1]).

    Source: WCAG 2.2, relative luminance; both inks have a contrast of 4.5 at 0.18.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.18 else "#ffffff"


def hover_lines(row: SurfaceRow) -> list[str]:
    """Returns everything known about a point, as the lines of a hover label; its recipe is last."""
    point = row.point
    gap = "?" if point.difficulty_gap is None else f"{point.difficulty_gap:+.2f}"
    lines = [
        f"{point.model}, {point.recipe.method}",
        f"{point.source} -> {point.test_level.name} (difficulty gap {gap})",
        f"SGR {number(row.sgr.estimate)} {span(row.sgr.low, row.sgr.high)}".rstrip(),
        f"verdict: {row.verdict or 'no estimate'}",
        f"zero-shot {percent(row.zero_shot)} %, source {percent(row.easy)} %, "
        f"hard {percent(row.hard)} %",
    ]
    if row.gap.estimate is not None:
        ends = f"[{percent(row.gap.low, sign=True)}, {percent(row.gap.high, sign=True)}]"
        lines.append(f"hard - zero-shot {percent(row.gap.estimate, sign=True)} points {ends}")
    if row.ssrm_gain.estimate is not None:
        ends = points_span(row.ssrm_gain.low, row.ssrm_gain.high)
        gain = percent(row.ssrm_gain.estimate, sign=True)
        lines.append(f"self-trained - start {gain} points {ends}".rstrip())
    if row.num_items is not None:
        seeds = (
            "" if row.num_seeds is None or row.draw_note else f", {count(row.num_seeds, 'seed')}"
        )
        lines.append(f"{count(row.num_items, 'item')}{seeds}")
    if row.draw_note:
        lines.append(row.draw_note)
    lines.append(f"cost: {duration(row.cell_seconds)} in {count(row.num_cells, 'cell')}")
    lines += [
        f"{arm.replace('_', '-')}: {percent(share)} % of answers not readable"
        for arm, share in row.unreadable.items()
    ]
    lines += [note for note in (*row.caveats, row.verdict_note, row.reason) if note]
    return [*lines, recipe_text(point.recipe)]
