"""The study of real small models: its spaces belong together, and find their base models."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.recipes import TrainedRecipe
from search_spaces.registry import find_space, named_spaces
from search_spaces.space import Space
from search_spaces.studies.small.arc_small_models import (
    GEMMA3_BY_DIFFICULTY,
    GEMMA3_LISTED,
    GEMMA3_PROBE,
    MODEL_ROOT,
    MOST_LABELS,
    ON_THE_HUB,
    SMOLLM2_BY_DIFFICULTY,
    SMOLLM2_LISTED,
    SMOLLM2_LORA,
    SMOLLM2_PROBE,
)
from search_spaces.tuning import tuned
from study.planning.planner import make_plan
from tests.support.real_data import ROOT, needs
from tests.support.tiny_models import save_folder

SEARCHES = Path(__file__).parents[3] / "docs" / "results" / "arc_small_models" / "tune"
NAMES = [name for name, make in named_spaces().items() if make.__module__.endswith("small_models")]


@pytest.fixture(params=NAMES)
def space(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Space:
    monkeypatch.delenv(MODEL_ROOT, raising=False)
    return find_space(request.param)


def test_base_models_come_from_the_hub_without_folders(space: Space) -> None:
    (model,) = space.models
    assert model.name in ON_THE_HUB.values() and model.path is None


def test_a_missing_folder_is_named_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODEL_ROOT, str(tmp_path))
    with pytest.raises(ValueError, match=f"{MODEL_ROOT}={tmp_path} contains no folder 'smollm2"):
        find_space("arc_smollm2_probe")


@needs("arc")
def test_all_spaces_of_a_model_share_the_split_and_the_cells_that_they_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_folder(tmp_path / "smollm2-135m", "llama", "bytes")
    monkeypatch.setenv(MODEL_ROOT, str(tmp_path))
    mine = [name for name in NAMES if "smollm2" in name]
    assert len(mine) == len(NAMES) / 2
    plans = {name: make_plan(find_space(name), ROOT)[0] for name in mine}
    assert len({task.split_hash for plan in plans.values() for task in plan.tasks}) == 1
    assert all(plan.space.split_for == MOST_LABELS for plan in plans.values())
    cells = {name: {cell.id for cell in plan.cells} for name, plan in plans.items()}
    starts = {cell.cell.parent for cell in plans["arc_smollm2_ssrm"].cells} - {None}
    assert starts and starts <= cells["arc_smollm2_in_context"]
    sizes = {name: len(ids) for name, ids in cells.items()}
    assert sizes["arc_smollm2_probe"] == 2 + 10 * (4 + 4 * 3 + 5 + 3 + 4), sizes


@pytest.mark.parametrize(
    ("recipe", "file"),
    [
        (GEMMA3_PROBE, "gemma3-270m-arc-grade-linear_probe.json"),
        (GEMMA3_BY_DIFFICULTY, "gemma3-270m-arc-difficulty-linear_probe.json"),
        (GEMMA3_LISTED, "gemma3-270m-arc-grade-linear_probe-listed.json"),
        (SMOLLM2_PROBE, "smollm2-135m-arc-grade-linear_probe.json"),
        (SMOLLM2_BY_DIFFICULTY, "smollm2-135m-arc-difficulty-linear_probe.json"),
        (SMOLLM2_LISTED, "smollm2-135m-arc-grade-linear_probe-listed.json"),
        (SMOLLM2_LORA, "smollm2-135m-arc-grade-lora.json"),
    ],
)
def test_the_recipes_are_those_that_the_searches_found(recipe: TrainedRecipe, file: str) -> None:
    assert tuned(SEARCHES / file) == recipe
