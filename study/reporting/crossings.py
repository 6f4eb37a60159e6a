"""Where the curves of easy and of hard labels cross, in words: page, terminal and W&B alike."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.label_curves import LabelCurves


def crossing_lines(curves: Sequence[LabelCurves]) -> list[str]:
    """Returns a line for each pair of curves that could cross."""
    return [f"{_where(entry)}: {crossing_text(entry)}" for entry in curves if entry.panel.crossing]


def crossing_text(entry: LabelCurves) -> str:
    """Returns the place of a crossing with its interval, or that there is none."""
    found = entry.panel.crossing
    if found is None:
        return "not measured at two places each"
    measured = f"between {found.start:.3g} and {found.stop:.3g}"
    if found.is_empty:
        return f"{entry.easy} and {entry.hard} do not cross {measured}"
    if found.estimate is None and found.low is None and found.high is None:
        return f"no crossing seen {measured}; the interval excludes no place"
    low = f"below {found.start:.3g}" if found.low is None else f"{found.low:.3g}"
    high = f"above {found.stop:.3g}" if found.high is None else f"{found.high:.3g}"
    if found.estimate is None:
        return f"no crossing seen {measured}; interval [{low}, {high}]"
    return f"{entry.easy} and {entry.hard} cross at {found.estimate:.3g} [{low}, {high}]"


def _where(entry: LabelCurves) -> str:
    panel = entry.panel
    return f"{panel.column}, {panel.row}, {panel.x_title}"
