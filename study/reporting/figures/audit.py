"""Figures of the audit: confidence before and after each round, reliability, selective accuracy.

Each level of the pool has its own panels. Seeds are pooled. Controls select the same items as their
source, so they are not drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from study.analysis.self_training.audit import AuditedRound, PoolAnswers
from study.analysis.surface_rows import recipe_text
from study.artifacts.condition_kinds import condition_kind, condition_label
from study.reporting.figures.drawing import (
    MAX_PANELS,
    Drawing,
    add_legend,
    capped,
    finish,
    grid,
    line_styles_of,
)
from study.reporting.style import FIGURE_STYLE, MUTED
from study.statistics.calibration import NUM_BINS, calibrate, selective_accuracy

_Floats = NDArray[np.float64]

BEFORE, AFTER = "before", "after"
POOL, TEST = "pool", "test items of its levels"
SETS = (f"{TEST}, {BEFORE}", f"{TEST}, {AFTER}", f"{POOL}, {BEFORE}", f"{POOL}, {AFTER}")

IN_AUDIT = "audit.parquet has the numbers of all"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPanel:
    """Rounds that share a panel, and the pool level that it shows."""

    row: str
    column: str
    level: str
    rounds: Sequence[AuditedRound]

    @property
    def key(self) -> tuple[str, str]:
        """Row and column of the panel in the grid."""
        return self.row, self.column


def draw_confidence(rounds: Sequence[AuditedRound], labels: Mapping[str, str]) -> Drawing | None:
    """Draws the confidence of the models before and after each round; None without a round."""
    panels = _panels(rounds, labels)
    shown = panels[:MAX_PANELS]
    if not shown:
        return None
    looks = line_styles_of(SETS)
    edges = np.linspace(0.0, 100.0, 2 * NUM_BINS + 1)
    with mpl.rc_context(FIGURE_STYLE):
        figure, places = grid([panel.key for panel in shown])
        used: dict[str, None] = {}
        for place, panel in zip(places, shown, strict=True):
            for name, answers in _sets(panel).items():
                counts, _ = np.histogram(100 * _all_confidence(answers), bins=edges)
                place.stairs(100 * counts / counts.sum(), edges, **_line(looks[name]))
                used[name] = None
            for threshold in _thresholds(panel.rounds):
                place.axvline(100 * threshold, color=MUTED, linewidth=0.8, dashes=(2, 2))
            place.set(xlim=(0, 100), xlabel="confidence %", ylabel="share of items %")
        # One scale for all panels: only the outer ones keep their labels.
        top = max(place.get_ylim()[1] for place in places)
        for place in places:
            place.set_ylim(0, top)
        add_legend(figure, {name: _line(looks[name]) for name in SETS if name in used})
        return finish(
            figure,
            "ssrm-confidence",
            "Confidence of the models before and after each round of self-training: histograms "
            "in bins of 5 points; a panel per source, model and level. Dashed: the threshold."
            f"{capped(panels, IN_AUDIT)}",
        )


def draw_reliability(rounds: Sequence[AuditedRound], labels: Mapping[str, str]) -> Drawing | None:
    """Draws reliability before and after each round; None without a round."""
    panels = _panels(rounds, labels)
    shown = panels[:MAX_PANELS]
    if not shown:
        return None
    looks = line_styles_of(SETS)
    with mpl.rc_context(FIGURE_STYLE):
        figure, places = grid([panel.key for panel in shown])
        used: dict[str, None] = {}
        for place, panel in zip(places, shown, strict=True):
            place.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, dashes=(2, 2))
            for name, answers in _sets(panel).items():
                bins = calibrate(_all_confidence(answers), _all_correct(answers)).bins
                x, y = [100 * b.confidence for b in bins], [100 * b.accuracy for b in bins]
                place.plot(x, y, **looks[name])
                used[name] = None
            place.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence %", ylabel="right %")
        add_legend(figure, {name: looks[name] for name in SETS if name in used})
        return finish(
            figure,
            "ssrm-reliability",
            "Reliability before and after each round of self-training: accuracy of the answers "
            "against their confidence, in 10 bins of equal width; a panel per source, model and "
            "level. "
            f"The audit's table has the calibration errors.{capped(panels, IN_AUDIT)}",
        )


def draw_selective(rounds: Sequence[AuditedRound], labels: Mapping[str, str]) -> Drawing | None:
    """Draws the accuracy of the most confident pseudo-labels against their share of the pool.

    Rounds that share a teacher and differ only in the threshold share a curve; each threshold is
    marked where it cuts.
    """
    panels = _panels(rounds, labels, by_source=False)
    shown = panels[:MAX_PANELS]
    if not shown:
        return None
    curves = [_curves(panel.rounds) for panel in shown]
    looks = line_styles_of(_curve_name(chain) for chains in curves for chain in chains)
    with mpl.rc_context(FIGURE_STYLE):
        figure, places = grid([panel.key for panel in shown])
        for place, panel, chains in zip(places, shown, curves, strict=True):
            for chain in chains:
                colour = str(looks[_curve_name(chain)]["color"])
                _draw_selective(place, chain, panel.level, colour)
            place.set(xlim=(0, 103), ylim=(0, 103), xlabel="labelled share %", ylabel="right %")
            place.grid(axis="y", alpha=0.3)
        add_legend(figure, {n: _line(look) | {"linestyle": "-"} for n, look in looks.items()})
        return finish(
            figure,
            "ssrm-selective",
            "Selective accuracy of the pseudo-labels: accuracy of the most confident ones against "
            "their share of a level's items in the pool; a panel per pool, model and level. Each "
            "threshold is marked at the share that it selected."
            f"{capped(panels, IN_AUDIT)}",
        )


def _curves(rounds: Sequence[AuditedRound]) -> list[list[AuditedRound]]:
    """Groups the rounds of a panel by curve: one per teacher and variant."""
    by_source: dict[str, list[AuditedRound]] = {}
    for audited in rounds:
        by_source.setdefault(condition_label(audited.planned), []).append(audited)
    curves: dict[tuple[str | None, ...], list[AuditedRound]] = {}
    for chain in by_source.values():
        teachers = (audited.planned.cell.parent for audited in chain)
        curves.setdefault((chain[0].planned.variant, *teachers), []).extend(chain)
    return list(curves.values())


def _draw_selective(place: Axes, chain: Sequence[AuditedRound], level: str, colour: str) -> None:
    pool_of = {audited.planned.cell.parent: _of_level(audited.pool, level) for audited in chain}
    pools = list(pool_of.values())
    curve = selective_accuracy(_all_confidence(pools), _all_correct(pools)).curve
    x, y = [100 * step.coverage for step in curve], [100 * step.accuracy for step in curve]
    place.plot(x, y, color=colour, linewidth=1.3)
    by_tau: dict[float, list[AuditedRound]] = {}
    for audited in chain:
        options = audited.planned.cell.self_training
        if options is not None and options.threshold is not None:
            by_tau.setdefault(options.threshold, []).append(audited)
    for number, (tau, members) in enumerate(sorted(by_tau.items())):
        chosen = [audited.selected[_rows(audited.pool, level)] for audited in members]
        share = 100 * float(np.mean(np.concatenate(chosen)))
        if share > 0:
            height = float(np.interp(share, x, y))
            place.plot([share], [height], "o", color=colour, markerfacecolor="white", markersize=5)
            # Labels of neighbouring thresholds alternate above and below the curve.
            place.annotate(
                f"{tau:g}",
                (share, height),
                textcoords="offset points",
                xytext=(0, 6 if number % 2 else -12),
                ha="center",
                fontsize=8,
                color=colour,
            )


def _curve_name(chain: Sequence[AuditedRound]) -> str:
    """Names a curve: round 1 has one teacher for all thresholds, later rounds one for each."""
    number = chain[0].planned.cell.round
    sources = {condition_label(audited.planned, has_rounds=False) for audited in chain}
    if len(sources) > 1 or number == 1:
        return ", ".join(filter(None, (chain[0].planned.variant, f"before round {number}")))
    return f"{min(sources)}, before round {number}"


def _panels(
    rounds: Sequence[AuditedRound], labels: Mapping[str, str], *, by_source: bool = True
) -> list[AuditPanel]:
    """Groups the rounds of self-training by model, source (or pool) and level."""
    grouped: dict[tuple[str, str, str], list[AuditedRound]] = {}
    several = len({(each.planned.cell.task, each.planned.measure) for each in rounds}) > 1
    for audited in rounds:
        planned = audited.planned
        if condition_kind(planned) != "self-training":
            continue
        method = labels.get(recipe_text(planned.cell.recipe), planned.cell.recipe.method)
        levels = _levels(audited)
        row = condition_label(planned) if by_source else f"{method}, pool {'+'.join(levels)}"
        column = f"{planned.model_name} {method}" if by_source else planned.model_name
        column += f", {planned.cell.task} by {planned.measure}" if several else ""
        for level in levels:
            grouped.setdefault((row, f"{column}, {level}", level), []).append(audited)
    return [
        AuditPanel(row=row, column=column, level=level, rounds=members)
        for (row, column, level), members in grouped.items()
    ]


def _levels(audited: AuditedRound) -> list[str]:
    """Returns the levels of the round's pool, in the order that it draws them: easy to hard."""
    draws = audited.planned.draws
    drawn = [] if draws is None else [draw.level for draw in draws.unlabelled]
    order = [level.name for level in drawn if level is not None]
    names = set(audited.pool.levels)
    return [*(name for name in order if name in names), *sorted(names - set(order))]


