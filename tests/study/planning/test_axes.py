"""What a plan refuses or notes of an axis with its data: in words that say what to change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe
from search_spaces.space import Space, TaskAxis
from study.planning.planner import make_plan

LEVELS = tuple(Level(name=name, low=n, high=n) for n, name in enumerate(("easy", "hard"), 1))


def space_of(n_train: int) -> Space:
    axis = TaskAxis(task="jsonl:own", measure="steps", train_levels=LEVELS, test_levels=LEVELS)
    return Space(
        name="own",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=(InContext(k=2), LinearProbe(n_train=n_train)),
        seeds=2,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty questions a level, and three without one."""
    folder = tmp_path / "jsonl"
    folder.mkdir()
    rows = [
        {"id": f"q{n}", "question": f"{n}?", "choices": ["a", "b"], "answer": n % 2}
        | ({"steps": n % 2 + 1} if n < 40 else {})
        for n in range(43)
    ]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_a_test_level_without_items_is_refused_before_anything_runs(root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"test level 'easy' .* none of them in the test.*10 labels"
    ):
        make_plan(space_of(10), root)
    plan, _ = make_plan(space_of(8), root)
    assert all(level.test > 0 for level in plan.tasks[0].levels)


def test_a_pool_that_another_methods_draw_emptied_names_that_draw(root: Path) -> None:
    """In-context wants two items; it is the probe's 160 that leave none."""
    with pytest.raises(ValueError, match=r"needs k=2: the split is made for .* draw, 160 labels"):
        make_plan(space_of(160), root)


def test_items_without_the_measure_are_counted(root: Path) -> None:
    plan, _ = make_plan(space_of(4), root)
    assert "3 of 43 items have no steps: they are in no level." in plan.tasks[0].notes
