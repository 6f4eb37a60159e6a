"""Tables of the page: what they hold is rounded once, where it is printed."""

from __future__ import annotations

from pathlib import Path

from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    QLoRA,
    ZeroShot,
)
from study.analysis.names import recipe_labels
from study.analysis.preferences.reward_models import RewardRow
from study.analysis.surface import compute_surface
from study.analysis.surface_rows import recipe_text
from study.formatting import percent
from study.reporting.charts.filters import method_of
from study.reporting.files import reward_table
from study.reporting.tables import cell_table, point_table
from study.reporting.terminal import rewardbench_table
from study.statistics.differences import Difference
from tests.support.fakes import FakeStudy, fake_space
from trainables.storage.filesystem import open_storage


def test_the_pages_percentages_are_those_of_terminal_and_sentences(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    study = FakeStudy(storage=storage, space=fake_space(), items_per_level=149).write().finish()
    surface = compute_surface(study.storage, study.plan)
    table = point_table(surface, recipe_labels(row.point.recipe for row in surface.rows))
    names = [column.name for column in table.columns]
    for row, values in zip(surface.rows, table.rows, strict=True):
        shown = dict(zip(names, values, strict=True))
        assert percent(shown["zero-shot %"]) == percent(row.zero_shot)
        assert percent(shown["source %"]) == percent(row.easy)
        assert percent(shown["hard %"]) == percent(row.hard)
    cell_page = cell_table(study.plan, surface)
    cells = cell_page.rows
    peak = [column.name for column in cell_page.columns].index("peak GiB")
    assert {row[peak] for row in cells} == {1.5}
    records = surface.scores.records
    assert all(percent(records[row[0]].accuracy) == percent(row[6]) for row in cells)


def test_sections_of_rewardbench_have_their_intervals_in_the_file_and_on_the_terminal() -> None:
    chat = Difference(estimate=0.8, low=0.75, high=0.85, p_value=0.0, nu=9.0, level=0.95)
    row = RewardRow(
        task="rewardbench",
        model="small",
        recipe="lora(rank=4)",
        source="1/4",
        orders="all",
        num_pairs=400,
        num_seeds=3,
        accuracy=0.8,
        sections={"Chat": 0.8, "Safety": 0.7},
        intervals={"Chat": chat},
    )
    (line,) = reward_table([row], []).to_pylist()
    assert (line["Chat"], line["Chat low"], line["Chat high"]) == (0.8, 0.75, 0.85)
    assert (line["Safety"], line["Safety low"], line["Reasoning low"]) == (0.7, None, None)
    (printed,) = rewardbench_table([row]).rows
    assert printed == ("small", "lora", "1/4", "80.0 [75.0, 85.0]", "-", "70.0", "-", "-")


def test_the_filters_find_the_method_in_a_label_and_in_a_text_of_a_recipe() -> None:
    recipes = [
        *(ZeroShot(), InContext(k=4), LinearProbe(n_train=8), LinearProbe(n_train=16)),
        *(LoRA(n_train=8), QLoRA(n_train=8), FullFineTuning(n_train=8)),
    ]
    for text, label in recipe_labels(recipes).items():
        (method,) = {each.method for each in recipes if recipe_text(each) == text}
        assert method_of(text) == method_of(label) == method_of(f"{label}, 8 labels") == method
