"""Self-training that a pool or a method cannot serve is an error of the plan, or said in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    Reasoning,
    TrainedRecipe,
)
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, Labels, SelfTraining
from study.planning.axes import load_tasks
from study.planning.axis_checks import check_pools
from study.planning.planner import make_plan
from study.planning.preview.summary import format_plan

Bounds = tuple[tuple[float, float], ...]

EASY, MEDIUM, HARD = (
    Level(name=name, low=low, high=low) for low, name in enumerate(("easy", "medium", "hard"), 1)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 items of each level; the pool keeps 16 of each for 8 labels."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "jsonl").mkdir()
    rows = [
        {"id": f"q{n:03}", "question": f"which {n}?", "choices": [f"a{'a' * (n % 5)}{n}", "b"],
         "answer": n % 2, "reasoning": "because.", "steps": 1 + n % 3}
        for n in range(180)
    ]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "jsonl" / "mine.jsonl").write_text(text)
    return folder


def space_of(condition: Condition, *recipes: TrainedRecipe, levels: tuple[Level, ...]) -> Space:
    axis = TaskAxis(
        task="jsonl:mine",
        measure="steps",
        train_levels=levels,
        test_levels=(HARD,),
        train_on_all=False,
        conditions=(condition,),
    )
    return Space(
        name="s",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=recipes or (LoRA(n_train=8),),
        seeds=3,
    )


def ssrm(*unlabelled: str, **options: object) -> Condition:
    return Condition(
        name="easy_ssrm",
        levels=("easy",),
        unlabelled=unlabelled or ("hard",),
        self_training=SelfTraining.model_validate(options),
    )


def test_an_empty_level_of_the_pool_is_named_though_others_are_not_empty(data: Path) -> None:
    inside = Level(name="inside", low=3, high=3.5)
    wide = Level(name="wide", low=2, high=3.5)
    space = space_of(ssrm("wide", "inside"), levels=(EASY, wide, inside))
    with pytest.raises(
        ValueError, match=r"condition 'easy_ssrm' of jsonl:mine: level 'inside' has no unlabelled"
    ):
        make_plan(space, data)
    make_plan(space_of(ssrm("wide"), levels=(EASY, wide, inside)), data)


def test_a_level_that_is_smaller_than_asked_is_said_with_the_sizes_of_all(data: Path) -> None:
    levels = (EASY, MEDIUM, HARD)
    condition = ssrm("easy", "hard", max_unlabelled=12)
    plan, _ = make_plan(space_of(condition, levels=levels), data)
    sizes = {size.level: size.pool for size in plan.tasks[0].levels}
    assert sizes["easy"] - 8 < 12 <= sizes["hard"]
    (note,) = [note for note in plan.tasks[0].notes if "unlabelled" in note]
    assert note == (
        "easy_ssrm tau 0.8: not every level has the requested 12 unlabelled items: "
        f"easy {sizes['easy'] - 8}, hard 12."
    )
    assert note in format_plan(plan)
    for enough in (ssrm("hard", max_unlabelled=12), ssrm("easy", "hard")):
        plan, _ = make_plan(space_of(enough, levels=levels), data)
        assert not [note for note in plan.tasks[0].notes if "unlabelled" in note]


@pytest.mark.parametrize(
    ("levels", "tests", "note"),
    [
        (((1, 2), (2, 3)), (), "levels '1-2' and '2-3' overlap: items with steps 2 are in both."),
        (((1, 3), (2, 3)), (), "levels '1-3' and '2-3' overlap: items with steps 2, 3 are in both"),
        (((1, 2),), ((2, 3),), "levels '1-2' and '2-3' overlap: items with steps 2 are in both."),
        (((1, 2), (3, 3)), ((2, 2),), None),
        (((1, 2.5), (2.2, 3)), (), None),
    ],
)
def test_levels_that_share_items_are_noted(
    data: Path, levels: Bounds, tests: Bounds, note: str | None
) -> None:
    trained, tested = (
        tuple(Level(name=f"{low:g}-{high:g}", low=low, high=high) for low, high in bounds)
        for bounds in (levels, tests)
    )
    axis = TaskAxis(
        task="jsonl:mine",
        measure="steps",
        train_levels=trained,
        test_levels=tested or trained[-1:],
    )
    condition = Condition(name="easiest", levels=(trained[0].name,), labels=Labels(kind="random"))
    space = space_of(condition, levels=trained).model_copy(update={"tasks": (axis,)})
    plan, _ = make_plan(space, data)
    text = format_plan(plan)
    assert (note is None) == ("overlap:" not in text)
    assert note is None or note in text


def test_a_pool_that_is_just_one_draw_is_noted(data: Path) -> None:
    condition = Condition(name="both", levels=("easy", "hard"))
    plan, _ = make_plan(space_of(condition, levels=(EASY, HARD)), data)
    (task,) = plan.tasks
    for pool, is_noted in ((16, False), (8, True)):
        levels = tuple(level.model_copy(update={"pool": pool}) for level in task.levels)
        changed = task.model_copy(update={"levels": levels})
        text = format_plan(plan.model_copy(update={"tasks": (changed,)}))
        assert ("draws of 8 items of easy, hard are nearly the same" in text) is is_noted


TEXT = {"n_train": 8, "loss": "text"}


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (LoRA(**TEXT), {"label_smoothing": 0.1}, "label_smoothing=0.1 .* lora with loss='text'"),
        (FullFineTuning(**TEXT), {"label_smoothing": 0.1}, "full fine-tuning with loss='text'"),
        (InContext(k=4), {"label_smoothing": 0.1}, "label_smoothing weights .* has no loss"),
        (
            InContext(k=4),
            {"rule": "softmatch", "threshold": None},
            "rule 'softmatch' weights .* in-context has no loss",
        ),
        (InContext(k=4), {"start": "continue"}, "in-context trains none"),
    ],
)
def test_options_that_a_method_cannot_follow_are_refused_in_the_plan(
    data: Path, recipe: TrainedRecipe, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"condition 'easy_ssrm': .*{message}"):
        make_plan(space_of(ssrm(**options), recipe, levels=(EASY, HARD)), data)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (LoRA(n_train=8), {"label_smoothing": 0.1}),
        (LinearProbe(n_train=8), {"label_smoothing": 0.1}),
        (LoRA(**TEXT), {"rule": "softmatch", "threshold": None}),
    ],
)
def test_options_that_a_method_follows_are_planned(
    data: Path, recipe: TrainedRecipe, options: dict[str, object]
) -> None:
    plan, _ = make_plan(space_of(ssrm(**options), recipe, levels=(EASY, HARD)), data)
    assert any(cell.cell.self_training is not None for cell in plan.cells)


def test_what_is_not_planned_for_a_method_is_no_reason_to_refuse(data: Path) -> None:
    reasoned = LoRA(**TEXT, reasoning=Reasoning())
    condition = ssrm(label_smoothing=0.1)
    space = space_of(condition, reasoned, levels=(EASY, HARD))
    _, tasks = load_tasks(space, data)
    check_pools(space, space.tasks[0], tasks["jsonl:mine"])


def test_an_axis_that_is_cut_by_gold_would_shape_the_split_of_its_neighbour(data: Path) -> None:
    space = space_of(ssrm(), levels=(EASY, HARD))
    short, long = Level(name="short", low=0, high=2), Level(name="long", low=3, high=99)
    other = TaskAxis(
        task="jsonl:mine",
        measure="answer_chars",
        train_levels=(short, long),
        test_levels=(long,),
    )
    both = space.model_copy(update={"tasks": (*space.tasks, other)})
    with pytest.raises(ValueError, match=r"by steps: the space cuts the task by answer_chars, a"):
        make_plan(both, data)
