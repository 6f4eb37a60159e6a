"""Spaces that state the paper: their cuts, recipes, controls and prices are its own."""

from __future__ import annotations

import math

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import PAPER_LORA, InContext, LinearProbe, LoRA, num_labels
from search_spaces.registry import named_spaces
from search_spaces.space import Space
from search_spaces.studies.published.cost import BUDGETS, cost, cost_micro
from search_spaces.studies.published.gap import gap
from search_spaces.studies.published.hase2024 import hase2024
from search_spaces.studies.published.mdl import hase2024_mdl
from search_spaces.studies.published.noise import noise, noise_micro
from search_spaces.studies.small.small import small
from study.cost.model_sizes import MODELS
from study.planning.planner import make_plan
from tests.support.real_data import ROOT, needs
from trainables.data.prompts.formats import get_prompt
from trainables.data.tasks.registry import TASKS
from trainables.models.chat_templates import plain_name


def test_levels_are_the_papers_cuts() -> None:
    cut = {(a.task, a.measure): a.train_levels for a in (*hase2024().tasks, *gap().tasks)}
    named = {"mmlu_stem5": "education", "strategyqa": "steps", "gsm8k": "steps", "science": "grade"}
    for task, measure in (*(("arc", m) for m in ("grade", "difficulty", "bloom")), *named.items()):
        standard = next(iter(TASKS[task].cuts[measure].values()))
        assert cut[task, measure] == standard, (task, measure)
    surface = {key for key, levels in cut.items() if levels[0].high == 0.3}
    assert surface == {
        (task, measure)
        for task, measures in {
            "arc": ("question_words", "answer_chars"),
            "mmlu_stem5": ("question_words", "answer_chars"),
            "strategyqa": ("question_words",),
        }.items()
        for measure in measures
    }


PAPERS_FINE_TUNING = {
    "n_train": 160,
    "quantization": "int8",
    "rank": 16,
    "alpha": 32.0,
    "dropout": 0.1,
    "target_modules": "attention",
    "learning_rate": 1e-4,
    "warm_up": 0.0,
    "epochs": 3,
    "batch_size": 50,
    "weight_decay": 1e-5,
    "max_grad_norm": 1.0,
    "loss": "choices",
    "head": "language model",
    "scoring": "sum",
    "orders": "given",
}
"""Section 4 and appendix D of the paper: linear decay to a tenth from the first update on, without
a warm-up; the answers' summed log-probabilities, softmax over the choices."""

PAPERS_FINE_TUNING_WITH_REASONING = PAPERS_FINE_TUNING | {"loss": "text", "epochs": 38}
"""The released code: at least 150 updates, of reasoning and answer as text."""


@pytest.mark.parametrize("space", [hase2024(), gap(), hase2024_mdl()], ids=lambda space: space.name)
def test_fine_tuning_is_the_papers_in_every_hyper_parameter(space: Space) -> None:
    recipes = [recipe for axis in space.tasks for recipe in space.recipes(axis)]
    recipes += [judge.method for judge in space.hardness]
    tuned = [recipe for recipe in recipes if isinstance(recipe, LoRA)]
    assert tuned
    for recipe in tuned:
        found = recipe.model_dump(exclude={"method", "prompt", "reasoning"}, exclude_none=True)
        reasons = recipe.reasoning is not None
        assert found == (PAPERS_FINE_TUNING_WITH_REASONING if reasons else PAPERS_FINE_TUNING)


def test_fine_tuning_is_twelve_updates_and_with_reasoning_150() -> None:
    def updates(recipe: LoRA) -> int:
        return math.ceil(recipe.n_train / recipe.batch_size) * recipe.epochs

    assert updates(PAPER_LORA) == 12
    space = hase2024()
    reasoned = [
        recipe
        for axis in space.tasks
        for recipe in space.recipes(axis)
        if isinstance(recipe, LoRA) and recipe.reasoning is not None
    ]
    assert {(updates(recipe), recipe.loss) for recipe in reasoned} == {(152, "text")}


def test_each_task_has_the_papers_numbers_of_examples() -> None:
    space = hase2024()
    shown = {
        axis.task: {
            (recipe.k, recipe.reasoning and recipe.reasoning.max_new_tokens)
            for recipe in space.recipes(axis)
            if isinstance(recipe, InContext)
        }
        for axis in space.tasks
    }
    assert shown == {
        "arc": {(10, None)},
        "mmlu_stem5": {(10, None)},
        "strategyqa": {(4, None), (8, 100), (4, 100)},
        "gsm8k": {(8, 300)},
    }
    trained = {
        num_labels(recipe)
        for axis in space.tasks
        for recipe in space.recipes(axis)
        if not isinstance(recipe, InContext)
    }
    assert trained == {160} and space.seeds == 5 and space.split == "paper"
    probes = [r for axis in space.tasks for r in space.recipes(axis) if isinstance(r, LinearProbe)]
    assert {probe.solver for probe in probes} == {"paper"}


