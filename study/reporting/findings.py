"""What a study found, in three sentences, and the points that they are about.

The sentences open the report and end the sweep. They state verdicts and intervals, never a mean of
ratios.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from search_spaces.contrasts import START
from search_spaces.explain import count
from search_spaces.space import TaskAxis
from study.analysis.names import recipe_labels
from study.analysis.power_analysis import estimate_power
from study.analysis.surface import Surface
from study.analysis.surface_rows import Interval, SurfaceRow, recipe_text
from study.artifacts.plan import Plan
from study.formatting import number, percent, span
from study.reporting.surface_views.tiles import Status, status

NAMED = 2
"""Points that a sentence names; of more it gives the number."""


def main_pairs(plan: Plan, axis: TaskAxis) -> tuple[tuple[str, str], ...]:
    """Returns the condition and test level of an axis that its study is about.

    Those of the first arms of the declared contrasts on labels; without one the first training
    level on the last test level that is also a training level.
    """
    conditions = (*axis.plain_conditions, *axis.conditions)
    on_labels = {c.name for c in conditions if c.self_training is None}
    declared = dict.fromkeys(
        (contrast.first.condition, contrast.test_level)
        for contrast in plan.space.contrasts
        if contrast.first.condition in on_labels
        and contrast.task in (None, axis.task)
        and contrast.measure in (None, axis.measure)
    )
    levels = {level.name for level in axis.train_levels}
    tests = [level.name for level in axis.test_levels]
    hardest = [name for name in tests if name in levels][-1:] or tests[-1:]
    return tuple(declared) or ((axis.train_levels[0].name, hardest[0]),)


def main_rows(plan: Plan, surface: Surface) -> tuple[SurfaceRow, ...]:
    """Returns the points that the study is about: gold labels alone, on the main test levels.

    If no main condition has a point (the hard arm is its own source), those of every condition.
    """
    found: list[SurfaceRow] = []
    for axis in plan.space.tasks:
        pairs = main_pairs(plan, axis)
        on_test = [
            row
            for row in surface.rows
            if (row.point.task, row.point.measure) == (axis.task, axis.measure)
            and row.role == "labels"
            and row.point.test_level.name in {test for _, test in pairs}
        ]
        named = [r for r in on_test if (r.point.condition, r.point.test_level.name) in pairs]
        found += named or on_test
    return tuple(found)


def gain_rows(plan: Plan, surface: Surface) -> tuple[SurfaceRow, ...]:
    """Returns the self-trained points and their controls after the last round, on the main levels.

    The main levels are those of the contrasts of a self-trained arm with its start, else those of
    `main_rows`.
    """
    trained = [row for row in surface.rows if row.point.start is not None]
    declared = {c.test_level for c in plan.space.contrasts if c.second.condition == START}
    tests = declared or {row.point.test_level.name for row in main_rows(plan, surface)}
    last: dict[tuple[object, ...], int] = {}
    for row in trained:
        last[_source(row)] = max(last.get(_source(row), 0), row.point.ssrm_round or 0)
    return tuple(
        row
        for row in trained
        if row.point.test_level.name in tests and (row.point.ssrm_round or 0) == last[_source(row)]
    )


def _source(row: SurfaceRow) -> tuple[object, ...]:
    point = row.point
    return point.task, point.measure, point.condition, point.variant, point.threshold


def findings(plan: Plan, surface: Surface) -> tuple[str, ...]:
    """Returns up to three sentences: what is resolved, which share is recovered, and what fails.

    Of a study with self-training, the third says whether it beats its start.
    """
    rows = main_rows(plan, surface)
    gains = gain_rows(plan, surface)
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    third = _gain_sentence(gains, surface) if gains else _failure_sentence(plan, surface, rows)
    return tuple(filter(None, (_resolved_sentence(rows), _share_sentence(rows, labels), third)))


def _resolved_sentence(rows: Sequence[SurfaceRow]) -> str:
    counts = Counter(status(row) for row in rows)
    pairs = dict.fromkeys(f"{row.point.source} -> {row.point.test_level.name}" for row in rows)
    what = " and ".join(pairs) if len(pairs) <= NAMED else f"{len(pairs)} pairs of levels"
    imprecise = counts[Status.IMPRECISE]
    points = f"{counts[Status.RESOLVED] + imprecise} of {count(len(rows), 'point')}"
    text = f"{what}: the gap of hard labels over zero-shot is resolved at {points}"
    text += f", with an imprecise SGR at {imprecise} of them" * bool(imprecise)
    rest = [
        f"at {counts[kind]} {reason}"
        for kind, reason in (
            (Status.NOT_RESOLVABLE, "it is not resolvable"),
            (Status.HARD_LABELS_HURT, "hard labels hurt"),
            (Status.NO_FLOOR, "zero-shot is below chance or not readable"),
            (Status.MISSING, "there is no estimate"),
        )
        if counts[kind]
    ]
    return "; ".join([text, ", ".join(rest)] if rest else [text]) + "."


def _share_sentence(rows: Sequence[SurfaceRow], labels: Mapping[str, str]) -> str:
    """Returns the range of the precisely resolved SGRs, and what their intervals exclude."""
    resolved = sorted(
        (row for row in rows if status(row) is Status.RESOLVED), key=lambda r: r.sgr.estimate or 0.0
    )
    if not resolved:
        return "So this study cannot tell what share of the gap easier labels recover."
    low, high = resolved[0], resolved[-1]
    ends = [_share(low, labels)] + [f"to {_share(high, labels)}"] * (high is not low)
    positive = sum(row.sgr.low is not None and row.sgr.low > 0.0 for row in resolved)
    whole = sum(_includes(row.sgr, 1.0) for row in resolved)
    from_ = "from " if high is not low else ""
    sources = dict.fromkeys(row.point.source for row in resolved)
    who = f"{next(iter(sources))} labels" if len(sources) == 1 else "easier labels"
    return (
        f"There, {who} recover {from_}{' '.join(ends)} of it; the interval is above 0 at "
        f"{positive} and includes 1 at {whole} of {len(resolved)}."
    )


def _share(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    interval = span(row.sgr.low, row.sgr.high)
    return f"{number(row.sgr.estimate)} {interval} ({_who(row, labels)})"


def _who(row: SurfaceRow, labels: Mapping[str, str]) -> str:
    return f"{row.point.model} {labels[recipe_text(row.point.recipe)]}"


def _includes(interval: Interval, value: float) -> bool:
    low, high = interval.low, interval.high
    return (low is None or low <= value) and (high is None or value <= high)


def _failure_sentence(plan: Plan, surface: Surface, rows: Sequence[SurfaceRow]) -> str:
    """Returns where hard labels hurt, and which gaps the design can resolve.

    Without either, the gains of hard labels; empty if no point is resolved precisely.
    """
    labels = recipe_labels(row.point.recipe for row in surface.rows)
    parts = []
    hurt = [row for row in rows if status(row) is Status.HARD_LABELS_HURT]
    if hurt:
        parts.append(f"Hard labels hurt with {_names(hurt, labels)}")
    unresolved = [row for row in rows if status(row) is Status.NOT_RESOLVABLE]
    if unresolved:
        gaps = _range([row.gap.estimate or 0.0 for row in unresolved], sign=True)
        text = f"the unresolved gaps are {gaps} points"
        if smallest := list(_smallest_gaps(plan, surface, unresolved)):
            text += f"; this design resolves gaps from {_range(smallest)} points (80 % power)"
        parts.append(text)
    if not parts:
        known = [row.gap.estimate for row in rows if row.gap.estimate is not None]
        if not known:
            return "No gap of hard labels over zero-shot is known yet."
        if all(status(row) is not Status.RESOLVED for row in rows):
            return ""
        return f"Hard labels gain {_range(known, sign=True)} points over zero-shot."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _names(rows: Sequence[SurfaceRow], labels: Mapping[str, str]) -> str:
    """Returns the first points, and the number of the others."""
    names = [_who(row, labels) for row in rows]
    more = [f"{len(names) - NAMED} more"] * (len(names) > NAMED)
    return " and ".join(filter(None, (", ".join(names[:NAMED]), *more)))


def _smallest_gaps(plan: Plan, surface: Surface, rows: Sequence[SurfaceRow]) -> Iterator[float]:
    """Yields the smallest gap that each point can resolve with 80 % power."""
    part = plan.model_copy(update={"points": tuple(row.point for row in rows)})
    for planned in estimate_power(part, pilot=replace(surface, rows=tuple(rows))):
        if planned.power is not None:
            yield planned.power.smallest_gap


def _range(values: Sequence[float], *, sign: bool = False) -> str:
    low, high = percent(min(values), sign=sign), percent(max(values), sign=sign)
    return low if low == high else f"{low} to {high}"


def _gain_sentence(rows: Sequence[SurfaceRow], surface: Surface) -> str:
    """Returns whether self-training beats its start, and whether gold labels would."""
    trained = [row for row in rows if row.role == "self-training"]
    text = f"Self-training beats its start at {_beating(trained, 'point')}"
    worse = sum(map(loses_to_start, trained))
    text += f" and is worse at {worse}" if worse else ""
    text += f" ({100 * surface.level:g} % intervals)"
    oracle = [row for row in rows if is_oracle(row)]
    if not oracle:
        return f"{text}; the study has no positive control."
    text += f"; gold labels of the selected items beat it at {_beating(oracle)}"
    if not worse and not any(map(beats_start, (*trained, *oracle))):
        text += ", so the null result for pseudo-labels is uninformative"
    return f"{text}."


def _beating(rows: Sequence[SurfaceRow], noun: str = "") -> str:
    number = count(len(rows), noun) if noun else len(rows)
    return f"{sum(map(beats_start, rows))} of {number}"


def beats_start(row: SurfaceRow) -> bool:
    """Returns whether the interval of the gain over the start is above 0."""
    return row.ssrm_gain.low is not None and row.ssrm_gain.low > 0.0


def loses_to_start(row: SurfaceRow) -> bool:
    """Returns whether the interval of the gain over the start is below 0."""
    return row.ssrm_gain.high is not None and row.ssrm_gain.high < 0.0


def is_oracle(row: SurfaceRow) -> bool:
    """Returns whether the selected items of a self-trained point have their gold labels."""
    options = row.point.self_training
    return options is not None and options.targets == "oracle"


def gain_span(row: SurfaceRow) -> str:
    """Returns the gain over the start in points with its interval."""
    gain = row.ssrm_gain
    if gain.low is None or gain.high is None:
        return percent(gain.estimate, sign=True)
    return f"{percent(gain.estimate, sign=True)} [{percent(gain.low)}, {percent(gain.high)}]"
