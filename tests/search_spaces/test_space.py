from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.explain import count
from search_spaces.levels import Level
from search_spaces.recipes import InContext
from search_spaces.registry import find_space, named_spaces
from search_spaces.space import Arm, Space, TaskAxis
from search_spaces.studies.lab.micro import micro
from search_spaces.supervision import Condition
from tests.support.fakes import contrast


def test_every_named_space_is_built_and_named_like_its_function() -> None:
    spaces = named_spaces()
    assert {"micro", "arc"} <= set(spaces)
    for name, factory in spaces.items():
        assert factory().name == name


def test_default_space_is_the_study_that_the_readme_promises() -> None:
    space = micro()
    assert [model.name for model in space.models] == ["micro-s", "micro-m", "micro-l"]
    assert [level.name for level in space.tasks[0].train_levels] == ["easy", "medium", "hard"]
    assert [recipe.method for recipe in space.methods] == ["lora"]
    assert space.seeds >= 3
    assert space.tasks[0].test_levels == space.tasks[0].train_levels
    assert space.tasks[0].test_items == 192


def test_keeping_adapters_needs_a_recipe_that_trains_one() -> None:
    methods = [{"method": "in-context"}, {"method": "full fine-tuning"}]
    with pytest.raises(ValueError, match=r"keep='adapters' needs .*only in-context, full fine-tun"):
        changed(methods=methods, keep="adapters")
    assert changed(methods=[*methods, {"method": "lora"}], keep="adapters").keep


def test_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown space 'mikro' \(did you mean 'micro'.*ones: arc,"
    ):
        find_space("mikro")


def test_a_file_without_a_function_lists_those_that_return_a_space(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from search_spaces.space import Space\n"
        "def mine() -> Space: ...\ndef other() -> Space: ...\n"
        "def items(): ...\ndef sized(number) -> Space: ...\n"
    )
    with pytest.raises(ValueError, match=rf"add one of its functions: {file}:mine, {file}:other$"):
        find_space(str(file))
    with pytest.raises(
        ValueError, match=r"no function 'mime' \(did you mean 'mine'\?\); it has mine"
    ):
        find_space(f"{file}:mime")
    without_ending = f"{file.with_suffix('')}:mine"
    with pytest.raises(ValueError, match=rf"did you mean '{file}:mine'"):
        find_space(without_ending)
    file.write_text("")
    with pytest.raises(ValueError, match=r"no function without arguments .* return a Space"):
        find_space(str(file))
    with pytest.raises(ValueError, match="no file"):
        find_space(str(tmp_path / "other.py"))


def test_a_count_has_its_noun_in_the_right_number() -> None:
    assert [count(number, "point") for number in (0, 1, 1200)] == [
        "0 points",
        "1 point",
        "1,200 points",
    ]
    assert count(1, "cell has", "cells have") == "1 cell has"
    assert count(2, "cell has", "cells have") == "2 cells have"


def test_space_of_the_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from search_spaces.studies.lab.micro import micro\nfrom search_spaces.space import Space\n"
        "def mine() -> Space:\n    return micro().model_copy(update={'name': 'mine'})\n"
    )
    assert find_space(f"{file}:mine").name == "mine"


def changed(**changes: Any) -> Space:
    return Space.model_validate(micro().model_dump() | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"contrasts": [contrast("esay", "zero-shot")]},
            "esay.*easy",
        ),
        (
            {"contrasts": [contrast("easy", "zero-shot", task="arc")]},
            "contrast with task='arc': the space has micro",
        ),
        (
            {"contrasts": [contrast("easy", "zero-shot", measure="grade")]},
            "contrast with measure='grade': the space has steps",
        ),
        (
            {"contrasts": [contrast(Arm(condition="easy", recipe=InContext(k=3)), "hard")]},
            "condition 'easy' has no such recipe",
        ),
        (
            {"contrasts": [contrast("easy", "start")]},
            "contrast of 'easy' with its start: it has no self-training",
        ),
        (
            {"contrasts": [contrast("easy", Arm(condition="hard", threshold=0.5))]},
            "contrast with threshold=0.5: the space has none",
        ),
        (
            {"contrasts": [contrast("easy", Arm(condition="hard", method="qlora"))]},
            "contrast with method='qlora': the space has lora",
        ),
        (
            {"contrasts": [contrast("easy", Arm(condition="hard", model="big"))]},
            "contrast with model='big': the space has micro-l",
        ),
    ],
)
def test_space_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**changes)


def test_level_bounds_are_inclusive_and_ordered() -> None:
    level = Level(name="x", low=1, high=2)
    assert level.holds(1) and level.holds(2) and not level.holds(2.01)
    with pytest.raises(ValueError, match="above high"):
        Level(name="x", low=3, high=2)


def mixed_axis(*bounds: tuple[float, float], **fields: object) -> TaskAxis:
    levels = tuple(Level(name=f"l{i}", low=a, high=b) for i, (a, b) in enumerate(bounds))
    names = tuple(level.name for level in levels)
    return TaskAxis(
        task="t",
        measure="m",
        train_levels=levels,
        test_levels=levels[-1:],
        conditions=(Condition(name="mix", levels=names[::-1]),),
        **fields,
    )


def test_a_mix_of_levels_that_overlap_is_refused() -> None:
    mixed_axis((1, 2), (3, 4), (5, 5))
    with pytest.raises(ValueError, match=r"'mix': levels 'l1' \[2, 4\] and 'l2' .* overlap"):
        mixed_axis((0, 1), (2, 4), (4, 6))
    quantiles = {"scale": "quantiles", "bounds": "quantiles"}
    mixed_axis((0, 0.5), (0.5, 1), **quantiles)
    with pytest.raises(ValueError, match="overlap"):
        mixed_axis((0, 0.5), (0.5, 1), scale="quantiles")
    axis = mixed_axis((0, 0.5), (0.5, 1), **quantiles)
    twice = axis.model_dump() | {"conditions": (Condition(name="mix", levels=("l0", "l0")),)}
    with pytest.raises(ValueError, match="overlap"):
        TaskAxis.model_validate(twice)
