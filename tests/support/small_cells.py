"""Cells of every method on a tiny base, with items of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import Cell
from search_spaces.recipes import FullFineTuning, InContext, LinearProbe, LoRA, ZeroShot
from tests.support.tiny_models import make_items, save_folder
from trainables.cells.run import CellInputs, run_cell
from trainables.data.items import Item
from trainables.data.prompts.formats import get_prompt
from trainables.data.seeding import ids_hash
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import Answers, CellContext, Log
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

ITEMS = make_items(60, seed=4)
TEST, POOL = ITEMS[:20], ITEMS[20:]
PROMPT = get_prompt("micro", "open")
FAST = LoRA(n_train=12, rank=2, learning_rate=1e-2, epochs=2, batch_size=5)
RECIPES = {
    "zero-shot": ZeroShot(),
    "in-context": InContext(k=3),
    "linear probe": LinearProbe(n_train=20),
    "lora": FAST,
    "dropout": FAST.model_copy(update={"dropout": 0.3}),
    "full fine-tuning": FullFineTuning(n_train=12, learning_rate=1e-3, epochs=2, batch_size=5),
}
NUM_LABELS = {
    "zero-shot": 0,
    "in-context": 3,
    "linear probe": 20,
    "lora": 12,
    "dropout": 12,
    "full fine-tuning": 12,
}
LONG = Item(id="too-long", question="ab cd " * 200, choices=("a", "b"), answer=0)
"""No model of the tests holds it."""


def load(folder: Path, name: str = "llama", quantization: str = "none") -> Base:
    source = resolve_model(BaseModelRef(name=str(save_folder(folder, name, "bytes"))))
    return load_base(source, "float32", quantization, "cpu")


def inputs_of(
    recipe: ZeroShot | InContext | LinearProbe | LoRA | FullFineTuning,
    labelled: tuple[Item, ...] = (),
    test: tuple[Item, ...] = TEST,
    states: StateCache | None = None,
    log: Log = lambda row: None,
    items: tuple[Item, ...] = ITEMS,
    **cell: object,
) -> CellInputs:
    drawn = {} if isinstance(recipe, ZeroShot) else {"training_hash": ids_hash("ab"), "seed": 0}
    fields = {"model": "m", "dtype": "float32", "task": "t", "data_hash": "d", "split_hash": "s"}
    context = CellContext(
        cell=Cell(**{**fields, "prompt": "p", "recipe": recipe, "version": 1, **drawn, **cell}),
        items=items,
        prompt=PROMPT,
        states=states or StateCache(),
        log=log,
    )
    return CellInputs(context=context, labelled=labelled, test=test)


def answers_of(inputs: CellInputs, base: Base) -> Answers:
    result = run_cell(inputs, base)
    return Answers(log_probs=result.answers.log_probs, notes=result.notes)


def run(base: Base, method: str, **changes: object) -> Answers:
    return answers_of(inputs_of(RECIPES[method], POOL[: NUM_LABELS[method]], **changes), base)


def bytes_of(scores: Answers) -> list[bytes]:
    return [row.tobytes() for row in scores.log_probs]


def logits_of(base: Base) -> torch.Tensor:
    with torch.no_grad():
        return base.model(torch.tensor([[1, 5, 7, 9]])).logits


def frozen(method: str, labelled: tuple[Item, ...], test: tuple[Item, ...]) -> CellInputs:
    """Returns inputs as a worker makes them: the frozen test items are known beforehand."""
    inputs = inputs_of(RECIPES[method], labelled, test, items=(*ITEMS, LONG))
    layers = ("middle", "last")
    return replace(inputs, context=replace(inputs.context, test=test, probe_layers=layers))
