"""Figures of recipe searches: validation accuracy against each hyper-parameter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from search_spaces.explain import count
from search_spaces.frozen import canonical_json
from search_spaces.tuning import Choice, FoundRecipe, History, LogUniform, Range, Trial
from study.analysis.tuned_recipes import TunedRecipe
from study.reporting.figures.drawing import Drawing, finish
from study.reporting.style import COLOURS, FIGURE_STYLE
from study.tuning.results import winner
from trainables.tuning.optuna_sampler import importances

LOOKS: dict[str, dict[str, Any]] = {
    "completed": {"marker": "o", "color": COLOURS[1]},
    "stopped early": {"marker": "x", "color": COLOURS[2]},
    "found": {"marker": "*", "color": COLOURS[3], "s": 140, "zorder": 3},
}


def draw_search(tuned: TunedRecipe) -> Drawing | None:
    """Draws the trials of a search under its hash; None without a trial that has a value."""
    drawing = None if tuned.found is None else draw_sensitivity(tuned.found)
    return None if drawing is None else replace(drawing, name=f"search-{tuned.search}")


def draw_sensitivity(found: FoundRecipe) -> Drawing | None:
    """Draws one panel per hyper-parameter; None if no trial has a value."""
    history = found.history
    trials = [trial for trial in history.trials if trial.values]
    if not trials:
        return None
    shares = importances(history)
    parts = (found.model_name, history.task, history.measure, history.start.method)
    with mpl.rc_context(FIGURE_STYLE):
        figure = Figure(figsize=(0.6 + 2.2 * len(history.ranges), 2.9))
        places: Any = figure.subplots(1, len(history.ranges), squeeze=False, sharey=True)
        for place, (name, range_) in zip(places[0], history.ranges.items(), strict=True):
            _draw(place, history, trials, name, range_)
            share = f"\nimportance {100 * shares[name]:.0f} %" if name in shares else ""
            place.set_title(f"{name}{share}", loc="left")
        places[0, 0].set_ylabel("validation items right %")
        handles, labels = places[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(" ".join(parts), fontsize=9, fontweight="bold")
        return finish(figure, "-".join(("tune", *parts)), _describe(found, trials, shares))


def _draw(place: Axes, history: History, trials: list[Trial], name: str, range_: Range) -> None:
    best = winner(history)
    groups = {
        "completed": [trial for trial in trials if trial.state == "complete"],
        "stopped early": [trial for trial in trials if trial.state != "complete"],
        "found": [] if best is None else [best],
    }
    for label, group in groups.items():
        place.scatter(
            [_place(trial.parameters[name], range_) for trial in group],
            [100 * trial.values[-1] for trial in group],
            **{"s": 22, "alpha": 0.8, **LOOKS[label]},
            label=label,
        )
    place.grid(axis="y", alpha=0.3)
    if isinstance(range_, Choice):
        names = ["+".join(v) if isinstance(v, tuple) else str(v) for v in range_.values]
        place.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 4 else 0)
        place.set_xlim(-0.5, len(names) - 0.5)
    elif isinstance(range_, LogUniform):
        place.set_xscale("log")
        place.set_xlim(range_.low, range_.high)
    else:
        place.set_xlim(range_.low - 0.5, range_.high + 0.5)
        place.xaxis.set_major_locator(MaxNLocator(integer=True))


def _place(value: Any, range_: Range) -> float:
    """Returns the x position of a value; choices are numbered."""
    if not isinstance(range_, Choice):
        return float(value)
    return [canonical_json(known) for known in range_.values].index(canonical_json(value))


def _describe(found: FoundRecipe, trials: list[Trial], shares: dict[str, float]) -> str:
    history = found.history
    largest = max(shares, key=lambda name: shares[name], default=None)
    ranked = f" {largest} matters most." if largest else ""
    return (
        f"Recipe search of {history.start.method} for {found.model_name} on {history.task}: "
        f"accuracy on {history.num_validation} easy validation items against each hyper-parameter, "
        f"one point per trial ({count(len(trials), 'trial')}, {history.num_pruned} stopped "
        f"early).{ranked}"
    )
