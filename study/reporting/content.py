"""Content of a report: gathered once, then used by the page, the files and W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.analysis.accuracy_curves import (
    CurvePanel,
    difficulty_panels,
)
from study.analysis.calibration import CalibrationRow, calibration_rows
from study.analysis.contrasts import ContrastResult, declared_contrasts
from study.analysis.items.accuracy import GroupAccuracy, group_accuracies
from study.analysis.items.influence import ItemInfluence, item_influences
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
from study.analysis.tuned_recipes import RecipePair, TunedRecipe, recipe_pairs, tuned_recipes
from study.artifacts.plan import Plan
from study.reporting.figures.losses import loss_panels
from study.reporting.findings import findings
from study.reporting.legacy import LegacyRow
from study.reporting.provenance import provenance
from study.reporting.self_training import SelfTrainingSection, gather_self_training
from study.reporting.surface_views.views import View, make_view, varying_axes
from trainables.storage.filesystem import Storage

MAX_CURVE_PANELS = 240
"""Panels of accuracy over difficulty; the table of points has all accuracies."""

MAX_TILES = 30_000
"""Tiles of all views together; more would make the page slow."""


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
    is_default_view: bool
    """Whether the reader left the view open."""
    difficulty: tuple[CurvePanel, ...]
    """Accuracy over difficulty."""
    losses: tuple[CurvePanel, ...]
    """Training losses; empty if the study trains nothing."""
    label_curves: tuple[LabelCurves, ...]
    """Curves over noise, number and cost of labels."""
    calibration: tuple[CalibrationRow, ...]
    item_accuracy: tuple[GroupAccuracy, ...]
    """Accuracy by item hardness and by topic."""
    influences: tuple[ItemInfluence, ...]
    """Items with the largest influence on the SGR of each point."""
    contrasts: tuple[ContrastResult, ...]
    pooled: tuple[PooledRow, ...]
    """Pooled SGRs; empty if no axis has two places."""
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
    """Computes the content of a report.

    Raises:
        ValueError: If the chosen view has an unknown axis, value or category, or no points.
    """
    choice = choice or ViewChoice()
    return Content(
        findings=findings(plan, surface),
        views=choose_views(surface.rows, choice),
        is_default_view=choice.is_default,
        difficulty=difficulty_panels(surface, max_panels=MAX_CURVE_PANELS),
        losses=loss_panels(storage, plan, surface),
        label_curves=label_curves(surface),
        calibration=calibration_rows(surface),
        item_accuracy=group_accuracies(plan, surface),
        influences=item_influences(surface),
        contrasts=declared_contrasts(plan, surface),
        pooled=pooled_rows(surface),
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
