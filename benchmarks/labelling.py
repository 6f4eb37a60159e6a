"""Labelling pairs in both orders: a round's own way against one forward a pair and order.

Run: `python -m benchmarks.labelling [--pairs 1000] [--model micro-l] [--threads 2]`. Both ways are
timed in one process on one model, a verdict of one token ("A" or "B") under the lab's prompt. The
plain way is that of the released code of SSRM (arXiv:2409.06903): batch 1, the logits of the two
verdict tokens at the last position, once for each order. Both must give the same preferences.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scoring import timed
from search_spaces.base_models import BaseModelRef
from search_spaces.cell import STEP_VERSIONS, Cell
from search_spaces.recipes import LoRA, ZeroShot
from trainables.data.items import Item
from trainables.data.prompts.formats import get_prompt
from trainables.data.tasks.preferences.micro_preferences import load_micro_preferences
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.choice_orders import (
    average_over_orders,
    orders_of,
    reordered,
    score_in_orders,
)
from trainables.methods.base.interface import CellContext, FittedMethod
from trainables.methods.dispatch import fit
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

PROMPT = get_prompt("micro_preferences", "letter")
RECIPE = ZeroShot(prompt="letter")
ORDERS = orders_of(2, "all")
TOLERANCE = 1e-4


def main() -> None:
    """Times both ways and prints a ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--model", default="micro-l")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = resolve_model(BaseModelRef(name=options.model))
    base = load_base(source, "float32", "none", "cpu")
    pairs = load_micro_preferences()[: options.pairs]
    with fit(setting_of(source.content, RECIPE), base, []) as teacher:
        label(teacher, pairs[:50])
        ours = timed("ours", base, lambda: label(teacher, pairs))
    plain = timed("batch 1, an order a pass", base, lambda: label_plainly(base, pairs))
    worst = float(np.abs(ours.result - plain.result).max())
    if worst > TOLERANCE:
        raise SystemExit(f"the two ways disagree by {worst:g}")
    print(
        f"{len(pairs)} pairs, {options.model}, {options.threads} threads, preferences within "
        f"{worst:.1g} of each other"
    )
    for way in (ours, plain):
        print(f"{way.line(ours)}, {way.num_tokens / len(pairs):.0f} tokens a pair")


def setting_of(
    model: str, recipe: ZeroShot | LoRA, pairs: Sequence[Item] = (), **draw: Any
) -> CellContext:
    """Returns the setting of a cell that judges the lab's pairs.

    Args:
        model: Content of the base.
        recipe: With the prompt's name.
        pairs: Items of the task.
        draw: Fields of a trained cell: `training_hash` and `seed`.
    """
    prompt = get_prompt("micro_preferences", recipe.prompt or "default")
    cell = Cell(
        model=model,
        dtype="float32",
        task="micro_preferences",
        data_hash="d",
        split_hash="s",
        prompt=prompt.hash,
        recipe=recipe,
        version=STEP_VERSIONS[recipe.method],
        **draw,
    )
    return CellContext(
        cell=cell, prompt=prompt, items=tuple(pairs), states=StateCache(), log=lambda row: None
    )


def label(teacher: FittedMethod, pairs: Sequence[Item]) -> NDArray[np.float64]:
    """Returns the probability that each pair's first answer is better, as a round finds it."""
    by_pair = score_in_orders(teacher, pairs, "all")
    return np.array([average_over_orders(rows, ORDERS)[0] for rows in by_pair])


def label_plainly(base: Base, pairs: Sequence[Item]) -> NDArray[np.float64]:
    """Returns the same, one forward a pair and order."""
    verdicts = [
        base.tokenizer(text, add_special_tokens=False).input_ids
        for text in PROMPT.choice_texts(pairs[0])
    ]
    if any(len(tokens) != 1 for tokens in verdicts):
        raise SystemExit(f"the verdicts are not one token each: {verdicts}")
    columns = [tokens[0] for tokens in verdicts]
    found = []
    for pair in pairs:
        rows = []
        for order in ORDERS:
            text = PROMPT.question(reordered(pair, order))
            tokens = base.tokenizer(text, return_tensors="pt").input_ids
            with torch.inference_mode():
                rows.append(base.model(tokens).logits[0, -1, columns].double().numpy())
        found.append(average_over_orders(rows, ORDERS)[0])
    return np.array(found)


if __name__ == "__main__":
    main()
