"""Curves over noise, number and cost of labels: every source is on one, and the two can cross."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from search_spaces.recipes import QLoRA
from search_spaces.space import TaskAxis
from search_spaces.studies.published.cost import bought
from search_spaces.studies.published.noise import redrawn, wrong
from search_spaces.supervision import Condition
from study.analysis.accuracy_curves import CurvePanel, condition_order
from study.analysis.label_curves import LabelCurves, label_curves
from study.analysis.surface import Surface, compute_surface
from study.reporting.content import ViewChoice, choose_views, gather
from study.reporting.paper_figures import curve_figures
from study.reporting.sentences import crossing_lines, crossing_text
from study.reporting.style import COLOURS
from study.reporting.surface_views.views import make_view
from study.statistics.across_points.crossing import Crossing
from study.tracking.surface_run import summarize
from tests.support.fakes import EASY, HARD, FakeStudy, fake_space
from trainables.storage.filesystem import open_storage

RATES = (0.125, 0.25, 0.5)


@pytest.fixture(name="study_of")
def make_study_of(tmp_path: Path) -> Callable[..., tuple[FakeStudy, Surface]]:
    def study_of(*conditions: Condition) -> tuple[FakeStudy, Surface]:
        axis = TaskAxis(
            task="toy",
            measure="steps",
            train_levels=(EASY, HARD),
            test_levels=(HARD,),
            train_on_all=False,
            conditions=conditions,
        )
        space = fake_space(tasks=(axis,), methods=(QLoRA(n_train=16),), contrasts=())
        storage = open_storage(str(tmp_path))
        study = FakeStudy(storage=storage, space=space, items_per_level=150).write().finish()
        return study, compute_surface(study.storage, study.plan)

    return study_of


def _tiles(surface: Surface, axis: str) -> list[int]:
    view = make_view(surface.rows, x=axis)
    places = [(panel.label, tile.x, tile.y) for panel in view.panels for tile in panel.tiles]
    assert len(set(places)) == len(places)
    return sorted(tile.row for panel in view.panels for tile in panel.tiles)


def test_noise_has_a_curve_a_level_and_a_crossing(
    study_of: Callable[..., tuple[FakeStudy, Surface]],
) -> None:
    study, surface = study_of(*wrong(RATES))
    curves = label_curves(surface)
    assert {entry.axis for entry in curves} == {"noise_rate"}
    for entry in curves:
        places = {curve.name: [p.x for p in curve.points] for curve in entry.panel.curves}
        # Hard labels are wrong twice as often, and stand at the rate of the easy ones.
        assert places == {"easy": [0.0, *RATES], "hard": [0.0, *RATES]}
        assert "2 times as high for hard" in entry.panel.x_title
        crossing = entry.panel.crossing
        assert crossing is not None and (crossing.start, crossing.stop) == (0.0, 0.5)
        easy, hard = (np.array([p.mean for p in curve.points]) for curve in entry.panel.curves)
        if crossing.estimate is not None:
            x = [0.0, *RATES]
            at = [np.interp(crossing.estimate, x, means) for means in (easy, hard)]
            assert at[0] == pytest.approx(at[1])
    assert any(entry.panel.crossing.estimate is not None for entry in curves)  # type: ignore[union-attr]
    assert _tiles(surface, "noise_rate") == list(range(len(surface.rows)))
    view = make_view(surface.rows, x="noise_rate")
    assert view.panels[0].x_labels == ("0", "0.125", "0.25", "0.5", "1")
    assert any(v.x == "noise_rate" for v in choose_views(surface.rows, ViewChoice()))
    content = gather(study.storage, study.plan, surface)
    assert "curves-noise-rate" in [drawing.name for drawing in curve_figures(surface, content)]
    assert len(crossing_lines(content.label_curves)) == len(curves)
    summary = summarize(study.plan, surface)
    assert sum(key.startswith("crossing/") and key.endswith("/low") for key in summary) == 2


def test_levels_look_alike_in_all_figures_and_conditions_stand_in_the_spaces_order(
    study_of: Callable[..., tuple[FakeStudy, Surface]],
) -> None:
    conditions = wrong((0.2, 0.05, 0.1))
    study, surface = study_of(*conditions)
    order = ["zero-shot", "easy", "hard", *(condition.name for condition in conditions)]
    assert list(condition_order(surface)) == order
    content = gather(study.storage, study.plan, surface)
    drawings = {d.name: d.svg.decode() for d in curve_figures(surface, content)}
    noise = drawings["curves-noise-rate"].lower()
    for colour in COLOURS[1:3]:  # of easy and hard labels in every figure
        assert f"stroke: {colour.lower()}" in noise
    assert f"stroke: {COLOURS[3].lower()}" not in noise


def test_two_kinds_of_noise_are_two_panels_and_share_no_tile(
    study_of: Callable[..., tuple[FakeStudy, Surface]],
) -> None:
    _, surface = study_of(*wrong(RATES), *redrawn(RATES))
    assert len({entry.panel.row for entry in label_curves(surface)}) == 2
    assert _tiles(surface, "noise_rate") == list(range(len(surface.rows)))


def test_labels_that_a_budget_buys_are_one_curve_a_level(
    study_of: Callable[..., tuple[FakeStudy, Surface]],
) -> None:
    study, surface = study_of(
        *(condition for condition in bought((4, 8, 16, 32)) if condition.name != "16 easy")
    )
    small = [entry for entry in label_curves(surface) if entry.model == "small"]
    found = {
        entry.axis: {curve.name: [p.x for p in curve.points] for curve in entry.panel.curves}
        for entry in small
    }
    assert found == {
        "num_labels": {"easy": [4, 8, 16, 32], "hard": [2, 4, 8, 16]},
        # The plain hard arm costs what other hard labels do.
        "label_cost": {"easy": [4, 8, 16, 32], "hard": [4, 8, 16, 32]},
    }
    crossing = {entry.axis: entry.panel.crossing for entry in small}
    assert crossing["num_labels"] is not None and crossing["label_cost"] is not None
    assert (crossing["num_labels"].start, crossing["num_labels"].stop) == pytest.approx((4, 16))
    assert (crossing["label_cost"].start, crossing["label_cost"].stop) == pytest.approx((4, 32))
    for axis in ("num_labels", "label_cost"):
        assert _tiles(surface, axis) == list(range(len(surface.rows)))
    content = gather(study.storage, study.plan, surface)
    drawings = {d.name: d.svg.decode() for d in curve_figures(surface, content)}
    for axis in ("num-labels", "label-cost"):
        # The measured places are the ticks, without powers of ten; a tick's text is a comment.
        assert "<!-- 16 -->" in drawings[f"curves-{axis}"]
        assert "10^" not in drawings[f"curves-{axis}"]
        # Curves that may cross fill the height.
        assert "<!-- 0 -->" not in drawings[f"curves-{axis}"]
    assert "<!-- 0 -->" in drawings["accuracy"]
    panel = make_view(surface.rows, x="num_labels").panels[0]
    assert [label.partition("  ")[0] for label in panel.y_labels] == [
        "hard -> hard",
        "easy -> hard",
    ]


@pytest.mark.parametrize(
    ("estimate", "low", "high", "is_empty", "text"),
    [
        (40.0, 30.0, None, False, "easy and hard cross at 40 [30, above 320]"),
        (None, None, 90.0, False, "no crossing seen between 20 and 320; interval [below 20, 90]"),
        (None, None, None, False, "no crossing seen between 20 and 320; the interval excludes no"),
        (None, None, None, True, "easy and hard do not cross between 20 and 320"),
    ],
)
def test_a_crossing_is_told_with_what_its_interval_excludes(
    estimate: float | None, low: float | None, high: float | None, is_empty: bool, text: str
) -> None:
    crossing = Crossing(
        estimate=estimate,
        low=low,
        high=high,
        is_empty=is_empty,
        start=20.0,
        stop=320.0,
        level=0.95,
    )
    entry = LabelCurves(
        model="small",
        task="toy",
        measure="steps",
        method="lora",
        test_level=HARD,
        axis="label_cost",
        panel=CurvePanel(
            row="",
            column="",
            x_title="",
            curves=(),
            model="",
            method="",
            task="",
            crossing=crossing,
        ),
        easy="easy",
        hard="hard",
    )
    assert crossing_text(entry).startswith(text)


def test_hard_labels_have_their_plain_number_on_every_test_level(tmp_path: Path) -> None:
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(EASY, HARD),
        train_on_all=False,
        conditions=tuple(
            Condition(name=f"4 {level.name}", levels=(level.name,), n_train=4)
            for level in (EASY, HARD)
        ),
    )
    space = fake_space(tasks=(axis,), methods=(QLoRA(n_train=16),), contrasts=())
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    for entry in label_curves(compute_surface(study.storage, study.plan)):
        places = {curve.name: [p.x for p in curve.points] for curve in entry.panel.curves}
        assert places == {"easy": [4.0, 16.0], "hard": [4.0, 16.0]}, entry.test_level.name
