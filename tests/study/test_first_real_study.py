"""docs/tutorials/real-models.md: its study can be planned, and its numbers are the plan's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.base_models import Footprint
from search_spaces.recipes import FullFineTuning, LoRA, QLoRA, ZeroShot
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.cost.jobs import PricingOptions, check_memory
from study.cost.memory import ModelShape, worker_bytes
from study.cost.model_sizes import MODELS
from study.cost.prices import read_prices
from study.formatting import GIB
from study.planning.preview.offline_estimate import estimate_plan
from study.planning.preview.summary import format_estimate
from trainables.errors import InsufficientMemoryError

PAGE = (Path(__file__).parents[2] / "docs" / "tutorials" / "real-models.md").read_text()
BLOCKS = re.findall(r"```(\w*)[^\n]*\n(.*?)```", PAGE, re.DOTALL)
STUDY, GROWN = (text for language, text in BLOCKS if language == "python")
A_G5 = PricingOptions(prices=read_prices(), source="study/cost/prices.toml", instance="g5.xlarge")


def block(start: str) -> str:
    return next(text for _, text in BLOCKS if text.startswith(start))


def study(tmp_path: Path, *changes: tuple[str, str]) -> Space:
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "first_study.py").write_text(text)
    return find_space(f"{tmp_path / 'first_study.py'}:first")


def test_the_plan_prints_the_lines_of_the_page(tmp_path: Path) -> None:
    text, cost = format_estimate(estimate_plan(study(tmp_path)), "no network", A_G5)
    check_memory(cost)
    lines = [line.rstrip() for line in text.splitlines()]
    for line in block("Space first").splitlines():
        assert line.rstrip() in lines, text


def test_full_fine_tuning_is_refused_with_the_message_of_the_page(tmp_path: Path) -> None:
    methods = re.search(r"methods=\(.*\),\n", STUDY)
    assert methods is not None
    imported = "InContext, LinearProbe, QLoRA"
    space = study(
        tmp_path,
        (imported, "FullFineTuning"),
        (methods[0], "methods=(FullFineTuning(),),\n"),
    )
    _, cost = format_estimate(estimate_plan(space), "no network", A_G5)
    with pytest.raises(InsufficientMemoryError) as refused:
        check_memory(cost)
    assert f"error: {refused.value}\n" == block("error:")


def test_growing_adds_the_cells_of_one_model(tmp_path: Path) -> None:
    before = estimate_plan(study(tmp_path)).plan
    old = re.search(r"MODELS = .*\n", STUDY)
    assert old is not None
    after = estimate_plan(study(tmp_path, (old[0], GROWN))).plan
    new = {cell.id for cell in after.cells} - {cell.id for cell in before.cells}
    assert {cell.id for cell in before.cells} < {cell.id for cell in after.cells}
    assert f"Only the {len(new)} cells of the new model run" in PAGE


def test_the_memory_table_is_that_of_the_estimate() -> None:
    rows = re.findall(r"^\| (\S+/\S+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    shape = ModelShape(num_params=None, dtype="bfloat16")
    recipes = (ZeroShot(), LoRA(), ZeroShot(quantization="nf4"), QLoRA(), FullFineTuning())
    for name, cells in rows:
        size = MODELS[name]
        shape = replace(
            shape,
            num_params=size.num_params,
            num_layers=size.num_layers,
            hidden_size=size.hidden_size,
            vocab_size=size.vocab_size,
        )
        needs = [worker_bytes(shape, recipe, Footprint(), workers=1) or 0.0 for recipe in recipes]
        assert cells == " | ".join(f"{need / GIB:.1f}" for need in needs), name
