"""The zero-shot arm that SGR counts as zero: how it answers, and which floors a plan refuses."""

from __future__ import annotations

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA, Reasoning, TrainedRecipe, ZeroShot
from search_spaces.space import Floor, Space, TaskAxis
from search_spaces.studies.published.hase2024 import hase2024
from study.planning import axes
from study.planning.conditions import zero_shot_recipe
from study.planning.planner import make_plan
from trainables.data.items import Item, data_hash
from trainables.data.prompts.formats import find_prompt, get_prompt
from trainables.data.task import TaskData

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4)
REASONING = Reasoning(max_new_tokens=20)
CHAIN = InContext(k=2, reasoning=REASONING)
CHOICES = {"strategyqa": ("yes", "no"), "gsm8k": ("5",), "arc": ("a", "b", "c", "d")}


def zero_shot_cells(
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    *methods: TrainedRecipe,
    floor: Floor = "auto",
    prompt: str = "default",
) -> list[tuple[ZeroShot, str]]:
    """Returns recipe and name of the prompt of the zero-shot cells of a plan."""
    items = tuple(
        Item(id=f"{n:03}", question=f"q {n}?", choices=CHOICES[task], answer=0, reasoning="So.")
        for n in range(160)
    )
    data = TaskData(
        name=task,
        items=items,
        measures={"steps": {item.id: float(1 + int(item.id) % 4) for item in items}},
        data_hash=data_hash(items),
        source="made here",
        licence="Apache-2.0",
        free_form=task == "gsm8k",
    )
    monkeypatch.setattr(axes, "load_task", lambda *_: data)
    axis = TaskAxis(
        task=task,
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        floor=floor,
        prompt=prompt,
        reasoning_prompt="default" if task == "gsm8k" else "reasoned",
    )
    models = (BaseModelRef(name="micro-s"),)
    plan, _ = make_plan(Space(name="s", models=models, tasks=(axis,), methods=methods, seeds=1))
    used = {id_ for point in plan.points for id_ in point.zero_shot.cells}
    found = []
    for planned in plan.cells:
        if planned.id in used:
            assert isinstance(planned.cell.recipe, ZeroShot)
            format_ = find_prompt(task, planned.cell.prompt)
            names = [n for n in ("default", "instructed", "reasoned") if _is(task, n, format_)]
            found.append((planned.cell.recipe, names[0]))
    return found


def _is(task: str, name: str, format_: object) -> bool:
    try:
        return get_prompt(task, name) == format_
    except ValueError:
        return False


def test_beside_reasoning_the_choices_are_scored_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One cell for both: what the base answers does not depend on how it is trained later.
    found = zero_shot_cells(monkeypatch, "strategyqa", CHAIN, InContext(k=2))
    assert found == [(ZeroShot(), "default")]
    named = InContext(k=2, reasoning=REASONING, prompt="reasoned")
    assert zero_shot_cells(monkeypatch, "strategyqa", named) == found


def test_free_answers_are_generated_behind_an_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    instructed = ZeroShot(reasoning=REASONING, prompt="instructed")
    tuned = LoRA(n_train=2, loss="text", reasoning=REASONING)
    assert zero_shot_cells(monkeypatch, "gsm8k", CHAIN, tuned) == [(instructed, "instructed")]


@pytest.mark.parametrize(
    ("floor", "task", "recipe", "prompt"),
    [
        ("as_trained", "gsm8k", ZeroShot(reasoning=REASONING), "default"),
        ("as_trained", "strategyqa", ZeroShot(reasoning=REASONING), "reasoned"),
        (
            "instructed",
            "strategyqa",
            ZeroShot(reasoning=REASONING, prompt="instructed"),
            "instructed",
        ),
        ("choices", "strategyqa", ZeroShot(), "default"),
    ],
)
def test_an_axis_names_its_floor(
    monkeypatch: pytest.MonkeyPatch, floor: Floor, task: str, recipe: ZeroShot, prompt: str
) -> None:
    assert zero_shot_cells(monkeypatch, task, CHAIN, floor=floor) == [(recipe, prompt)]


def test_a_chat_is_instructed_in_its_own_template() -> None:
    axis = TaskAxis(
        task="gsm8k",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        reasoning_prompt="chat:default",
    )
    assert zero_shot_recipe(axis, CHAIN, free_form=True).prompt == "chat:instructed"


@pytest.mark.parametrize(
    ("task", "floor", "prompt", "method", "message"),
    [
        ("gsm8k", "choices", "default", CHAIN, "answers of gsm8k are free; use floor='instructed'"),
        ("strategyqa", "auto", "reasoned", CHAIN, "prompt 'reasoned' generates its answer"),
        ("strategyqa", "instructed", "default", InContext(k=2), "its axis has none"),
        ("strategyqa", "auto", "reasoned", InContext(k=2), "prompt 'reasoned' generates"),
    ],
)
def test_a_floor_that_cannot_be_scored_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    floor: Floor,
    prompt: str,
    method: TrainedRecipe,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        zero_shot_cells(monkeypatch, task, method, floor=floor, prompt=prompt)


def test_a_task_without_an_instructed_prompt_is_told_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = "arc has no prompt 'instructed'.*use floor='choices' or 'as_trained'"
    own = InContext(k=2, reasoning=REASONING, prompt="reasoned")
    formats = {"arc": {"default": get_prompt("arc"), "reasoned": get_prompt("gsm8k")}}
    monkeypatch.setattr("trainables.data.prompts.formats.FORMATS", formats)
    with pytest.raises(ValueError, match=message):
        zero_shot_cells(monkeypatch, "arc", own, floor="instructed")


def test_the_floor_of_the_paper_is_stated() -> None:
    floors = {axis.task: axis.floor for axis in hase2024().tasks}
    assert (floors["strategyqa"], floors["gsm8k"]) == ("choices", "instructed")
