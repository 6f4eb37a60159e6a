"""Look and text of a surface tile, shared by the page, W&B and the PNG figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from textwrap import wrap

from study.analysis.names import brief
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import duration, number, percent, span
from study.statistics.recovery import HARD_LABELS_HURT, ONE_SEED, RESOLVED


class Status(Enum):
    """Status of a point; each has its own look, so that colour is not needed."""

    RESOLVED = "resolved"
    NOT_RESOLVABLE = "gap not resolvable"
    HARD_LABELS_HURT = "hard labels hurt"
    NO_FLOOR = "floor below chance or not readable"
    MISSING = "no estimate"


LOOKS: Mapping[Status, tuple[str, str]] = {
    Status.NOT_RESOLVABLE: ("/", "#e8e8e8"),
    Status.HARD_LABELS_HURT: ("x", "#f3d9c5"),
    Status.NO_FLOOR: ("\\", "#dfe5f3"),
    Status.MISSING: (".", "#ffffff"),
}
"""Pattern (of Plotly and matplotlib) and fill of points without a number."""

MAX_LABELLED_TILES = 500
"""Panels with more tiles have no labels: the tiles are too small."""


def status(row: SurfaceRow) -> Status:
    """Returns the status of a point."""
    if row.verdict is None:
        return Status.MISSING
    if not row.has_floor:
        return Status.NO_FLOOR
    if row.verdict == RESOLVED:
        return Status.RESOLVED
    return Status.HARD_LABELS_HURT if row.verdict == HARD_LABELS_HURT else Status.NOT_RESOLVABLE


def shown_status(row: SurfaceRow, value: str) -> Status:
    """Returns the status of the shown value: a difference is known whatever the verdict on SGR."""
    if getattr(row, value).estimate is not None:
        return Status.RESOLVED
    point_status = status(row)
    return Status.MISSING if point_status is Status.RESOLVED else point_status


def is_share(value: str) -> bool:
    """Returns whether a value is a share (SGR, residual recovery) rather than a difference."""
    return value in ("sgr", "residual")


def tile_text(row: SurfaceRow, value: str) -> str:
    """Returns the text of a tile: the number with its caveats, or one word for its absence.

    A star stands for `ONE_SEED`; `draw_key` explains it.
    """
    if row.verdict is None and getattr(row, value).estimate is None:
        return "missing"
    caveats = map(brief, row.caveats if value == "sgr" else ())
    text = _tile_number(row, value)
    return "\n".join([f"{text} *" if row.draw_note else text, *caveats])


def _tile_number(row: SurfaceRow, value: str) -> str:
    estimate = getattr(row, value).estimate
    if estimate is None:
        words = {Status.HARD_LABELS_HURT: "hurt", Status.NO_FLOOR: "no floor"}
        return words.get(status(row), "?")
    return f"{estimate:.2f}" if is_share(value) else percent(estimate, sign=True)


def draw_key(rows: Iterable[SurfaceRow]) -> str:
    """Returns the meaning of the star on a tile; empty if no point has a single seed."""
    return f"* {ONE_SEED}" if any(row.draw_note for row in rows) else ""


def ink_on(colour: Sequence[float]) -> str:
    """Returns black or white, whichever has more contrast on a colour (red, green, blue in [0, 1]).

    Source: WCAG 2.2, relative luminance; both inks have a contrast of 4.5 at 0.18.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.18 else "#ffffff"


def hover_text(row: SurfaceRow) -> str:
    """Returns everything known about a point, as HTML lines for a hover label."""
    point = row.point
    gap = "?" if point.difficulty_gap is None else f"{point.difficulty_gap:+.2f}"
    lines = [
        f"<b>{point.model}, {point.recipe.method}</b>",
        f"{point.source} -> {point.test_level.name} (difficulty gap {gap})",
        f"SGR {number(row.sgr.estimate)} {span(row.sgr.low, row.sgr.high)}".rstrip(),
        f"verdict: {row.verdict or 'no estimate'}",
        f"zero-shot {percent(row.zero_shot)} %, source {percent(row.easy)} %, "
        f"hard {percent(row.hard)} %",
    ]
    if row.gap.estimate is not None:
        ends = f"[{percent(row.gap.low, sign=True)}, {percent(row.gap.high, sign=True)}]"
        lines.append(f"hard - zero-shot {percent(row.gap.estimate, sign=True)} points {ends}")
    if row.num_items is not None:
        seeds = "" if row.num_seeds is None or row.draw_note else f", {row.num_seeds} seeds"
        lines.append(f"{row.num_items} items{seeds}")
    if row.draw_note:
        lines.append(f"<b>{row.draw_note}</b>")
    lines.append(f"cost: {duration(row.cell_seconds)} in {row.num_cells} cells")
    lines += [
        f"{arm.replace('_', '-')}: {percent(share)} % of answers not readable"
        for arm, share in row.unreadable.items()
    ]
    lines += [note for note in (*row.caveats, row.verdict_note, row.reason) if note]
    return "<br>".join([*lines, *wrap(recipe_text(point.recipe), width=60)])
