"""What a report shows: gathered once, then laid out by the page, the files and W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.analysis.accuracy_curves import (
    CurvePanel,
    condition_order,
    difficulty_panels,
    factor_panels,
)
from study.analysis.calibration import CalibrationRow, calibration_rows
from study.analysis.contrasts import ContrastResult, declared_contrasts
from study.analysis.level_mix import LevelMix, level_mixes
from study.analysis.names import recipe_labels
from study.analysis.preferences.policies import WinRate, win_rates
from study.analysis.preferences.reward_models import Ceiling, RewardRow, ceilings, reward_rows
from study.analysis.published.comparison import Comparison
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow
from study.analysis.trends import TrendRow, trend_rows
from study.analysis.tuned_recipes import RecipePair, recipe_pairs
from study.artifacts.plan import Plan
from study.reporting.figures.drawing import (
    MAX_PANELS,
    Drawing,
    capped,
    draw_calibration,
    draw_curves,
    filled,
)
from study.reporting.figures.losses import loss_panels
from study.reporting.figures.sensitivity import TunedRecipe, tuned_recipes
from study.reporting.legacy import LegacyRow
from study.reporting.provenance import provenance
from study.reporting.self_training import SelfTrainingSection, gather_self_training
from study.reporting.surface_views.drawing import draw_view
from study.reporting.surface_views.views import View, make_view, varying_axes
from trainables.storage.filesystem import Storage

MAX_TILES = 30_000
"""Tiles of all views together, so that the page stays quick."""

ACCURACY_ALT = (
    "Accuracy against difficulty, one panel a model and method, one curve a condition, with "
    "intervals. The table of points has the same accuracies for every test level."
)
FACTOR_ALT = "Accuracy against the factors that the study varies, one curve a condition."
LOSS_ALT = "Training loss against optimizer steps, averaged over seeds, one curve a condition."


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewChoice:
    """What a reader asked to see, on top of the views that every report has."""

    x: str | None = None
    y: str | None = None
    value: str = "sgr"
    fixed: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Everything in a report but the points themselves."""

    views: tuple[View, ...]
    surfaces: tuple[Drawing, ...]
    """Drawings of the views."""
    accuracy: tuple[Drawing, ...]
    curves: tuple[Drawing, ...]
    """Learning, noise and loss curves; empty where the study has none."""
    reliability: tuple[Drawing, ...]
    calibration: tuple[CalibrationRow, ...]
    contrasts: tuple[ContrastResult, ...]
    trends: tuple[TrendRow, ...]
    mixes: tuple[LevelMix, ...]
    rewards: tuple[RewardRow, ...]
    """Arms on preference tasks; empty where the study has none."""
    ceilings: tuple[Ceiling, ...]
    """What people reach on them."""
    self_training: SelfTrainingSection | None
    """None where nothing in the study trains itself."""
    alignment: tuple[WinRate, ...]
    """Policies side by side; empty where the study trains none."""
    searches: tuple[TunedRecipe, ...]
    """Recipes that a search found; empty where all were chosen by hand."""
    recipe_pairs: tuple[RecipePair, ...]
    """Points that have a found recipe and one chosen by hand."""
    legacy: tuple[LegacyRow, ...]
    """The paper's bootstrap beside ours, where it was asked for."""
    against: Comparison | None
    """A paper's results beside ours, where they were asked for."""
    provenance: Sequence[tuple[str, str]]
    labels: Mapping[str, str]
    """Recipe text -> label."""

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All figures."""
        own = () if self.self_training is None else self.self_training.drawings
        searches = tuple(s.drawing for s in self.searches if s.drawing is not None)
        return (*self.surfaces, *self.accuracy, *self.curves, *self.reliability, *own, *searches)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader must not overlook, a line each."""
        return () if self.self_training is None else self.self_training.warnings


def gather(
    storage: Storage,
    plan: Plan,
    surface: Surface,
    *,
    choice: ViewChoice | None = None,
    legacy: tuple[LegacyRow, ...] = (),
    against: Comparison | None = None,
) -> Content:
    """Computes and draws everything that a report shows.

    Raises:
        ValueError: If the chosen view has an unknown axis, value or category, or no point.
    """
    views = choose_views(surface.rows, choice or ViewChoice())
    calibration = calibration_rows(surface)
    difficulty = difficulty_panels(surface, max_panels=MAX_PANELS)
    return Content(
        views=views,
        surfaces=tuple(
            draw_view("surface" if i == 0 else f"surface-{i + 1}", surface.rows, view)
            for i, view in enumerate(views)
        ),
        accuracy=(_draw_accuracy(difficulty),) if difficulty else (),
        curves=_draw_factor_and_loss_curves(storage, plan, surface),
        reliability=(draw_calibration("calibration", calibration),) if calibration else (),
        calibration=calibration,
        contrasts=declared_contrasts(plan, surface),
        trends=trend_rows(surface),
        mixes=level_mixes(plan, surface),
        rewards=reward_rows(plan, surface),
        ceilings=ceilings(surface),
        self_training=gather_self_training(storage, plan, surface),
        alignment=win_rates(storage, plan, surface),
        searches=tuned_recipes(storage, plan),
        recipe_pairs=recipe_pairs(surface.rows),
        legacy=legacy,
        against=against,
        provenance=provenance(plan, surface),
        labels=recipe_labels(row.point.recipe for row in surface.rows),
    )


def _draw_accuracy(panels: Sequence[CurvePanel]) -> Drawing:
    what = ACCURACY_ALT + filled(panels, "the table of points")
    return draw_curves("accuracy", panels, y_title="right %", what=what)


def _draw_factor_and_loss_curves(
    storage: Storage, plan: Plan, surface: Surface
) -> tuple[Drawing, ...]:
    """Draws learning, noise and loss curves, those that there are."""
    drawings = []
    factors = factor_panels(surface, max_panels=MAX_PANELS)
    if factors:
        what = FACTOR_ALT + filled(factors, "surface.parquet")
        drawings.append(draw_curves("curves", factors, y_title="right %", what=what))
    losses = loss_panels(storage, plan, surface)
    if losses:
        what = LOSS_ALT + capped(losses, "each cell's curve.jsonl has its own")
        shown = losses[:MAX_PANELS]
        order = condition_order(surface)
        drawings.append(
            draw_curves(
                "loss",
                shown,
                y_title="loss",
                what=what,
                is_share=False,
                conditions=sorted(order, key=order.__getitem__),
            )
        )
    return tuple(drawings)


def choose_views(rows: Sequence[SurfaceRow], choice: ViewChoice) -> tuple[View, ...]:
    """Returns the chosen view, or size x gap and one view for each further axis that varies."""
    if choice.x or choice.y or choice.fixed or choice.value != "sgr":
        return (
            make_view(
                rows,
                x=choice.x or "model_size",
                y=choice.y or "difficulty_gap",
                value=choice.value,
                fixed=choice.fixed,
            ),
        )
    views = [make_view(rows)]
    shown = {"model_size", "difficulty_gap", "train_level", "test_level", "method"}
    for axis in varying_axes(rows):
        num_tiles = sum(len(panel.tiles) for view in views for panel in view.panels)
        if axis not in shown and num_tiles + len(rows) <= MAX_TILES:
            views.append(make_view(rows, x=axis))
    if any(row.ssrm_gain.estimate is not None for row in rows):
        x = "threshold" if any(row.point.threshold is not None for row in rows) else "model_size"
        views.append(make_view(rows, x=x, value="ssrm_gain"))
    return tuple(views)