@pytest.mark.parametrize("name", sorted(named_spaces()))
def test_prompts_of_every_axis_are_there_for_its_recipes(name: str) -> None:
    space = named_spaces()[name]()
    for axis in space.tasks:
        for recipe in space.recipes(axis):
            is_reasoned = recipe.reasoning is not None
            prompt = get_prompt(axis.task, plain_name(axis.prompt_of(recipe)))
            assert prompt.generates == is_reasoned


@pytest.mark.parametrize("space", [noise(), noise_micro()])
def test_hard_labels_are_wrong_twice_as_often(space: Space) -> None:
    rates: dict[tuple[str, str], list[float]] = {}
    for condition in space.tasks[0].conditions:
        (level,) = condition.levels
        rates.setdefault((condition.labels.kind, level), []).append(condition.labels.rate)
    assert rates.pop(("random", "easy")) == [0.0]
    for (_, level), found in rates.items():
        factor = {"easy": 1, "hard": 2}[level]
        assert found == [factor * p for p in (0.05, 0.1, 0.2, 0.3)]
    kinds = {kind for kind, _ in rates}
    assert kinds == ({"noise", "paper noise"} if space.name == "noise" else {"noise"})


@pytest.mark.parametrize("space", [cost(), cost_micro()])
def test_a_budget_buys_twice_as_many_easy_labels(space: Space) -> None:
    assert BUDGETS == (20, 40, 80, 160, 320)
    for axis in space.tasks:
        spent = {
            (c.levels[0], c.n_train or 0): (c.n_train or 0) * c.label_cost for c in axis.conditions
        }
        # 160 labels are the plain conditions'.
        spent |= {("easy", 160): 160.0, ("hard", 160): 320.0}
        assert {num_labels(recipe) for recipe in space.methods} == {160}
        assert sorted(spent.values()) == sorted([*BUDGETS, *BUDGETS])
        for (level, number), price in spent.items():
            assert price == number * {"easy": 1, "hard": 2}[level]


def test_the_contrasts_of_table_2_are_its_six_rows() -> None:
    space = hase2024()
    named = [
        (axis.task, axis.measure, recipe.reasoning is not None, num_labels(recipe))
        for contrast in space.contrasts
        for axis in space.tasks
        for recipe in space.recipes(axis)
        if (axis.task, axis.measure) == (contrast.task, contrast.measure)
        and contrast.first.recipe == recipe
    ]
    assert named == [
        ("arc", "grade", False, 10),
        ("arc", "difficulty", False, 10),
        ("arc", "bloom", False, 10),
        ("mmlu_stem5", "education", False, 10),
        ("strategyqa", "steps", True, 8),
        ("gsm8k", "steps", True, 8),
    ]


def test_gap_is_tested_on_college_only() -> None:
    (axis,) = gap().tasks
    assert [level.name for level in axis.test_levels] == ["college"]
    assert axis.train_levels[0].name == "3rd grade" and len(axis.train_levels) == 6


def test_small_fits_a_consumer_card() -> None:
    largest = max(MODELS[model.name].num_params for model in small().models)
    assert largest * 2 < 8e9, "bytes in 16 bits"


@needs("gsm8k")
@needs("arc")
def test_the_papers_space_can_be_planned_on_real_data() -> None:
    space = hase2024()
    here = tuple(axis for axis in space.tasks if axis.task in ("arc", "gsm8k"))
    model = BaseModelRef(name="micro-s", dtype="bfloat16")
    plan, _ = make_plan(
        space.model_copy(update={"tasks": here, "models": (model,), "contrasts": ()}), ROOT
    )
    sizes = {
        (task.task, task.measure): [level.test for level in task.levels if level.level != "all"]
        for task in plan.tasks
    }
    assert sizes["arc", "grade"] == [1434, 1055, 2032]
    assert sizes["arc", "bloom"] == [2357, 1314, 850]
    assert sizes["gsm8k", "steps"] == [4805, 3086, 901]
    words = next(axis for axis in plan.space.tasks if axis.measure == "question_words")
    assert (words.train_levels[0].high, words.train_levels[2].low) == (12, 24)
