"""The scorer against lm-evaluation-harness: same model, same items, same process.

Run: `python -m benchmarks.lm_eval_peer [--items 100] [--task arc --data-root DIR]`, where `lm-eval`
is installed beside this project (`pip install lm-eval`); it is no dependency. The harness's `hf`
backend gets the model object itself and the requests that its multiple-choice tasks make: a context
and a continuation per choice. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scoring import timed
from search_spaces.base_models import BaseModelRef
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.prompts.formats import get_prompt
from trainables.data.tasks.registry import load_task
from trainables.inference.scoring import max_positions, score_choices
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

NUM_SHOTS = 10
LONGEST_ANSWER = 100
"""Tokens that are left free for an answer."""

BATCH_SIZES = (1, 8, 32)
"""Of the harness; the fastest is what ours is compared with."""


def harness_scores(
    base: Base, prompts: Sequence[str], choices: Sequence[Sequence[str]], batch_size: int
) -> list[np.ndarray]:
    """Returns the summed log-probabilities that lm-evaluation-harness computes."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    with contextlib.redirect_stderr(io.StringIO()):
        peer = HFLM(
            pretrained=base.model, tokenizer=base.tokenizer, batch_size=batch_size, device="cpu"
        )
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=(prompt, text), idx=index)
            for index, (prompt, texts) in enumerate(zip(prompts, choices, strict=True))
            for text in texts
        ]
        answers: list[Any] = peer.loglikelihood(requests, disable_tqdm=True)
    flat = np.array([log_prob for log_prob, _ in answers])
    ends = np.cumsum([len(row) for row in choices])
    return list(np.split(flat, ends[:-1]))


def compare(title: str, base: Base, task: str, items: Sequence[Item], prefix: str) -> None:
    """Prints the seconds of both, and whether they predict the same."""
    prompt = get_prompt(task)
    prompts = [prompt.question(item) for item in items]
    choices = [prompt.choice_texts(item) for item in items]
    whole = [prefix + text for text in prompts]
    peers = {
        size: timed(
            f"lm-eval, batch {size}",
            base,
            lambda size=size: harness_scores(base, whole, choices, size),
        )
        for size in BATCH_SIZES
    }
    ours = timed(
        "score_choices",
        base,
        lambda: score_choices(base.model, base.tokenizer, prompts, choices, prefix=prefix or None),
    )
    print(f"{title}: {len(items)} items, {sum(map(len, choices))} choices")
    for way in (*peers.values(), ours):
        pairs = list(zip(way.result, ours.result, strict=True))
        num_same = sum(int(np.argmax(a) == np.argmax(b)) for a, b in pairs)
        worst = max(float(np.abs(a - b).max()) for a, b in pairs)
        print(
            f"  {way.line(ours)}, difference {worst:.1e}, {num_same} of {len(pairs)} predictions "
            "the same"
        )


def fits(base: Base, text: str) -> bool:
    """Says whether the model's context holds the text and any answer."""
    limit = max_positions(base.model)
    return limit is None or len(base.tokenizer(text)["input_ids"]) + LONGEST_ANSWER <= limit


def main() -> None:
    """Prints the comparison zero-shot and with examples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=list(MICRO_MODELS)[-1], help="name or folder")
    parser.add_argument("--task", default="micro")
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--items", type=int, default=100)
    options = parser.parse_args()
    if importlib.util.find_spec("lm_eval") is None:
        raise SystemExit("lm_eval is not installed: run `pip install lm-eval` and try again")
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    base = load_base(resolve_model(BaseModelRef(name=options.model)), "float32", "none", "cpu")
    data = load_task(options.task, options.data_root)
    items = sorted(data.items, key=lambda item: item.id[::-1])
    prompt = get_prompt(options.task)
    shots = items[-NUM_SHOTS:]
    prefix = prompt.separator.join([*(prompt.example(item, item.answer) for item in shots), ""])
    test = [item for item in items[:-NUM_SHOTS] if fits(base, prefix + prompt.question(item))]
    test = test[: options.items]
    if not test:
        raise SystemExit(f"no item fits behind {NUM_SHOTS} examples into the model's context")
    compare("zero-shot", base, options.task, test, "")
    compare(f"{NUM_SHOTS}-shot", base, options.task, test, prefix)


if __name__ == "__main__":
    main()
