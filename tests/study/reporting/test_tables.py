"""Tables of the page: what they hold is rounded once, where it is printed."""

from __future__ import annotations

from pathlib import Path

from study.analysis.names import recipe_labels
from study.analysis.surface import compute_surface
from study.formatting import percent
from study.reporting.tables import cell_table, point_table
from tests.support.fakes import FakeStudy, fake_space
from trainables.storage.filesystem import open_storage


def test_the_pages_percentages_are_those_of_terminal_and_sentences(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    study = FakeStudy(storage=storage, space=fake_space(), items_per_level=149).write().finish()
    surface = compute_surface(study.storage, study.plan)
    table = point_table(surface, recipe_labels(row.point.recipe for row in surface.rows))
    names = [column["name"] for column in table["columns"]]
    for row, values in zip(surface.rows, table["rows"], strict=True):
        shown = dict(zip(names, values, strict=True))
        assert percent(shown["zero-shot %"]) == percent(row.zero_shot)
        assert percent(shown["source %"]) == percent(row.easy)
        assert percent(shown["hard %"]) == percent(row.hard)
    cells = cell_table(study.plan, surface)["rows"]
    records = surface.scores.records
    assert all(percent(records[row[0]].accuracy) == percent(row[6]) for row in cells)
