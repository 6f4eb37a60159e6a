from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.levels import Level
from search_spaces.recipes import InContext
from search_spaces.registry import find_space, named_spaces
from search_spaces.space import Contrast, Space, TaskAxis
from search_spaces.studies.lab.micro import micro
from search_spaces.supervision import Condition


def test_every_named_space_is_built_and_named_like_its_function() -> None:
    spaces = named_spaces()
    assert {"micro", "arc"} <= set(spaces)
    for name, factory in spaces.items():
        assert factory().name == name


def test_default_space_is_the_study_that_the_readme_promises() -> None:
    space = micro()
    assert [model.name for model in space.models] == ["micro-s", "micro-m", "micro-l"]
    assert [level.name for level in space.tasks[0].train_levels] == ["easy", "medium", "hard"]
    assert space.tasks[0].train_on_all
    assert {recipe.method for recipe in space.methods} == {"in-context", "linear probe", "lora"}
    assert space.seeds >= 3
    singles = {level.low for level in space.tasks[0].test_levels if level.low == level.high}
    assert singles == {3, 4, 5, 6}


def test_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown space 'mikro'.*micro"):
        find_space("mikro")


def write_space(folder: Path, body: str) -> str:
    file = folder / "mine.py"
    file.write_text(
        "from search_spaces.studies.lab.micro import micro\nfrom search_spaces.space import Space\n"
        + body
    )
    return str(file)


def test_space_of_the_users_own_file(tmp_path: Path) -> None:
    file = write_space(
        tmp_path,
        "def mine() -> Space:\n    return micro().model_copy(update={'name': 'mine'})\n",
    )
    assert find_space(f"{file}:mine").name == "mine"


@pytest.mark.parametrize(
    ("body", "function", "message"),
    [
        ("def mine() -> Space:\n    return micro()\n", "yours", "has mine"),
        ("def mine():\n    return 3\n", "mine", "must return a Space"),
        ("import no_such_module\n", "mine", "no_such_module"),
        (
            "def mine() -> Space:\n    return Space(name='mine', models=(), tasks=(), methods=(),"
            " sedes=3)\n",
            "mine",
            "sedes",
        ),
    ],
)
def test_broken_space_file_says_what_is_wrong(
    tmp_path: Path, body: str, function: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_space(f"{write_space(tmp_path, body)}:{function}")


def test_missing_space_file_is_named() -> None:
    with pytest.raises(ValueError, match=r"no file 'nowhere.py'"):
        find_space("nowhere.py:mine")


def changed(**changes: Any) -> Space:
    return Space.model_validate(micro().model_dump() | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": [BaseModelRef(name="a"), BaseModelRef(name="a")]}, "more than once: a"),
        ({"name": "../up"}, "pattern"),
        ({"seeds": 0}, "greater than 0"),
        (
            {"contrasts": [Contrast(null="Z=E", condition="esay", test_level="hard")]},
            "esay.*easy",
        ),
        (
            {"contrasts": [Contrast(null="Z=E", condition="easy", test_level="hard", task="arc")]},
            "contrast with task='arc': the space has micro",
        ),
        (
            {
                "contrasts": [
                    Contrast(null="Z=E", condition="easy", test_level="hard", measure="grade")
                ]
            },
            "contrast with measure='grade': the space has steps",
        ),
        (
            {
                "contrasts": [
                    Contrast(null="Z=E", condition="easy", test_level="hard", recipe=InContext(k=3))
                ]
            },
            "condition 'easy' has no such recipe",
        ),
    ],
)
def test_space_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**changes)


def test_one_level_name_is_one_band() -> None:
    with pytest.raises(ValueError, match="one name, one band"):
        TaskAxis(
            task="micro",
            measure="steps",
            train_levels=(Level(name="easy", low=1, high=2),),
            test_levels=(Level(name="easy", low=1, high=3),),
        )


@pytest.mark.parametrize("name", ["all", "zero-shot"])
def test_level_may_not_be_named_like_a_condition(name: str) -> None:
    with pytest.raises(ValueError, match="condition"):
        Level(name=name, low=1, high=2)


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


def test_footprint_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Footprint(workers=0)


def test_a_forgotten_comma_is_said_as_such(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from search_spaces.studies.lab.micro import micro\n"
        "from search_spaces.recipes import InContext\n"
        "from search_spaces.space import Space\n"
        "def own() -> Space:\n"
        "    made = micro()\n"
        "    return Space(name='x', models=made.models, tasks=made.tasks, methods=InContext())\n"
    )
    with pytest.raises(ValueError, match=r"own.py:own': Space.methods: expected a tuple: .*comma"):
        find_space(f"{file}:own")
