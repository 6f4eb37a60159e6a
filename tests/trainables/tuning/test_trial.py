"""A trial reports the accuracy that a cell of its recipe would have on the validation items."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import InContext, Orders
from search_spaces.tuning import History, ranges_of
from tests.support.small_cells import POOL, TEST, inputs_of
from tests.support.tiny_models import save_folder
from trainables.cells.run import run_cell
from trainables.data.prompts.formats import get_prompt
from trainables.models.loading import load_base
from trainables.models.resolve import resolve_model
from trainables.tuning.search import EasyItems, Search
from trainables.tuning.trial import accuracy, run_trial


def test_a_trial_averages_over_the_orders_of_its_recipe(tmp_path: Path) -> None:
    source = resolve_model(BaseModelRef(name=str(save_folder(tmp_path, "llama", "bytes"))))
    base = load_base(source, "float32", "none", "cpu")
    prompt = get_prompt("micro", "letter")
    reported: dict[Orders, float] = {}
    expected: dict[Orders, float] = {}
    for orders in get_args(Orders):
        recipe = InContext(k=1, orders=orders)
        history = History(
            model="m", dtype="float32", task="micro", measure="steps",
            level=Level(name="easy", low=1, high=2), prompt=prompt.hash, start=recipe,
            ranges=ranges_of(recipe), study_seed=0, seed=0, items_hash="i", num_labelled=1,
            num_validation=len(TEST),
        )  # fmt: skip
        items = EasyItems(labelled=POOL[:1], validation=TEST)
        search = Search(history=history, items=items, source=source)
        run_trial(search, recipe, base, partial(reported.__setitem__, orders))
        inputs = inputs_of(recipe, POOL[:1])
        inputs = replace(inputs, context=replace(inputs.context, prompt=prompt))
        expected[orders] = accuracy(run_cell(inputs, base).answers, TEST)
    assert reported == expected
    assert expected["given"] != expected["all"], "the order must matter to this model"
