"""The scorer against one forward per choice, and generation against the library's, in one process.

Run: `python -m benchmarks.scoring [--items 200]`. One thread; processor seconds are printed beside
wall-clock ones, because the ratio of the former holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from search_spaces.base_models import BaseModelRef
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.prompts.formats import get_prompt
from trainables.data.tasks.questions.micro import load_micro
from trainables.inference.generation import (
    StoppingCriteria,
    generate_tokens,
    tokenize_prompts,
)
from trainables.inference.scoring import score_choices
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

NUM_SHOTS = 10
BATCH = 32
MAX_NEW_TOKENS = 60

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed(Generic[Result]):
    """One way of doing the work."""

    name: str
    wall_s: float
    cpu_s: float
    num_tokens: int
    """Tokens that went through the model, filler counted."""
    result: Result

    def line(self, ours: Timed[Any]) -> str:
        """Returns the seconds and tokens, and how many times ours they are."""
        return (
            f"{self.name:24} {self.wall_s:7.2f} s wall {self.cpu_s:7.2f} s cpu "
            f"{self.num_tokens:9,} tokens | ours: {self.wall_s / ours.wall_s:5.1f} x wall "
            f"{self.cpu_s / ours.cpu_s:5.1f} x cpu "
            f"{self.num_tokens / ours.num_tokens:5.1f} x tokens"
        )


def timed(name: str, base: Base, work: Callable[[], Result]) -> Timed[Result]:
    """Runs the work and counts its seconds and tokens."""
    seen = 0

    def count(module: Any, args: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal seen
        seen += args[0].numel()

    handle = base.model.get_input_embeddings().register_forward_hook(count)
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    way = Timed(
        name=name,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        num_tokens=seen,
        result=result,
    )
    handle.remove()
    return way


def one_by_one(
    base: Base, prompts: Sequence[str], choices: Sequence[Sequence[str]], prefix: str, batch: int
) -> list[np.ndarray]:
    """Scores every choice by its whole text: `batch` texts at a time, padded on the right."""
    texts = [prefix + p + c for p, row in zip(prompts, choices, strict=True) for c in row]
    starts = [len(prefix + p) for p, row in zip(prompts, choices, strict=True) for _ in row]
    flat = []
    for at in range(0, len(texts), batch):
        encoded = base.tokenizer(texts[at : at + batch], return_offsets_mapping=True)
        rows = encoded["input_ids"]
        width = max(map(len, rows))
        token_BT = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.inference_mode():
            log_prob_BTV = base.model(token_BT, attention_mask=mask_BT).logits.log_softmax(-1)
        for number, row in enumerate(rows):
            start = starts[at + number]
            ends = [end for _, end in encoded["offset_mapping"][number]]
            first = next(place for place, end in enumerate(ends) if end > start)
            places = range(first, len(row))
            flat.append(sum(float(log_prob_BTV[number, p - 1, row[p]]) for p in places))
    ends = np.cumsum([len(row) for row in choices])
    return list(np.split(np.array(flat), ends[:-1]))


def compare(title: str, base: Base, items: Sequence[Item], prefix: str) -> None:
    """Prints the seconds and tokens of three ways to score the same items."""
    prompt = get_prompt("micro")
    prompts = [prompt.question(item) for item in items]
    choices = [prompt.choice_texts(item) for item in items]
    model, tokenizer = base.model, base.tokenizer
    ways = [
        timed(
            "one forward per choice", base, lambda: one_by_one(base, prompts, choices, prefix, 1)
        ),
        timed(
            f"same, {BATCH} to a batch",
            base,
            lambda: one_by_one(base, prompts, choices, prefix, BATCH),
        ),
        timed(
            "score_choices",
            base,
            lambda: score_choices(model, tokenizer, prompts, choices, prefix=prefix or None),
        ),
    ]
    ours = ways[-1]
    print(f"{title}: {len(items)} items, {sum(map(len, choices))} choices")
    for way in ways:
        pairs = zip(way.result, ours.result, strict=True)
        worst = max(float(np.abs(a - b).max()) for a, b in pairs)
        print(f"  {way.line(ours)}, difference {worst:.1e}")


def long_items(items: Sequence[Item], number: int) -> list[Item]:
    """Returns items whose question stands behind three others: several hundred tokens."""
    return [
        replace(item, question=" ".join(other.question for other in items[at : at + 4]))
        for at, item in enumerate(items[:number])
    ]


def generate_plainly(base: Base, texts: Sequence[str]) -> list[str]:
    """Continues texts with the library's own `generate`, padded on the left, in batches."""
    tokenizer, made = base.tokenizer, []
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    for at in range(0, len(texts), BATCH):
        encoded = tokenizer(list(texts[at : at + BATCH]), return_tensors="pt", padding=True)
        width = encoded["input_ids"].shape[1]
        with torch.inference_mode():
            token_BT = base.model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                stop_strings=["\n"],
                tokenizer=tokenizer,
            )
        made += tokenizer.batch_decode(token_BT[:, width:], skip_special_tokens=True)
    return [text.split("\n", 1)[0] for text in made]


def compare_generation(base: Base, items: Sequence[Item], prefix: str) -> None:
    """Prints the seconds and tokens of generation up to the end of a line."""
    prompt = get_prompt("micro")
    prompts = [prompt.question(item) for item in items]
    model, tokenizer = base.model, base.tokenizer

    def ours() -> list[str]:
        tokenized = tokenize_prompts(tokenizer, prompts, prefix)
        criteria = StoppingCriteria(max_new_tokens=MAX_NEW_TOKENS, stops=("\n",))
        made = generate_tokens(model, tokenizer, tokenized, criteria)
        return [one.text for one in made.generations]

    own = timed("generate", base, ours)
    peer = timed(
        f"transformers, {BATCH}",
        base,
        lambda: generate_plainly(base, [prefix + p for p in prompts]),
    )
    num_same = sum(a == b for a, b in zip(own.result, peer.result, strict=True))
    print(f"generation, {NUM_SHOTS}-shot: {len(items)} items, {num_same} texts the same")
    for way in (peer, own):
        print(f"  {way.line(own)}")


def main() -> None:
    """Prints all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=list(MICRO_MODELS)[-1], help="name or folder")
    parser.add_argument("--items", type=int, default=200, help="items of a comparison")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = load_base(resolve_model(BaseModelRef(name=options.model)), "float32", "none", "cpu")
    items = sorted(load_micro(), key=lambda item: item.id[::-1])  # mixes the numbers of steps
    test, shots = items[: options.items], items[-NUM_SHOTS:]
    prompt = get_prompt("micro")
    examples = [prompt.example(item, item.answer) for item in shots]
    prefix = prompt.separator.join([*examples, ""])
    compare("zero-shot", base, test, "")
    compare("zero-shot, long questions", base, long_items(items, options.items), "")
    compare(f"{NUM_SHOTS}-shot", base, test, prefix)
    compare_generation(base, test, prefix)


if __name__ == "__main__":
    main()