def _line(look: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the style of a line without markers."""
    return {name: look[name] for name in ("color", "linestyle", "linewidth")}


def _rows(answers: PoolAnswers, level: str) -> NDArray[np.intp]:
    return np.flatnonzero(np.array(answers.levels) == level)


def _of_level(answers: PoolAnswers, level: str) -> PoolAnswers:
    return answers.take(_rows(answers, level))


def _sets(panel: AuditPanel) -> dict[str, list[PoolAnswers]]:
    """Returns the answers of all seeds by set, on the items of the panel's level."""
    named = {"pool": POOL, "test": TEST}
    sets: dict[str, list[PoolAnswers]] = {}
    for audited in panel.rounds:
        for items, moment, answers in audited.answers():
            of_level = _of_level(answers, panel.level)
            if of_level.ids:
                sets.setdefault(f"{named[items]}, {moment}", []).append(of_level)
    return sets


def _thresholds(rounds: Iterable[AuditedRound]) -> set[float]:
    """Returns the thresholds on raw confidence; those on another scale do not fit this axis."""
    return {
        audited.threshold
        for audited in rounds
        if audited.threshold is not None
        and audited.planned.cell.self_training is not None
        and audited.planned.cell.self_training.confidence == "raw"
    }


def _all_confidence(answer_sets: Iterable[PoolAnswers]) -> _Floats:
    return np.concatenate([answers.confidence for answers in answer_sets])


def _all_correct(answer_sets: Iterable[PoolAnswers]) -> _Floats:
    return np.concatenate([answers.correct for answers in answer_sets])
