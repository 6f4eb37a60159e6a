"""Looking at a training: it sees each epoch as it is and changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from search_spaces.cell import Cell
from search_spaces.recipes import FullFineTuning, LoRA, WeightTraining
from tests.support.tiny_models import make_items, save_folder
from trainables.data.prompts.formats import get_prompt
from trainables.data.seeding import ids_hash
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import CellContext, Example, FittedMethod
from trainables.methods.dispatch import fit
from trainables.methods.training import adapters
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

ITEMS = make_items(18)
LABELLED, ASKED = ITEMS[:10], ITEMS[10:]

RECIPES = [
    LoRA(learning_rate=1e-2, epochs=3, batch_size=4, dropout=0.3, rank=4, n_train=10),
    LoRA(learning_rate=1e-2, epochs=2, batch_size=16, dropout=0.3, head="scalar", n_train=10),
    FullFineTuning(learning_rate=1e-3, epochs=2, batch_size=4, n_train=10),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    from search_spaces.base_models import BaseModelRef

    folder = save_folder(tmp_path_factory.mktemp("tiny") / "llama")
    source = resolve_model(BaseModelRef(name=str(folder)))
    return load_base(source, dtype="float32", quantization="none", device="cpu")


def make_setting(recipe: WeightTraining) -> CellContext:
    cell = Cell(
        model="files:0",
        dtype="float32",
        task="arc",
        data_hash="d",
        split_hash="s",
        prompt="p",
        recipe=recipe,
        training_hash=ids_hash(item.id for item in LABELLED),
        seed=0,
        version=1,
    )
    prompt = get_prompt("arc", "default")
    return CellContext(
        cell=cell, prompt=prompt, items=ITEMS, states=StateCache(), log=lambda row: None
    )


def answers(fitted: FittedMethod) -> list[np.ndarray]:
    found = fitted.answer(ASKED).log_probs
    assert found is not None
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=["lora", "reward head", "full"])
@pytest.mark.parametrize("is_merged", [True, False], ids=["merged", "beside"])
def test_every_epoch_is_seen_and_no_bit_changes(
    is_merged: bool, recipe: WeightTraining, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_merged:  # as on a quantized base: answers go through the adapter's own layers
        monkeypatch.setattr(adapters, "MAX_MERGED_BYTES", 0)
    examples = [Example(item=item, answer=item.answer) for item in LABELLED]
    seen: dict[int, list[np.ndarray]] = {}
    grads: list[bool] = []

    def look(epoch: int, fitted: FittedMethod) -> None:
        seen[epoch] = answers(fitted)
        grads.append(torch.is_grad_enabled())

    context = make_setting(recipe)
    with fit(context, base, examples) as alone:
        state, last = alone.state(), answers(alone)
    with fit(replace(context, after_epoch=look), base, examples) as watched:
        other = watched.state()
    assert list(seen) == list(range(1, recipe.epochs + 1)) and all(grads)
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert all(map(np.array_equal, seen[recipe.epochs], last))
    assert not all(map(np.array_equal, seen[1], last))


def test_a_watcher_may_stop_the_training_and_nothing_is_left(base: Base) -> None:
    class Stop(Exception):
        pass

    def stop(epoch: int, fitted: FittedMethod) -> None:
        raise Stop

    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    for recipe in RECIPES:
        examples = [Example(item=item, answer=item.answer) for item in LABELLED]
        context = replace(make_setting(recipe), after_epoch=stop)
        with pytest.raises(Stop), fit(context, base, examples):
            pytest.fail("the training went on")
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
