"""The scorer against lm-evaluation-harness: same model, same items, same process.

Run: `python -m benchmarks.lm_eval_peer [--model DIR --task arc_easy --data-root DIR]`,
where `lm-eval` is installed alongside this project (`pip install lm-eval`); it is no dependency.
The harness's `hf` backend gets the model object itself and the requests that its multiple-choice
tasks make: a context and a continuation per choice. The same examples precede every question.

The order of the two alternates from round to round; the fastest round of each counts. A prediction
may differ only where the harness's two best choices are closer than `ROUNDING`. The scorer's FLOP
are those of its matrix products, counted by torch; the machine's speed is that of products of the
model's own shapes, measured in every round.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scoring import Timed, timed
from search_spaces.base_models import BaseModelRef
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.prompts.formats import PromptFormat, get_prompt
from trainables.data.tasks.registry import load_task
from trainables.data.tasks.standard_sets import STANDARD_SETS, load_standard_set
from trainables.inference.scoring import CPU_TOKEN_BUDGET, max_positions, score_choices
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

NUM_SHOTS = 10
LONGEST_ANSWER = 100
"""Tokens that are left free for an answer."""

ROUNDING = 1e-3
"""Nats; fp32 scores of two implementations differ by less."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What both score."""

    prefix: str
    prompts: Sequence[str]
    choices: Sequence[Sequence[str]]


def compare(
    title: str, base: Base, questions: Questions, *, batch_sizes: Sequence[int], rounds: int
) -> None:
    """Prints the seconds, tokens and predictions of both, and the share of the machine's speed."""
    prefix, prompts, choices = questions.prefix, questions.prompts, questions.choices
    whole = [prefix + text for text in prompts]

    def score() -> list[np.ndarray]:
        return score_choices(base.model, base.tokenizer, prompts, choices, prefix=prefix or None)

    ways: dict[str, Callable[[], list[np.ndarray]]] = {"score_choices": score}
    for size in batch_sizes:
        ways[f"lm-eval, batch {size}"] = partial(harness_scores, base, whole, choices, size)
    best: dict[str, Timed[list[np.ndarray]]] = {}
    speed = 0.0
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            way = timed(name, base, ways[name])
            best[name] = min(best.get(name, way), way, key=lambda way: way.cpu_s)
        speed = max(speed, product_speed(base))
    ours = best.pop("score_choices")
    print(f"{title}: {len(prompts)} items, {sum(map(len, choices))} choices")
    print(f"  {ours.line(ours)}")
    for way in best.values():
        print(f"  {way.line(ours)}, {agreement(ours.result, way.result)}")
    with FlopCounterMode(display=False) as counter:
        score()
    used = counter.get_total_flops() / ours.cpu_s
    print(
        f"  {counter.get_total_flops() / 1e9:,.0f} GFLOP in matrix products, {used / 1e9:.1f} "
        f"GFLOP/s of processor time; products alone {speed / 1e9:.1f}: {used / speed:.0%}",
        flush=True,
    )


def agreement(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> str:
    """Returns how far two scorings differ, and in how many predictions."""
    pairs = list(zip(ours, theirs, strict=True))
    worst = max(float(np.abs(a - b).max()) for a, b in pairs)
    other = [theirs for ours, theirs in pairs if np.argmax(ours) != np.argmax(theirs)]
    num_clear = sum(float(np.diff(np.sort(row))[-1]) > ROUNDING for row in other)
    return (
        f"scores differ by at most {worst:.1e}, {len(other)} of {len(pairs)} predictions differ, "
        f"{num_clear} of them by more than rounding"
    )


def product_speed(base: Base, num_tokens: int = CPU_TOKEN_BUDGET) -> float:
    """Returns the FLOP per second of processor time of an fp32 product of the model's shape.

    That is a batch of tokens times the model's largest linear layer, without its vocabulary.
    """
    head = base.model.get_output_embeddings()
    layers = (m for m in base.model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    weight = max((layer.weight for layer in layers), key=torch.Tensor.numel)
    token_TH = torch.randn(num_tokens, weight.shape[1])
    flop = 2 * num_tokens * weight.numel()
    repeats = max(10, int(2e10 / flop))
    best = 0.0
    with torch.inference_mode():
        for _ in range(5):
            start = time.process_time()
            for _ in range(repeats):
                torch.nn.functional.linear(token_TH, weight)
            best = max(best, repeats * flop / (time.process_time() - start))
    return best


def fits(base: Base, text: str) -> bool:
    """Says whether the model's context holds the text and any answer."""
    limit = max_positions(base.model)
    return limit is None or len(base.tokenizer(text)["input_ids"]) + LONGEST_ANSWER <= limit


def main() -> None:
    """Prints the comparison zero-shot and with examples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=list(MICRO_MODELS)[-1], help="name or folder")
    parser.add_argument("--task", default="micro", help="a task or a standard test set")
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shots", type=int, nargs="+", default=[0, NUM_SHOTS])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args()
    if importlib.util.find_spec("lm_eval") is None:
        raise SystemExit("lm_eval is not installed: run `pip install lm-eval` and try again")
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    base = load_base(resolve_model(BaseModelRef(name=options.model)), "float32", "none", "cpu")
    loaded, prompt = load(options.task, options.data_root)
    items = sorted(loaded, key=lambda item: item.id[::-1])
    print(f"{options.model}, {options.task}, {options.threads} threads, load {os.getloadavg()}")
    for num_shots in options.shots:
        shots = items[len(items) - num_shots :]
        prefix = prompt.separator.join([*(prompt.example(item, item.answer) for item in shots), ""])
        fitting = (item for item in items if fits(base, prefix + prompt.question(item)))
        test = list(islice(fitting, options.items))
        if not test or test[-1] in shots:
            raise SystemExit(f"too few items fit behind {num_shots} examples into the context")
        questions = Questions(
            prefix=prefix,
            prompts=[prompt.question(item) for item in test],
            choices=[prompt.choice_texts(item) for item in test],
        )
        compare(
            f"{num_shots}-shot",
            base,
            questions,
            batch_sizes=options.batch_sizes,
            rounds=options.rounds,
        )


def load(name: str, data_root: Path | None) -> tuple[Sequence[Item], PromptFormat]:
    """Returns the items of a standard test set or of a task, and their prompt."""
    if name in STANDARD_SETS:
        return load_standard_set(name, data_root), STANDARD_SETS[name].prompt
    return load_task(name, data_root).items, get_prompt(name)


if __name__ == "__main__":
    main()
