"""Sentences that a reader can quote: the question, and one per point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.explain import count
from study.analysis.label_curves import LabelCurves
from study.analysis.preferences.policies import WinRate
from study.analysis.preferences.reward_models import PRIOR_SETS, Ceiling, RewardRow
from study.analysis.preferences.rewardbench import LEADERBOARD_PRIOR_SETS
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.artifacts.plan import Plan
from study.artifacts.policies import PolicyComparison
from study.formatting import percent
from study.reporting.surface_views.tiles import NUMBERED, Status, status


def question(plan: Plan) -> str:
    """Returns the question that the study asks."""
    tasks = " and ".join(
        dict.fromkeys(f"{axis.task} (by {axis.measure})" for axis in plan.space.tasks)
    )
    return (
        f"How much of what hard labels would have bought on hard questions of {tasks} do easier "
        "labels recover?"
    )


def sentence(row: SurfaceRow, labels: Mapping[str, str], level: float) -> str:
    """Returns a sentence on one point, with numbers and interval.

    Args:
        row: The point.
        labels: Recipe text -> label, for all recipes of the study.
        level: Confidence of the intervals.
    """
    point = row.point
    who = f"{point.model} ({labels[recipe_text(point.recipe)]}), trained on {point.source}"
    where = f"{point.test_level.name} items of {point.task}"
    accuracies = (
        f"zero-shot {percent(row.zero_shot)} %, {point.source} {percent(row.easy)} %, "
        f"hard {percent(row.hard)} %"
    )
    sure = f"{100 * level:g} % interval"
    match status(row):
        case Status.RESOLVED | Status.IMPRECISE as grade:
            share, low, high = (
                percent(value) for value in (row.sgr.estimate, row.sgr.low, row.sgr.high)
            )
            text = (
                f"{who}, recovers {share} % ({sure} {low} to {high} %{_grade(grade)}) of what hard "
                f"labels buy on {where}: {accuracies}"
            )
        case Status.HARD_LABELS_HURT:
            text = (
                f"{who}: SGR is undefined on {where}, because hard labels hurt by "
                f"{_points(row.gap)}: {accuracies}"
            )
        case Status.NOT_RESOLVABLE:
            text = (
                f"{who}: SGR is undefined on {where}, because the gains of hard labels, "
                f"{_points(row.gap)}, do not differ significantly from 0: {accuracies}"
            )
        case Status.NO_FLOOR:
            text = (
                f"{who}: SGR is undefined on {where}, because zero-shot is no floor "
                f"({row.verdict_note}): {accuracies}"
            )
        case Status.MISSING:
            text = f"{who}: no estimate on {where}: {row.reason}."
            return " ".join(filter(None, (text, gain_sentence(row))))
    return " ".join(filter(None, (f"{text} ({_evidence(row)}).", gain_sentence(row))))


def gain_sentence(row: SurfaceRow) -> str:
    """Returns a sentence on the gain of self-training over its start.

    Empty for a source without self-training, and if an arm is missing.
    """
    gain, point = row.ssrm_gain, row.point
    if gain.estimate is None:
        return ""
    start = "its start" if point.train_level is None else f"{point.train_level.name} labels alone"
    if gain.low is None or gain.high is None:
        return f"{point.source} compared with {start}: {_points(gain)}, without an interval."
    if gain.low > 0.0:
        return f"{point.source} beats {start} by {_points(gain)}."
    if gain.high < 0.0:
        return f"{point.source} hurts compared with {start}: {_points(gain)}."
    return f"{point.source} does not differ significantly from {start}: {_points(gain)}."


def _grade(grade: Status) -> str:
    return f"; {grade.value}" if grade is Status.IMPRECISE else ""


def _evidence(row: SurfaceRow) -> str:
    note = row.verdict_note if status(row) in NUMBERED else ""
    seeds = row.draw_note or count(row.num_seeds or 0, "seed")
    known = (count(row.num_items or 0, "item"), "" if seeds in note else seeds, *row.caveats, note)
    return ", ".join(filter(None, known))


def _points(gap: Interval) -> str:
    ends = ""
    if gap.low is not None:
        ends = f" [{percent(gap.low, sign=True)}, {percent(gap.high, sign=True)}]"
    return f"{percent(gap.estimate, sign=True)} points{ends}"


def crossing_lines(curves: Sequence[LabelCurves]) -> list[str]:
    """Returns a line for each pair of curves that could cross."""
    return [
        f"{_panel_name(entry)}: {crossing_text(entry)}" for entry in curves if entry.panel.crossing
    ]


def crossing_text(entry: LabelCurves) -> str:
    """Returns where two curves cross, with the interval, or that they do not."""
    crossing = entry.panel.crossing
    if crossing is None:
        return "not measured at two places each"
    measured = f"between {crossing.start:.3g} and {crossing.stop:.3g}"
    if crossing.is_empty:
        return f"{entry.easy} and {entry.hard} do not cross {measured}"
    if crossing.estimate is None and crossing.low is None and crossing.high is None:
        return f"no crossing seen {measured}; the interval excludes no place"
    low = f"below {crossing.start:.3g}" if crossing.low is None else f"{crossing.low:.3g}"
    high = f"above {crossing.stop:.3g}" if crossing.high is None else f"{crossing.high:.3g}"
    if crossing.estimate is None:
        return f"no crossing seen {measured}; interval [{low}, {high}]"
    return f"{entry.easy} and {entry.hard} cross at {crossing.estimate:.3g} [{low}, {high}]"


def _panel_name(entry: LabelCurves) -> str:
    panel = entry.panel
    return f"{panel.column}, {panel.row}, {panel.x_title}"


def source_of(comparison: PolicyComparison) -> str:
    """Returns the reader's name of a reward model: method, condition, threshold and last round."""
    parts = [comparison.recipe.method, comparison.condition]
    if comparison.variant:
        parts.append(comparison.variant)
    if comparison.threshold is not None:
        parts.append(f"tau {comparison.threshold:g}")
    return " ".join([*parts, f"round {comparison.ssrm_round}"])


def labels_text(row: WinRate) -> str:
    """Returns the accuracy of the preference labels in %, or why it is undefined."""
    return "pairs of equal rewards" if row.label_accuracy is None else percent(row.label_accuracy)


def prior_text(rows: Sequence[RewardRow]) -> str:
    """Returns which prior sets the overall means of these rows include."""
    names = dict.fromkeys(name for row in rows for name in row.prior_sets)
    if not names:
        return "No prior set was answered by the same models, so the last column is empty."
    return (
        f"Prior sets count half: {', '.join(PRIOR_SETS[name] for name in names)}, answered by the "
        f"same models. The public leaderboard uses {', '.join(LEADERBOARD_PRIOR_SETS)} instead, so "
        "its overall score is not comparable."
    )


def ceiling_text(ceiling: Ceiling) -> str:
    """Returns the human ceiling, or that it is unknown."""
    agreement = ceiling.agreement
    if agreement is None:
        return "unknown ceiling (one label per pair)."
    return (
        f"one annotator scores {100 * agreement.accuracy:.1f} % against the others on these "
        f"{count(agreement.num_items, 'pair')}."
    )
