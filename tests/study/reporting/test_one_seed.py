"""A point of one seed says so wherever it is shown; a point of three does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.analysis.names import recipe_labels
from study.analysis.surface import Surface, compute_surface
from study.analysis.surface_columns import surface_table
from study.formatting import text_of
from study.reporting.sentences import sentence
from study.reporting.surface_views.drawing import draw_view
from study.reporting.surface_views.tiles import hover_lines, tile_text
from study.reporting.surface_views.views import make_view
from study.reporting.tables import point_table
from study.reporting.terminal import surface_parts
from study.tracking.surface_run import point_name, summarize
from tests.support.fakes import FakeStudy, fake_study

NOTE = "one seed: this draw only"


@pytest.fixture(name="study", params=[1, 3], ids=["one seed", "three seeds"])
def make_study(request: pytest.FixtureRequest, tmp_path: Path) -> FakeStudy:
    return fake_study(tmp_path, seeds=request.param)


def _places(study: FakeStudy, surface: Surface) -> dict[str, list[str]]:
    """Returns what each place says, a text a point."""
    rows = surface.rows
    labels = recipe_labels(row.point.recipe for row in rows)
    return {
        "terminal": text_of(surface_parts(surface)).splitlines()[1 : len(rows) + 1],
        "table": [json.dumps(row) for row in point_table(surface, labels).rows],
        "sentence": [sentence(row, labels, surface.level) for row in rows],
        "hover": ["; ".join(hover_lines(row)) for row in rows],
        "surface.parquet and W&B": [
            str(n) for n in surface_table(rows)["verdict_note"].to_pylist()
        ],
        "forest plot of W&B": [point_name(row, labels) for row in rows],
        "summary of W&B": [str(summarize(study.plan, surface).get("note"))],
    }


def test_every_place_says_it(study: FakeStudy) -> None:
    surface = compute_surface(study.storage, study.plan)
    one = study.space.seeds == 1
    for place, texts in _places(study, surface).items():
        assert texts and all((NOTE in text) == one for text in texts), place
    first_lines = [tile_text(row, "sgr").splitlines()[0] for row in surface.rows]
    assert all(line.endswith(" *") == one for line in first_lines)
    assert ("one seed: this draw only: 16 of 16 points" in text_of(surface_parts(surface))) == one


def test_a_drawn_surface_explains_its_star(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.suptitle", lambda self, text, **_: titles.append(text)
    )
    for seeds in (1, 3):
        study = fake_study(tmp_path / str(seeds), seeds=seeds)
        rows = compute_surface(study.storage, study.plan).rows
        draw_view("surface", rows, make_view(rows))
    assert [NOTE in title for title in titles] == [True, False]
