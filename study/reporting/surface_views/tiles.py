"""What a tile of a surface looks like and says: shared by the page, W&B and the PNG copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from study.analysis.names import brief
from study.analysis.surface_rows import SurfaceRow, recipe_text
from study.formatting import duration, number, percent, span
from study.statistics.recovery import HARD_LABELS_HURT, ONE_SEED, RESOLVED


class Status(Enum):
    """What is known of a point; each has a look of its own, so that colour is not needed."""

    RESOLVED = "resolved"
    NOT_RESOLVABLE = "gap not resolvable"
    HARD_LABELS_HURT = "hard labels hurt"
    NO_FLOOR = "floor below chance or not readable"
    MISSING = "no estimate"


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
    """Returns the status of what is shown: a difference is there whatever the share's verdict."""
    if getattr(row, value).estimate is not None:
        return Status.RESOLVED
    found = status(row)
    return Status.MISSING if found is Status.RESOLVED else found


def is_share(value: str) -> bool:
    """Says whether a value is a share (SGR, residual recovery); else it is a difference."""
    return value in ("sgr", "residual")


def tile_text(row: SurfaceRow, value: str) -> str:
    """Returns the lines on a tile: the number with its caveats, or in a word why there is none.

    A star stands for `ONE_SEED`, which `draw_key` says in full.
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
    """Returns what the star on a tile means; empty where no point of these has one seed."""
    return f"* {ONE_SEED}" if any(row.draw_note for row in rows) else ""


def ink_on(colour: Sequence[float]) -> str:
    """Returns black or white, whichever has more contrast on a colour (red, green, blue in [0, 1]).

    Source: WCAG 2.2, relative luminance; both inks have a contrast of 4.5 at 0.18.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.18 else "#ffffff"


def hover_text(row: SurfaceRow) -> str:
    """Returns all that is known of a point, as lines of HTML for a hover label."""
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
    return "<br>".join([*lines, _wrapped(recipe_text(point.recipe))])


def _wrapped(text: str, width: int = 60) -> str:
    """Breaks a long text at spaces."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)
