"""The split of the paper: a cell is tested on all that it did not train on, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.registry import find_space
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.published.hase2024 import LLAMA_70B, hase2024
from search_spaces.studies.published.noise import noise
from search_spaces.supervision import Condition, SelfTraining
from study.analysis.surface import compute_surface
from study.planning.planner import make_plan
from study.sweep import main
from tests.support.fakes import ONLY_4
from tests.support.paper_study import MODEL, PaperStudy, paper_study
from tests.support.small_study import SmallStudy
from trainables.data.splits import paper_split
from trainables.storage import layout
from trainables.storage.filesystem import open_storage


@pytest.fixture
def study(tmp_path: Path) -> PaperStudy:
    space = noise()
    axis = space.tasks[0].model_copy(update={"conditions": space.tasks[0].conditions[:2]})
    small = space.model_copy(update={"tasks": (axis,), "seeds": 3})
    return paper_study(small, open_storage(str(tmp_path / "runs")), tmp_path)


def test_every_item_may_be_drawn_and_is_tested_where_it_was_not(study: PaperStudy) -> None:
    assert study.task.split == paper_split(study.task.data)
    study.finish()
    surface = compute_surface(study.storage, study.plan)
    assert len(surface.scores.records) == len(study.plan.cells)
    row = next(row for row in surface.rows if row.point.condition == "easy")
    easy = [cell for cell in study.plan.cells if cell.condition == "easy"]
    hard = [cell for cell in study.plan.cells if cell.condition == "hard"]
    # Arms are compared on items that each of them has some score for.
    everywhere = set.intersection(*(study.labelled(cell) for cell in hard))
    assert len(everywhere) > 10
    assert row.num_items == 300 - len(everywhere)
    assert row.easy == pytest.approx(study.accuracy(easy, "education", 1.0, without=everywhere))
    # Seven columns: zero-shot, three seeds of easy and of hard, which was trained on 160.
    assert row.missing_share == pytest.approx(3 * 160 / (7 * 300))
    assert row.verdict == "resolved" and "scores missing" in row.verdict_note


def test_a_cell_may_lack_what_it_was_trained_on_and_nothing_else(study: PaperStudy) -> None:
    hard, *others = [cell for cell in study.plan.cells if cell.condition == "hard"]
    study.finish()
    study.finish_cell(hard, study.task.data.items)
    study.finish_cell(others[0], study.tested(others[0])[1:])
    missing = compute_surface(study.storage, study.plan).scores.missing
    assert "that it is not tested on" in missing[hard.id].reason
    assert "lacks 1 item " in missing[others[0].id].reason
    assert set(missing) == {hard.id, others[0].id}


def test_items_that_every_seed_was_trained_on_are_no_obstacle(tmp_path: Path) -> None:
    space = noise()
    probe = space.methods[0].model_copy(update={"n_train": 298})
    axis = space.tasks[0].model_copy(update={"conditions": ()})
    most = space.model_copy(update={"methods": (probe,), "tasks": (axis,), "seeds": 2})
    study = paper_study(most, open_storage(str(tmp_path / "runs")), tmp_path).finish()
    (row,) = compute_surface(study.storage, study.plan).rows
    assert row.num_items == 4 or row.reason, "of 300, those that one of two seeds left out"


def test_self_training_is_refused_there() -> None:
    axis = hase2024().tasks[0]
    learns = Condition(name="ssrm", levels=("easy",), self_training=SelfTraining())
    with pytest.raises(ValueError, match=r"'ssrm' trains itself.*split='frozen'"):
        Space.model_validate(
            {**dict(hase2024()), "tasks": (axis.model_copy(update={"conditions": (learns,)}),)}
        )


def test_quantile_levels_become_values_of_the_data(tmp_path: Path) -> None:
    study = paper_study(hase2024(), open_storage(str(tmp_path / "runs")), tmp_path)
    axis = next(a for a in study.plan.space.tasks if a.measure == "question_words")
    values = np.array(sorted(study.task.data.measures["question_words"].values()))
    low, high = np.quantile(values, [0.3, 0.7])
    easy, medium, hard = axis.train_levels
    assert axis.bounds == "values" and axis.test_levels == axis.train_levels
    assert (easy.low, easy.high) == (values[0], values[values <= low].max())
    assert (hard.low, hard.high) == (values[values >= high].min(), values[-1])
    assert easy.high < medium.low <= medium.high < hard.low
    gaps = {point.difficulty_gap for point in study.plan.points if point.measure == axis.measure}
    assert all(gap is None or abs(gap) < 100 for gap in gaps), "percentile ranks"


def test_quantile_axes_are_checked() -> None:
    axis = dict(next(a for a in hase2024().tasks if a.bounds == "quantiles"))
    for changes, message in (
        ({"scale": "ordinal"}, "scale='quantiles'"),
        ({"train_levels": axis["train_levels"][:2]}, "cover .0, 1."),
        ({"test_levels": (ONLY_4,)}, "training levels, got steps 4"),
    ):
        with pytest.raises(ValueError, match=message):
            TaskAxis.model_validate({**axis, **changes})


def test_a_run_leaves_out_what_each_cell_was_trained_on(tmp_path: Path) -> None:
    study = SmallStudy(folder=tmp_path)
    file = tmp_path / "space.py"
    text = file.read_text().replace("seeds=2,", "seeds=2,\n        split='paper',")
    start, end = text.index("methods=("), text.index("seeds=2,")
    file.write_text(f"{text[:start]}methods=(LinearProbe(n_train=6),),\n        {text[end:]}")
    out = tmp_path / "runs"
    assert main([*study.arguments, "--out", str(out), "--address", "in-process"]) == 0
    plan, inputs = make_plan(find_space(study.arguments[0]), tmp_path / "data")
    task = inputs.tasks["jsonl:sums"]
    for cell in plan.cells:
        scored = pq.read_table(out / layout.scores(cell.id))["item_id"].to_pylist()
        drawn = () if cell.draws is None else task.drawn_ids(cell.draws).labelled
        assert sorted([*scored, *drawn]) == sorted(item.id for item in task.data.items)
        assert len(drawn) == (0 if cell.draws is None else 6)


def test_the_model_is_known_by_the_papers_name(study: PaperStudy) -> None:
    assert study.plan.models[0].name.endswith(MODEL) and LLAMA_70B.endswith(MODEL)
