"""Content of a report: gathered once, then used by the page, the files and W&B."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.analysis.accuracy_curves import (
    CurvePanel,
    condition_order,
    difficulty_panels,
    factor_panels,
)
from study.analysis.calibration import CalibrationRow, calibration_rows
from study.analysis.contrasts import ContrastResult, declared_contrasts
from study.analysis.label_curves import AXES as LABEL_AXES
from study.analysis.label_curves import LabelCurves, label_curves
from study.analysis.level_mix import LevelMix, level_mixes
from study.analysis.names import LABEL_COUNTS, recipe_labels
from study.analysis.pooled import PooledRow, pooled_rows
from study.analysis.preferences.policies import WinRate, win_rates
from study.analysis.preferences.reward_models import Ceiling, RewardRow, ceilings, reward_rows
from study.analysis.published.comparison import Comparison
from study.analysis.surface import Surface
from study.analysis.surface_rows import SurfaceRow, recipe_text
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
from study.reporting.figures.forest import draw_forest
from study.reporting.figures.losses import loss_panels
from study.reporting.figures.sensitivity import TunedRecipe, tuned_recipes
from study.reporting.findings import findings
from study.reporting.legacy import LegacyRow
from study.reporting.provenance import provenance
from study.reporting.self_training import SelfTrainingSection, gather_self_training
from study.reporting.surface_views.drawing import draw_view
from study.reporting.surface_views.levels import draw_levels
from study.reporting.surface_views.views import View, make_view, varying_axes
from trainables.storage.filesystem import Storage

MAX_TILES = 30_000
"""Tiles of all views together; more would make the page slow."""

ACCURACY_ALT = (
    "Accuracy against difficulty, one panel per model and method, one curve per condition, with "
    "intervals. The table of points has the same accuracies for every test level."
)
FACTOR_ALT = "Accuracy against the options of self-training, one curve per condition."
LABEL_ALT = (
    "Accuracy against {axis}, one curve per level of labels, with intervals. The dotted line marks "
    "where the curves of {easy} and {hard} labels cross, and the grey band its interval; a panel "
    "without a line shows no crossing."
)
LOSS_ALT = "Training loss against optimizer steps, averaged over seeds, one curve per condition."


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewChoice:
    """The view that a reader asked for, instead of the default ones."""

    x: str | None = None
    y: str | None = None
    value: str = "sgr"
    fixed: Mapping[str, str] | None = None

    @property
    def is_default(self) -> bool:
        """Whether the reader left everything open."""
        return not (self.x or self.y or self.fixed) and self.value == "sgr"


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Everything in a report except the points themselves."""

    findings: tuple[str, ...]
    """What the study found, in three sentences."""
    views: tuple[View, ...]
    pictures: tuple[Drawing, ...]
    """Accuracy and SGR by level, one per method; empty for a view of the reader's choice."""
    surfaces: tuple[Drawing, ...]
    """Drawings of the views; the pictures stand for the first one."""
    difficulty: tuple[CurvePanel, ...]
    """Accuracy over difficulty."""
    losses: tuple[CurvePanel, ...]
    """Training losses; empty if the study trains nothing."""
    accuracy: tuple[Drawing, ...]
    curves: tuple[Drawing, ...]
    """Learning, noise, cost and loss curves; empty if the study has none."""
    label_curves: tuple[LabelCurves, ...]
    """Curves over noise, number and cost of labels."""
    reliability: tuple[Drawing, ...]
    calibration: tuple[CalibrationRow, ...]
    contrasts: tuple[ContrastResult, ...]
    pooled: tuple[PooledRow, ...]
    """Pooled SGRs; empty if no axis has two places."""
    forest: Drawing | None
    """Their forest plot; None if no pooled SGR has a value."""
    trends: tuple[TrendRow, ...]
    mixes: tuple[LevelMix, ...]
    rewards: tuple[RewardRow, ...]
    """Arms on preference tasks; empty if the study has none."""
    ceilings: tuple[Ceiling, ...]
    """Human agreement on these tasks."""
    self_training: SelfTrainingSection | None
    """None for a study without self-training."""
    alignment: tuple[WinRate, ...]
    """Comparisons of policies; empty if the study trains none."""
    searches: tuple[TunedRecipe, ...]
    """Recipes that a search found; empty if there was no search."""
    recipe_pairs: tuple[RecipePair, ...]
    """Points that have both a found and a default recipe."""
    legacy: tuple[LegacyRow, ...]
    """The paper's bootstrap, if requested."""
    against: Comparison | None
    """Comparison with a paper's results, if requested."""
    provenance: Sequence[tuple[str, str]]
    labels: Mapping[str, str]
    """Recipe text -> label."""

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All figures."""
        ssrm = () if self.self_training is None else self.self_training.drawings
        searches = tuple(s.drawing for s in self.searches if s.drawing is not None)
        forest = () if self.forest is None else (self.forest,)
        shown = (*self.pictures, *self.surfaces, *forest, *self.accuracy, *self.curves)
        return (*shown, *self.reliability, *ssrm, *searches)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings to the reader, a line each."""
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
    """Computes and draws the content of a report.

    Raises:
        ValueError: If the chosen view has an unknown axis, value or category, or no points.
    """
    choice = choice or ViewChoice()
    views = choose_views(surface.rows, choice)
    calibration = calibration_rows(surface)
    difficulty = difficulty_panels(surface)
    losses = loss_panels(storage, plan, surface)
    pictures = draw_levels(surface.rows, difficulty) if choice.is_default else ()
    label_panels = label_curves(surface)
    conditions = list(condition_order(surface))
    pooled = pooled_rows(surface)
    return Content(
        findings=findings(plan, surface),
        views=views,
        difficulty=difficulty,
        losses=losses,
        pictures=pictures,
        surfaces=tuple(
            draw_view("surface" if i == 0 else f"surface-view-{i + 1}", surface.rows, view)
            for i, view in enumerate(views)
            if i or not pictures
        ),
        accuracy=(_draw_accuracy(difficulty),) if difficulty else (),
        curves=(
            *_draw_label_curves(label_panels, conditions),
            *_draw_factor_and_loss_curves(surface, losses, conditions),
        ),
        label_curves=label_panels,
        reliability=_draw_reliability(calibration),
        calibration=calibration,
        contrasts=declared_contrasts(plan, surface),
        pooled=pooled,
        forest=draw_forest(pooled, surface.level),
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
    what = ACCURACY_ALT + capped(panels, "the table of points has all points")
    return draw_curves("accuracy", panels[:MAX_PANELS], y_title="accuracy %", what=what)


def _draw_reliability(rows: Sequence[CalibrationRow]) -> tuple[Drawing, ...]:
    """Draws the reliability on all test items."""
    overall = [row for row in rows if row.test_level is None]
    return (draw_calibration("calibration", overall),) if overall else ()


def _draw_label_curves(
    label_panels: Sequence[LabelCurves], conditions: Sequence[str]
) -> Iterator[Drawing]:
    """Draws one figure per axis of labels."""
    for axis, title in LABEL_AXES.items():
        curves = [entry for entry in label_panels if entry.axis == axis]
        if curves:
            panels = [entry.panel for entry in curves]
            what = LABEL_ALT.format(axis=title, easy=curves[0].easy, hard=curves[0].hard)
            what += capped(panels, "surface.parquet has all points")
            yield draw_curves(
                f"curves-{axis.replace('_', '-')}",
                panels[:MAX_PANELS],
                y_title="accuracy %",
                what=what,
                conditions=conditions,
            )


def _draw_factor_and_loss_curves(
    surface: Surface, losses: Sequence[CurvePanel], conditions: Sequence[str]
) -> tuple[Drawing, ...]:
    """Draws the curves of self-training and of losses, if the study has any."""
    drawings = []
    factors = factor_panels(surface, max_panels=MAX_PANELS)
    if factors:
        what = FACTOR_ALT + filled(factors, "surface.parquet")
        drawings.append(draw_curves("curves", factors, y_title="accuracy %", what=what))
    if losses:
        what = LOSS_ALT + capped(losses, "each cell's curve.jsonl has its own")
        shown = losses[:MAX_PANELS]
        drawings.append(
            draw_curves(
                "loss",
                shown,
                y_title="loss",
                what=what,
                is_share=False,
                conditions=conditions,
            )
        )
    return tuple(drawings)


def _varies_labels(rows: Sequence[SurfaceRow]) -> bool:
    """Returns whether any method was run with several numbers of labels."""
    labels = recipe_labels((row.point.recipe for row in rows), without=LABEL_COUNTS)
    pairs = {(labels[recipe_text(row.point.recipe)], row.point.num_labels) for row in rows}
    return len(pairs) > len({method for method, _ in pairs})


def choose_views(rows: Sequence[SurfaceRow], choice: ViewChoice) -> tuple[View, ...]:
    """Returns the chosen view, or model size x gap and one view for each other axis that varies."""
    if not choice.is_default:
        return (
            make_view(
                rows,
                x=choice.x or "model_size",
                y=choice.y or "difficulty_gap",
                value=choice.value,
                fixed=choice.fixed,
            ),
        )
    views = [make_view(rows, x="test_level", y="train_level"), make_view(rows)]
    shown = {"model_size", "difficulty_gap", "train_level", "test_level", "method"}
    shown |= LABEL_COUNTS  # num_labels covers them
    if not _varies_labels(rows):
        shown.add("num_labels")
    if all(row.point.label_cost == 1.0 for row in rows):
        shown.add("label_cost")
    for axis in varying_axes(rows):
        num_tiles = sum(len(panel.tiles) for view in views for panel in view.panels)
        if axis not in shown and num_tiles + len(rows) <= MAX_TILES:
            views.append(make_view(rows, x=axis))
    if any(row.ssrm_gain.estimate is not None for row in rows):
        x = "threshold" if any(row.point.threshold is not None for row in rows) else "model_size"
        views.append(make_view(rows, x=x, value="ssrm_gain"))
    return tuple(views)
