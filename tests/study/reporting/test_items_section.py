"""The section on items: a chart per measure, the rows of the typed frames, and ids without text."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from study.analysis.items.influence import item_influences
from study.analysis.surface import compute_surface
from study.reporting.content import gather
from study.reporting.files import write_tables
from study.reporting.sections.items import items_section
from tests.support.fakes import FakeStudy, fake_space
from trainables.storage.filesystem import open_storage


def test_the_section_has_the_rows_of_its_frames(tmp_path: Path) -> None:
    space = fake_space(models=(BaseModelRef(name="small"),), methods=(LoRA(n_train=8),))
    study = FakeStudy(storage=open_storage(str(tmp_path)), space=space).write()
    surface = compute_surface(study.storage, study.plan)
    assert items_section(surface, gather(study.storage, study.plan, surface)) is None
    surface = compute_surface(study.finish().storage, study.plan)
    content = gather(study.storage, study.plan, surface)
    section = items_section(surface, content)
    assert section is not None
    charts = {chart.name: chart for chart in section.charts}
    assert list(charts) == ["item-accuracy-steps", "item-accuracy-words", "item-accuracy-topic"]
    assert [chart.is_folded for chart in charts.values()] == [False, True, True]
    assert len(charts["item-accuracy-topic"].rows) == 2 * 3  # topics x arms
    accuracies, influences = section.tables
    write_tables(study.storage, "fake", content)
    frame = pq.read_table(tmp_path / "fake" / "item_accuracy.parquet").to_pylist()
    assert len(accuracies.rows) == len(frame) == sum(len(c.rows) for c in charts.values())
    frame = pq.read_table(tmp_path / "fake" / "influence.parquet").to_pylist()
    largest = max(item_influences(surface), key=lambda row: abs(row.change))
    assert len(influences.rows) == len(frame) > 0
    quote = next(block for block in section.blocks if "SGR moves" in str(block))
    assert f"{largest.change:+.3f}" in quote and largest.item_id in quote
    assert "how toy" not in str(section), "the report has ids and no question"
