"""The files of a trained state: which a method has, and that reading them gives the state again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from search_spaces.cell import Cell, cell_id
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    PolicyDPO,
    QLoRA,
    Recipe,
    trains_small_state,
)
from trainables.cells.trained_state import read_state, state_files
from trainables.models.source import ModelSource
from trainables.storage import layout
from trainables.storage.filesystem import open_storage
from trainables.storage.records import InvalidRecordError, scores_table, write_record

SOURCE = ModelSource(name="tiny", source="owner/tiny", revision="1" * 40, content="hub:tiny")
MODULES = [f"model.layers.{layer}.self_attn.{end}_proj" for layer in range(12) for end in "qv"]
ADAPTER = {
    f"base_model.model.{module}.lora_{factor}.weight": torch.full((2, 3), float(place))
    for place, module in enumerate(MODULES)
    for factor in "AB"
}
HEAD = {"reward_head.weight": torch.arange(4.0)}
PROBE = {"layers": torch.tensor([2, 3]), "mean": torch.zeros(4), "std": torch.ones(4)}
PEFT = {"adapter_config.json", "adapter_model.safetensors"}


def cell_of(recipe: Recipe) -> Cell:
    fields = {"task": "t", "data_hash": "d", "split_hash": "s", "prompt": "p", "version": 1}
    drawn = {"training_hash": "a", "seed": 0}
    return Cell(model=SOURCE.content, dtype="float32", recipe=recipe, **fields, **drawn)


@pytest.mark.parametrize(
    ("recipe", "state", "names"),
    [
        (LoRA(rank=2), ADAPTER, PEFT),
        (QLoRA(rank=2), ADAPTER, PEFT),
        (PolicyDPO(labels="gold", rank=2), ADAPTER, PEFT),
        (LoRA(head="scalar"), ADAPTER | HEAD, PEFT | {"reward_head.safetensors"}),
        (LinearProbe(), PROBE, {"probe.safetensors"}),
        (InContext(), {"examples": torch.arange(3)}, {"state.safetensors"}),
        (FullFineTuning(), {"model.norm.weight": torch.ones(3)}, {"state.safetensors"}),
        (PolicyDPO(labels="gold"), {"model.norm.weight": torch.ones(3)}, {"state.safetensors"}),
    ],
)
def test_files_are_read_as_the_state_they_were_made_of(
    tmp_path: Path, recipe: Recipe, state: dict[str, torch.Tensor], names: set[str]
) -> None:
    cell = cell_of(recipe)
    id_, storage = cell_id(cell), open_storage(str(tmp_path))
    files = state_files(cell, SOURCE, state)
    assert set(files) == names
    assert trains_small_state(recipe) == ("state.safetensors" not in names)
    record = write_record(
        storage,
        cell,
        scores_table(["a"], [0], [torch.zeros(2).numpy()]),
        seconds={"total": 1.0},
        execution={},
        files={layout.trained(id_, name): content for name, content in files.items()},
    )
    assert {path.name for path in (tmp_path / "cells" / id_ / "adapter").iterdir()} == names
    again = read_state(storage, id_, record)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    with pytest.raises(InvalidRecordError, match="lists no trained state"):
        read_state(storage, id_, record.model_copy(update={"files": {}}))


def test_the_config_is_pefts_and_names_base_and_revision(tmp_path: Path) -> None:
    recipe = LoRA(rank=7, alpha=3.5, dropout=0.2)
    files = state_files(cell_of(recipe), SOURCE, ADAPTER)
    (tmp_path / "adapter_config.json").write_bytes(files["adapter_config.json"])
    config = LoraConfig.from_pretrained(str(tmp_path))
    assert (config.base_model_name_or_path, config.revision) == ("owner/tiny", "1" * 40)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (7, 3.5, 0.2)
    assert config.target_modules == set(MODULES) and config.task_type == "CAUSAL_LM"
    assert json.loads(files["adapter_config.json"])["target_modules"] == sorted(MODULES)


def test_equal_states_have_equal_bytes() -> None:
    cell = cell_of(LoRA())
    backwards = dict(reversed(ADAPTER.items()))
    assert state_files(cell, SOURCE, backwards) == state_files(cell, SOURCE, ADAPTER)
