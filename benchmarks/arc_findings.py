"""The first section of the page: its question's answer in plain words, from the records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.arc_parts import (
    Part,
    code,
    difference,
    joined,
    labelled_rows,
    method_label,
    num_selected,
)
from search_spaces.contrasts import ZERO_SHOT
from search_spaces.explain import count
from study.analysis.contrasts import ContrastResult
from study.analysis.names import outcome
from study.analysis.surface_rows import Interval, SurfaceRow
from study.artifacts.points import Point
from study.formatting import band, percent
from study.reporting.findings import (
    beats_start,
    gain_rows,
    is_oracle,
    loses_to_start,
    main_rows,
)
from study.reporting.surface_views.tiles import Status, status

METHODS = {
    "linear probe": "the linear probe",
    "in-context": "in-context learning",
    "lora": "LoRA",
}

VERBS = {
    1: "does better than zero-shot",
    0: "does not differ measurably from zero-shot",
    -1: "does worse than zero-shot",
}
"""Side of zero-shot on which an arm is -> claim."""


def finding_lines(parts: Sequence[Part], left_out: Sequence[str]) -> Iterator[str]:
    """Yields the answer, a sentence for each model and method, and the spaces without results."""
    shown = {id(row) for _, row in labelled_rows(parts)}
    rows = [
        (part, row)
        for part in parts
        for row in main_rows(part.plan, part.surface)
        if row.estimate is not None and id(row) in shown
    ]
    yield f"{_answer(rows)} {holm_sentence(parts)}\n"
    yield from (f"* {_finding(part, row)}" for part, row in rows)
    yield from (f"* {line}" for part in parts for line in _self_training(part))
    counts = {part.name: (len(part.surface.scores.records), len(part.plan.cells)) for part in parts}
    unfinished = [
        f"`{name}` ({done} of {planned})"
        for name, (done, planned) in counts.items()
        if done < planned and name not in left_out
    ]
    if unfinished:
        yield f"* Not finished yet (cells): {joined(unfinished)}."
    if left_out:
        yield f"* Left out ([why](#what-ran-where-and-how-long)): {code(left_out)}."


def holm_sentence(parts: Sequence[Part], *, with_names: bool = True) -> str:
    """Returns how many declared contrasts survive the correction for multiple tests, and which."""
    tested = sum(len(part.contrasts) for part in parts)
    if not tested:
        return "No declared contrast has all of its cells yet."
    kept = [
        f"{_contrast(result)} ({result.point.model}, {method_label(result.point)}, by "
        f"{result.point.measure}: {difference(result.estimate)} points; rejected null: "
        f"{result.contrast.null})"
        for part in parts
        for result in part.contrasts
        if part.is_significant(result)
    ]
    which = f"{len(kept)} {'is' if len(kept) == 1 else 'are'}" if kept else "none is"
    names = f": {joined(kept)}" if kept and with_names else ""
    return (
        f"Of the {tested} [declared contrasts](#declared-contrasts) that could be tested, {which} "
        f"significant after Holm's correction within each space{names}.{_caution(parts)}"
    )


def _caution(parts: Sequence[Part]) -> str:
    """What a rejected null of inferiority does not say where hard labels do not help."""
    for part in parts:
        gains = {(row.point.recipe, row.point.place): _side(row.hard_gain) for row in part.labelled}
        for result in part.contrasts:
            if result.contrast.margin is None or not part.is_significant(result):
                continue
            if gains.get((result.point.recipe, result.point.place), 1) <= 0:
                return (
                    " To be no worse than hard labels says little where hard labels do not beat "
                    "zero-shot."
                )
    return ""


def _contrast(result: ContrastResult) -> str:
    return f"`{result.contrast.first.condition} - {result.contrast.second.condition}`"


def _answer(rows: Sequence[tuple[Part, SurfaceRow]]) -> str:
    """Whether easy labels teach hard questions, over all models and methods."""
    if not rows:
        return "No comparison of easy and hard labels has all of its cells yet."
    kept = sum(
        part.is_significant(result) and (result.estimate.estimate or 0.0) > 0.0
        for part, row in rows
        for result in _against_zero_shot(part, row)
        if result.contrast.first.condition == row.point.condition
    )
    number = count(len(rows), "comparison")
    answer = (
        f"In {kept} of {number}, easy labels beat zero-shot on hard questions after a correction "
        "for multiple tests."
        if kept
        else "The records do not show that easy labels teach these models hard questions: in none "
        f"of {number} do they beat zero-shot after a correction for multiple tests."
    )
    sides = [[_side(gain) for gain in (row.easy_gain, row.hard_gain)] for _, row in rows]
    better, worse = ([sum(s[arm] == side for s in sides) for arm in (0, 1)] for side in (1, -1))
    uncorrected = (
        f"By single 95 % intervals, easy labels are above zero-shot in {better[0]} and below it in "
        f"{worse[0]}; hard labels are above it in {better[1]} and below it in {worse[1]}."
    )
    precise = sum(status(row) is Status.RESOLVED for _, row in rows)
    share = (
        f"The share of the gap that easy labels recover is known precisely in {precise}."
        if precise
        else "So the study cannot tell what share of the gap easy labels recover."
    )
    return f"{answer} {uncorrected} {share}"


def _side(gain: Interval) -> int:
    """1: the interval is above 0; -1: below; 0: it includes 0."""
    if gain.low is not None and gain.low > 0.0:
        return 1
    return -1 if gain.high is not None and gain.high < 0.0 else 0


def _finding(part: Part, row: SurfaceRow) -> str:
    """One comparison in plain words: its claim, its numbers, and what holds after Holm."""
    point = row.point
    easy, hard = (VERBS[_side(gain)] for gain in (row.easy_gain, row.hard_gain))
    labels = f"with {point.num_labels} easy labels"
    claim = f"{easy} {labels}, and {hard} with hard ones"
    if easy == hard:
        claim = f"{easy}, {labels} or with hard ones"
    return (
        f"On {_questions(point)}, {_method(point)} on {point.model} {claim}: easy labels "
        f"{percent(row.easy)} %, hard labels {percent(row.hard)} %, zero-shot "
        f"{percent(row.zero_shot)} %. The gap of hard labels over zero-shot is "
        f"{difference(row.hard_gain)} points (SGR: {outcome(row)}).{_after_holm(part, row)}"
    )


def _questions(point: Point) -> str:
    """Returns the test questions: `hard questions (grade 8)`."""
    level = point.test_level
    return f"{level.name} questions ({point.measure} {band(level.low, level.high)})"


def _method(point: Point) -> str:
    prompt = " (prompt with listed choices)" if point.recipe.prompt else ""
    return METHODS.get(point.recipe.method, point.recipe.method) + prompt


def _against_zero_shot(part: Part, row: SurfaceRow) -> list[ContrastResult]:
    """Returns the declared contrasts with zero-shot at a point."""
    point = row.point
    return [
        result
        for result in part.contrasts
        if (result.point.recipe, result.point.place) == (point.recipe, point.place)
        and result.contrast.second.condition == ZERO_SHOT
    ]


def _after_holm(part: Part, row: SurfaceRow) -> str:
    """Whether the point's differences from zero-shot survive the correction."""
    declared = _against_zero_shot(part, row)
    if not declared:
        return ""
    kept = [_contrast(result) for result in declared if part.is_significant(result)]
    if kept:
        verb = "is" if len(kept) == 1 else "are"
        return f" After Holm's correction, {joined(kept)} {verb} significant."
    return " After Holm's correction, neither difference from zero-shot is significant."


