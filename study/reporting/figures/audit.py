"""Figures of the audit: confidence before and after each round, reliability, selective accuracy.

Each level of the pool has panels of its own. Seeds are put together. Controls select as their
source does, so they are not drawn.
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
    STYLE,
    Drawing,
    add_legend,
    capped,
    finish,
    grid,
    looks_of,
)
from study.statistics.calibration import NUM_BINS, calibrate, selective_accuracy

_Floats = NDArray[np.float64]

BEFORE, AFTER = "before", "after"
POOL, TEST = "pool", "test items of its levels"
SETS = (f"{TEST}, {BEFORE}", f"{TEST}, {AFTER}", f"{POOL}, {BEFORE}", f"{POOL}, {AFTER}")

IN_AUDIT = "audit.parquet has the numbers of all"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPanel:
    """Rounds that share a panel, and the level of their pools that it shows."""

    row: str
    column: str
    level: str
    rounds: Sequence[AuditedRound]

    @property
    def key(self) -> tuple[str, str]:
        """Where the panel stands in a grid."""
        return self.row, self.column


def draw_confidence(rounds: Sequence[AuditedRound], labels: Mapping[str, str]) -> Drawing | None:
    """Draws how confident the models before and after each round are; None without a round."""
    panels = _panels(rounds, labels)
    shown = panels[:MAX_PANELS]
    if not shown:
        return None
    looks = looks_of(SETS)
    edges = np.linspace(0.0, 100.0, 2 * NUM_BINS + 1)
    with mpl.rc_context(STYLE):
        figure, places = grid([panel.key for panel in shown])
        used: dict[str, None] = {}
        for place, panel in zip(places, shown, strict=True):
            for name, found in _sets(panel).items():
                counts, _ = np.histogram(100 * _all_confidence(found), bins=edges)
                place.stairs(100 * counts / counts.sum(), edges, **_line(looks[name]))
                used[name] = None
            for threshold in _thresholds(panel.rounds):
                place.axvline(100 * threshold, color="#777777", linewidth=0.8, dashes=(2, 2))
            place.set(xlim=(0, 100), xlabel="confidence %", ylabel="share of items %")
        # One scale for all: only the outer panels keep its labels.
        top = max(place.get_ylim()[1] for place in places)
        for place in places:
            place.set_ylim(0, top)
        add_legend(figure, {name: _line(looks[name]) for name in SETS if name in used})
        return finish(
            figure,
            "ssrm-confidence",
            "How confident the models before and after each round of self-training are: histograms "
            "in bins of 5 points; a panel a source, model and level. Dashed: the threshold in "
            "force."
            f"{capped(panels, IN_AUDIT)}",
        )


def draw_reliability(rounds: Sequence[AuditedRound], labels: Mapping[str, str]) -> Drawing | None:
    """Draws reliability before and after each round; None without a round."""
    panels = _panels(rounds, labels)
    shown = panels[:MAX_PANELS]
    if not shown:
        return None
    looks = looks_of(SETS)
    with mpl.rc_context(STYLE):
        figure, places = grid([panel.key for panel in shown])
        used: dict[str, None] = {}
        for place, panel in zip(places, shown, strict=True):
            place.plot([0, 100], [0, 100], color="#777777", linewidth=0.8, dashes=(2, 2))
            for name, found in _sets(panel).items():
                bins = calibrate(_all_confidence(found), _all_correct(found)).bins
                x, y = [100 * b.confidence for b in bins], [100 * b.accuracy for b in bins]
                place.plot(x, y, **looks[name])
                used[name] = None
            place.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence %", ylabel="right %")
        add_legend(figure, {name: looks[name] for name in SETS if name in used})
        return finish(
            figure,
            "ssrm-reliability",
            "Reliability before and after each round of self-training: how often answers of a "
            "confidence are right, in 10 bins of equal width; a panel a source, model and level. "
            f"The audit's table has the calibration errors.{capped(panels, IN_AUDIT)}",
        )


def draw_selective(rounds: Sequence[AuditedRound], labels: Mapping[str, str]) -> Drawing | None:
    """Draws the accuracy of the most confident pseudo-labels against their share of the pool.

    Rounds that have one teacher and differ in nothing but the threshold share a curve; each of
    their thresholds is marked where it cuts.
    """
    panels = _panels(rounds, labels, by_source=False)
    shown = panels[:MAX_PANELS]
    if not shown:
        return None
    curves = [_curves(panel.rounds) for panel in shown]
    looks = looks_of(_curve_name(chain) for found in curves for chain in found)
    with mpl.rc_context(STYLE):
        figure, places = grid([panel.key for panel in shown])
        for place, panel, found in zip(places, shown, curves, strict=True):
            for chain in found:
                colour = str(looks[_curve_name(chain)]["color"])
                _draw_selective(place, chain, panel.level, colour)
            place.set(xlim=(0, 103), ylim=(0, 103), xlabel="labelled share %", ylabel="right %")
            place.grid(axis="y", alpha=0.3)
        add_legend(figure, {n: _line(look) | {"linestyle": "-"} for n, look in looks.items()})
        return finish(
            figure,
            "ssrm-selective",
            "Selective accuracy of the pseudo-labels: how many of the most confident ones are "
            "right, for every share of a level's items in the pool that could be labelled; a panel "
            "a pool, model and level. Each threshold is marked at the share that it selected."
            f"{capped(panels, IN_AUDIT)}",
        )


def _curves(rounds: Sequence[AuditedRound]) -> list[list[AuditedRound]]:
    """Rounds of one panel by curve: those of one teacher and variant together."""
    by_source: dict[str, list[AuditedRound]] = {}
    for found in rounds:
        by_source.setdefault(condition_label(found.planned), []).append(found)
    curves: dict[tuple[str | None, ...], list[AuditedRound]] = {}
    for chain in by_source.values():
        teachers = (found.planned.cell.parent for found in chain)
        curves.setdefault((chain[0].planned.variant, *teachers), []).extend(chain)
    return list(curves.values())


def _draw_selective(place: Axes, chain: Sequence[AuditedRound], level: str, colour: str) -> None:
    seen = {found.planned.cell.parent: _of_level(found.pool, level) for found in chain}
    pools = list(seen.values())
    curve = selective_accuracy(_all_confidence(pools), _all_correct(pools)).curve
    x, y = [100 * step.coverage for step in curve], [100 * step.accuracy for step in curve]
    place.plot(x, y, color=colour, linewidth=1.3)
    by_tau: dict[float, list[AuditedRound]] = {}
    for found in chain:
        options = found.planned.cell.self_training
        if options is not None and options.threshold is not None:
            by_tau.setdefault(options.threshold, []).append(found)
    for number, (tau, members) in enumerate(sorted(by_tau.items())):
        chosen = [found.selected[_rows(found.pool, level)] for found in members]
        share = 100 * float(np.mean(np.concatenate(chosen)))
        if share > 0:
            height = float(np.interp(share, x, y))
            place.plot([share], [height], "o", color=colour, markerfacecolor="white", markersize=5)
            # Labels of neighbouring thresholds stand above and below the curve in turn.
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
    """Round 1 has one teacher for all thresholds; later rounds have one each."""
    number = chain[0].planned.cell.round
    sources = {condition_label(found.planned, has_rounds=False) for found in chain}
    if len(sources) > 1 or number == 1:
        return ", ".join(filter(None, (chain[0].planned.variant, f"before round {number}")))
    return f"{min(sources)}, before round {number}"


def _panels(
    rounds: Sequence[AuditedRound], labels: Mapping[str, str], *, by_source: bool = True
) -> list[AuditPanel]:
    """Rounds of self-training by model, source (or pool) and level."""
    grouped: dict[tuple[str, str, str], list[AuditedRound]] = {}
    several = len({(found.planned.cell.task, found.planned.measure) for found in rounds}) > 1
    for found in rounds:
        planned = found.planned
        if condition_kind(planned) != "self-training":
            continue
        method = labels.get(recipe_text(planned.cell.recipe), planned.cell.recipe.method)
        levels = _levels(found)
        row = condition_label(planned) if by_source else f"{method}, pool {'+'.join(levels)}"
        column = f"{planned.model_name} {method}" if by_source else planned.model_name
        column += f", {planned.cell.task} by {planned.measure}" if several else ""
        for level in levels:
            grouped.setdefault((row, f"{column}, {level}", level), []).append(found)
    return [
        AuditPanel(row=row, column=column, level=level, rounds=members)
        for (row, column, level), members in grouped.items()
    ]


def _levels(found: AuditedRound) -> list[str]:
    """Levels of the round's pool, from easy to hard as it draws them."""
    draws = found.planned.draws
    drawn = [] if draws is None else [draw.level for draw in draws.unlabelled]
    order = [level.name for level in drawn if level is not None]
    held = set(found.pool.levels)
    return [*(name for name in order if name in held), *sorted(held - set(order))]


