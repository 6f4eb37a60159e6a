"""The pictures of a study, read back from their axes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.accuracy_curves import difficulty_panels
from study.analysis.surface import Surface, compute_surface
from study.analysis.surface_rows import Interval
from study.reporting.figures import thresholds
from study.reporting.figures.drawing import finish
from study.reporting.figures.thresholds import draw_thresholds
from study.reporting.findings import gain_rows
from study.reporting.surface_views import levels
from study.reporting.surface_views.levels import draw_levels
from study.reporting.surface_views.scale import SHARE_RANGE, share_colours
from tests.support.fake_ssrm import ssrm, ssrm_space
from tests.support.fakes import FakeStudy, fake_space
from trainables.storage.filesystem import open_storage


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The drawn figures."""
    drawn: list[Figure] = []

    def keep(figure: Figure, *arguments: Any) -> Any:
        drawn.append(figure)
        return finish(figure, *arguments)

    for module in (levels, thresholds):
        monkeypatch.setattr(module, "finish", keep)
    return drawn


def surface_of(folder: Path, models: int) -> Surface:
    """A study by LoRA whose second point is unresolved, below 0 or above 1 by turns."""
    space = fake_space(
        models=tuple(BaseModelRef(name=f"model-{i}") for i in range(models)),
        methods=(LoRA(n_train=8),),
        seeds=2,
    )
    storage = open_storage(str(folder))
    study = FakeStudy(storage=storage, space=space, items_per_level=40).write().finish()
    return compute_surface(storage, study.plan)


def tiles(place: Axes) -> list[Rectangle]:
    return [patch for patch in place.patches if isinstance(patch, Rectangle)]


def shown_axes(figure: Figure) -> Iterator[Axes]:
    yield from (place for place in figure.axes if place.get_visible())


def test_every_point_is_a_tile_with_its_interval_and_unresolved_ones_are_hatched(
    tmp_path: Path, figures: list[Figure]
) -> None:
    surface = surface_of(tmp_path, 2)
    first = surface.rows[0]
    assert first.estimate is not None
    bare = replace(first.estimate, verdict="gap not resolvable", value=None, low=None, high=None)
    rows = [replace(first, estimate=bare), *surface.rows[1:]]
    shown = [row for row in rows if row.point.test_level.name == "hard"]
    drawing = draw_levels(rows, difficulty_panels(surface))[0]
    assert drawing.name == "surface"
    width, _ = struct.unpack(">II", drawing.png[16:24])
    assert width == 900
    matrices = [place for place in shown_axes(figures[0]) if tiles(place)]
    texts = [text.get_text() for place in matrices for text in place.texts]
    assert len(texts) == len(shown)
    for row in shown:
        if row.sgr.estimate is not None:
            number = f"{row.sgr.estimate:.2f}\n[{row.sgr.low:.2f}, {row.sgr.high:.2f}]"
            assert number in [text.replace(" *", "").replace(" ~", "") for text in texts]
    hatched = [tile for place in matrices for tile in tiles(place) if tile.get_hatch()]
    assert len(hatched) == sum(row.sgr.estimate is None for row in shown) >= 1


@pytest.mark.parametrize("models", [1, 5])
def test_each_model_has_both_panels_and_no_curve_leaves_them(
    tmp_path: Path, figures: list[Figure], models: int
) -> None:
    surface = surface_of(tmp_path, models)
    panels = difficulty_panels(surface)
    draw_levels(surface.rows, panels)
    curves = [place for place in shown_axes(figures[0]) if place.get_title(loc="left")]
    assert [place.get_title(loc="left") for place in curves] == [
        f"model-{i}" for i in range(models)
    ]
    assert len([place for place in shown_axes(figures[0]) if tiles(place)]) == models
    for place in curves:
        low, high = place.get_ylim()
        values = [y for line in place.lines for y in line.get_ydata()]  # type: ignore[union-attr]
        assert values and low <= min(values) and max(values) <= high
        assert len(place.lines) == len(panels[0].curves)
        assert len(place.collections) == len(place.lines)  # a band each


def test_shares_below_0_and_above_1_have_colours_of_their_own() -> None:
    low, high = SHARE_RANGE

    def colour(share: float) -> tuple[float, ...]:
        return tuple(share_colours()((share - low) / (high - low))[:3])

    for share in (-0.4, -0.01):
        red, _, blue = colour(share)
        assert red > blue + 0.2
    for share in (0.2, 0.99):
        red, _, blue = colour(share)
        assert blue > red
    for share in (1.01, 1.4):
        red, green, blue = colour(share)
        assert green > max(red, blue)


def test_self_training_shows_start_controls_and_selected_labels_by_threshold(
    tmp_path: Path, figures: list[Figure]
) -> None:
    conditions = (*(ssrm(tau) for tau in (0.5, 0.7)), ssrm(0.7, "oracle"), ssrm(0.7, "random"))
    space = ssrm_space(*conditions, seeds=2)
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write().finish()
    surface = compute_surface(study.storage, study.plan)
    rows = gain_rows(study.plan, surface)
    start = Interval(estimate=0.4, low=0.3, high=0.5)
    (drawing,) = draw_thresholds(rows, lambda row: (132.0, 0.75), lambda row: start)
    assert drawing.name == "thresholds"
    accuracy, selected = figures[0].axes
    names = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert names == ["start", "easy_ssrm", "oracle", "random"]
    assert list(accuracy.lines[0].get_ydata()) == [40.0, 40.0]
    points = [y for line in accuracy.lines[1:] for y in line.get_ydata()]  # type: ignore[union-attr]
    assert sorted(points) == pytest.approx(sorted(100 * (row.easy or 0.0) for row in rows))
    intervals = [
        tuple(segment[:, 1])
        for bars in accuracy.collections
        for segment in bars.get_segments()  # type: ignore[attr-defined]
    ]
    for row in rows:
        gain = row.ssrm_gain
        assert gain.low is not None and gain.high is not None and row.start is not None
        ends = (100 * (row.start + gain.low), 100 * (row.start + gain.high))
        assert any(pytest.approx(ends) == found for found in intervals)
    assert [text.get_text() for text in selected.texts] == ["132", "132"]
    assert list(selected.lines[0].get_ydata()) == [75.0, 75.0]
