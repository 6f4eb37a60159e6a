"""Cells of one unit each get the base model and the prompt that their own recipe names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LoRA, QLoRA, TrainedRecipe
from search_spaces.space import Space, TaskAxis
from study.planning.planner import make_plan
from tests.support.small_study import SmallStudy
from tests.support.tiny_models import naive_scores, save_folder
from tests.support.workers import run_context_of
from trainables.cells.run import CellInputs, CellResult, run_cell
from trainables.cells.runner import CellRunner
from trainables.data.items import Item
from trainables.methods.base.interface import Answers
from trainables.models.loading import Base

LEVELS = (Level(name="easy", low=1, high=2), Level(name="hard", low=3, high=4))


@dataclass(frozen=True)
class CellRun:
    inputs: CellInputs
    result: CellResult
    layer: str
    """Type of a linear layer of the base."""


def run_unit(folder: Path, recipes: tuple[TrainedRecipe, ...], *, trains: bool) -> list[CellRun]:
    """Plans one cell a recipe, and runs them as one unit on one worker."""
    study = SmallStudy(folder=folder / "study")
    space = Space(
        name="own",
        models=(BaseModelRef(name=str(save_folder(folder / "tiny", "llama", "bytes"))),),
        tasks=(
            TaskAxis(
                task="jsonl:sums", measure="steps", train_levels=LEVELS, test_levels=LEVELS[1:]
            ),
        ),
        methods=recipes,
        seeds=1,
    )
    plan, inputs = make_plan(space, study.folder / "data")
    unit = tuple(
        next(c for c in plan.cells if c.cell.recipe == recipe and c.condition == "easy")
        for recipe in recipes
    )
    seen: list[CellRun] = []

    def run_one(inputs: CellInputs, base: Base) -> CellResult:
        zeros = Answers(log_probs=[np.zeros(len(item.choices)) for item in inputs.test])
        result = run_cell(inputs, base) if trains else CellResult(answers=zeros)
        layer = base.model.model.layers[0].self_attn.q_proj
        seen.append(CellRun(inputs, result, type(layer).__name__))
        if trains:
            check_scores(seen[-1], base)
        return result

    context = run_context_of(inputs, folder / "runs", run_cell=run_one)
    runner = CellRunner(run_context=context)
    for cell in unit:
        runner.run(cell, unit, 1.0)
    return seen


def check_scores(seen: CellRun, base: Base) -> None:
    """Compares a cell's scores with one plain forward over the text of its prompt."""
    (example,) = seen.inputs.labelled
    name = seen.inputs.context.cell.recipe.prompt or "default"
    front = text_of(example, name) + answers_of(example, name)[example.answer] + "\n\n"
    few = seen.inputs.test[:4]
    expected = naive_scores(
        base.model,
        base.tokenizer,
        [front + text_of(item, name) for item in few],
        [answers_of(item, name) for item in few],
    )
    assert seen.result.answers.log_probs is not None
    for got, wanted in zip(seen.result.answers.log_probs, expected, strict=False):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def text_of(item: Item, name: str) -> str:
    if name == "default":
        return f"Question: {item.question}\nAnswer:"
    options = "\n".join(f"{a}) {b}" for a, b in zip("ABCD", item.choices, strict=True))
    return f"Question: {item.question}\n{options}\nAnswer:"


def answers_of(item: Item, name: str) -> list[str]:
    return [" " + text for text in ("ABCD" if name == "letter" else item.choices)]


def test_each_cell_gets_its_base_in_the_quantization_of_its_recipe(tmp_path: Path) -> None:
    recipes = (LoRA(n_train=6), QLoRA(n_train=6), LoRA(n_train=6, quantization="int8"))
    unit = (*recipes, InContext(k=1))
    assert [seen.layer for seen in run_unit(tmp_path, unit, trains=False)] == [
        "Linear",
        "Linear4bit",
        "Linear8bitLt",
        "Linear",
    ]


@pytest.mark.parametrize("prompt", ["letter", "listed"])
def test_each_cell_is_scored_on_the_text_of_its_recipes_prompt(tmp_path: Path, prompt: str) -> None:
    unit = (InContext(k=1), InContext(k=1, prompt=prompt))
    usual, other = run_unit(tmp_path, unit, trains=True)
    pairs = zip(
        usual.result.answers.log_probs or (), other.result.answers.log_probs or (), strict=True
    )
    assert all(np.abs(a - b).max() > 1e-2 for a, b in pairs), "the prompt must matter here"