def _line(look: Mapping[str, Any]) -> dict[str, Any]:
    """The look of a line without markers."""
    return {name: look[name] for name in ("color", "linestyle", "linewidth")}


def _rows(answers: PoolAnswers, level: str) -> NDArray[np.intp]:
    return np.flatnonzero(np.array(answers.levels) == level)


def _of_level(answers: PoolAnswers, level: str) -> PoolAnswers:
    return answers.take(_rows(answers, level))


def _sets(panel: AuditPanel) -> dict[str, list[PoolAnswers]]:
    """The seeds' answers by set on the items of the panel's level, those that there are."""
    named = {"pool": POOL, "test": TEST}
    found: dict[str, list[PoolAnswers]] = {}
    for one in panel.rounds:
        for items, moment, answers in one.answers():
            own = _of_level(answers, panel.level)
            if own.ids:
                found.setdefault(f"{named[items]}, {moment}", []).append(own)
    return found


def _thresholds(rounds: Iterable[AuditedRound]) -> set[float]:
    """Thresholds on the plain confidence; those on another scale have no place on this axis."""
    return {
        found.threshold
        for found in rounds
        if found.threshold is not None
        and found.planned.cell.self_training is not None
        and found.planned.cell.self_training.confidence == "raw"
    }


def _all_confidence(found: Iterable[PoolAnswers]) -> _Floats:
    return np.concatenate([answers.confidence for answers in found])


def _all_correct(found: Iterable[PoolAnswers]) -> _Floats:
    return np.concatenate([answers.correct for answers in found])