def _self_training(part: Part) -> Iterator[str]:
    """A sentence for each model and method with finished rounds on the main test level."""
    rows = gain_rows(part.plan, part.surface)
    for label in dict.fromkeys((row.point.model, method_label(row.point)) for row in rows):
        group = [r for r in rows if (r.point.model, method_label(r.point)) == label]
        planned = [row for row in group if row.role == "self-training"]
        trained = [row for row in planned if row.gain_over_start is not None]
        if not trained:
            continue
        missing = len(planned) - len(trained)
        yield (
            f"Self-training on unlabelled hard questions ({', '.join(label)}) beats easy labels "
            f"alone at {sum(map(beats_start, trained))} of {count(len(trained), 'threshold')}"
            f"{f' ({missing} not finished)' if missing else ''}. {_control(part, group, trained)}"
        )


def _control(part: Part, group: Iterable[SurfaceRow], trained: Sequence[SurfaceRow]) -> str:
    """What the control with gold labels makes of that result."""
    oracle = [row for row in group if is_oracle(row) and row.gain_over_start is not None]
    if not oracle:
        return "Its control with gold labels has not finished."
    where = joined(f"{row.point.threshold:g}" for row in oracle)
    selected = joined(f"{num_selected(part, row):.0f}" for row in oracle)
    gains = joined(difference(row.ssrm_gain) for row in oracle)
    which = f"gold labels of the selected questions ({selected} on average)"
    if any(map(beats_start, oracle)):
        return f"At tau {where}, {which} do: {gains} points."
    thresholds = {row.point.threshold for row in oracle}
    controlled = [row for row in trained if row.point.threshold in thresholds]
    text = f"At tau {where}, {which} do not beat them either: {gains} points."
    if not any(beats_start(row) or loses_to_start(row) for row in controlled):
        text += " So the null result for pseudo-labels is uninformative there."
    if len(controlled) < len(trained):
        text += " The other thresholds have no such control."
    return text
