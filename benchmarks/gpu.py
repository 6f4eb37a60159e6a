"""Tokens per second and use of a GPU's peak, on a random Llama of 7 B parameters' shape.

Run: `python -m benchmarks.gpu [--shape 7b] [--items 160]`. Without a GPU it says so and ends,
unless the shape is `tiny`, which runs anywhere (its numbers mean nothing). The way of training and
scoring that a study uses is compared with peft and the plain `Trainer`, and with one text per
choice, in the same run. Questions have ARC's lengths: 20 to 50 tokens, four choices of 3 to 9.

A way's tokens are those of the texts that it reads, filler not counted: the question once an item
for ours, once a choice for the plain way. Model-FLOP utilisation is 4 P FLOP a token for LoRA
(forward and the states' gradient; 2 P for scoring), recomputation not counted, over the FLOP/s that
one large product in the same number format reaches here.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from benchmarks.lora_block import (
    PROMPT,
    ChoiceCollator,
    choice_scores,
    train_ours,
    train_plainly,
)
from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import AdapterTraining, LoRA, QLoRA
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.inference.scoring import score_choices
from trainables.methods.base.answering import tokenize_questions
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

SHAPES = {
    "7b": LlamaConfig(),  # its defaults are Llama-2 7B's
    "tiny": LlamaConfig(
        vocab_size=1024,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
    ),
}
NAIVE_BATCH = 32
"""Texts of a batch of the naive scorer."""


def make_items(number: int, words: Sequence[str]) -> list[Item]:
    """Returns items of ARC's lengths, made of words of one token each."""
    rng = random.Random(0)
    made = []
    for index in range(number):
        choices = {" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(8)}
        made.append(
            Item(
                id=f"item-{index:05d}",
                question=" ".join(rng.choices(words, k=rng.randint(20, 50))),
                choices=tuple(sorted(choices)[:4]),
                answer=rng.randrange(4),
            )
        )
    return made


def save_model(folder: Path, config: LlamaConfig, device: torch.device) -> list[str]:
    """Writes random weights with the lab's tokenizer; returns words of one token each."""
    tokenizer = AutoTokenizer.from_pretrained(next(iter(MICRO_MODELS.values())))
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    starts = (token for token in tokenizer.get_vocab() if token.startswith("\u0120"))
    return sorted(word[1:] for word in starts if word[1:].isalpha())


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the FLOP/s of one large matrix product here, the best of five."""
    size = 8192 if device.type == "cuda" else 1024
    left = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(seconds(lambda: left @ left, device) for _ in range(5))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Returns the wall-clock seconds of some work on the device."""
    for is_over in (False, True):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if not is_over:
            start = time.perf_counter()
            work()
    return time.perf_counter() - start


def naive_scores(base: Base, items: Sequence[Item]) -> None:
    """Scores every choice by its whole text, some to a batch, padded, in the order given."""
    collate = ChoiceCollator(base)
    with torch.inference_mode():
        for at in range(0, len(items), NAIVE_BATCH // 4):
            batch = collate([{"item": item} for item in items[at : at + NAIVE_BATCH // 4]])
            moved = {name: value.to(base.device) for name, value in batch.items()}
            choice_scores(base.model, moved).cpu()


def report(name: str, taken: float, num_tokens: int, flop_per_token: float, peak: float) -> None:
    """Prints one way's speed."""
    rate = num_tokens / taken
    used = 100 * rate * flop_per_token / peak
    print(f"{name:34} {taken:8.2f} s {rate:10.0f} tokens/s {used:6.1f} % of peak", flush=True)


def count_tokens(base: Base, items: Sequence[Item]) -> tuple[int, int]:
    """Returns the tokens of packed rows, and of one text per choice."""
    rows = tokenize_questions(base, items, PROMPT).items
    packed = sum(len(row.context) + sum(map(len, row.answers)) for row in rows)
    texts = sum(len(row.context) + len(answer) for row in rows for answer in row.answers)
    return packed, texts


def compare(
    title: str, base: Base, recipe: AdapterTraining, items: Sequence[Item], peak: float
) -> None:
    """Prints the speed of training and scoring, ours and the plain way."""
    num_parameters = base.model.num_parameters()
    packed, texts = count_tokens(base, items)
    train_ours(base, items[:32], 0, recipe)  # imports, kernels, memory
    train_plainly(base, items[:32], 0, recipe)
    epochs = recipe.epochs
    ways = (
        ("training, ours", lambda: train_ours(base, items, 1, recipe), epochs * packed, 4),
        (
            "training, peft + Trainer",
            lambda: train_plainly(base, items, 1, recipe),
            epochs * texts,
            4,
        ),
        ("scoring, ours", lambda: score(base, items), packed, 2),
        ("scoring, one text per choice", lambda: naive_scores(base, items), texts, 2),
    )
    taken = {}
    for name, work, num_tokens, factor in ways:
        taken[name] = seconds(work, base.device)
        report(f"{title}: {name}", taken[name], num_tokens, factor * num_parameters, peak)
    names = list(taken)
    print(f"{title}: training {taken[names[1]] / taken[names[0]]:.2f} x faster, ", end="")
    print(f"scoring {taken[names[3]] / taken[names[2]]:.2f} x")


def score(base: Base, items: Sequence[Item]) -> None:
    """Scores the items as a study does."""
    prompts = [PROMPT.question(item) for item in items]
    score_choices(
        base.model, base.tokenizer, prompts, [PROMPT.choice_texts(item) for item in items]
    )


def main() -> int:
    """Prints speeds of LoRA in 16 bits and QLoRA in 4; returns 0 where there is no GPU too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="7b", choices=tuple(SHAPES))
    parser.add_argument("--items", type=int, default=160)
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and arguments.shape != "tiny":
        print("no GPU: torch finds none here; --shape tiny shows that the script runs")
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    with tempfile.TemporaryDirectory() as folder:
        words = save_model(Path(folder), SHAPES[arguments.shape], device)
        items = make_items(arguments.items, words)
        peak = peak_flops(device, torch.bfloat16)
        print(f"{name}: {peak / 1e12:.1f} TFLOP/s in bfloat16, {len(items)} items, 3 epochs")
        for title, recipe in (("LoRA bf16", LoRA), ("QLoRA nf4", QLoRA)):
            source = resolve_model(BaseModelRef(name=folder))
            adapter = recipe(n_train=len(items))
            base = load_base(source, "bfloat16", adapter.quantization, device)
            compare(title, base, adapter, items, peak)
            del base
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
