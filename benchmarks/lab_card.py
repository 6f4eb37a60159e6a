"""Writes the models' card and passed checks: `python -m benchmarks.lab_card`.

Measures the shipped weights zero-shot and with eight examples by a plain scorer of its own, one
row per choice, so that the card does not rest on the product's scorer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import log_softmax
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from search_spaces.base_models import BaseModelRef
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS, MODELS, PASSED_CHECKS
from trainables.data.lab.pretrain import CURVE_FILE, NUM_STEPS, SIZES, TOKENS_PER_STEP
from trainables.data.lab.world import MAX_STEPS, NamedRandom
from trainables.data.tasks.questions.micro import load_micro
from trainables.models.check import check_model
from trainables.models.passed_checks import key_of
from trainables.models.resolve import resolve_model

NUM_TEST = 200
"""Items for each number of steps that are measured: the last ones by id."""

NUM_PROMPTS = 3
NUM_EXAMPLES = 8
ITEMS_PER_BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base model with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def accuracy_by_steps(base: Base, items: tuple[Item, ...], prompt: str) -> list[float]:
    """Accuracy (a share) for 1 to 6 steps, by the largest summed log-probability.

    Args:
        base: The model that scores.
        items: What is scored.
        prompt: Worked examples that stand before each question; may be empty.
    """
    ids = torch.tensor([base.tokenizer(prompt).input_ids])
    with torch.no_grad():
        prefix = base.model(input_ids=ids, use_cache=True).past_key_values
    right = [0] * MAX_STEPS
    ordered = sorted(items, key=lambda item: len(item.question))
    for first in range(0, len(ordered), ITEMS_PER_BATCH):
        chunk = ordered[first : first + ITEMS_PER_BATCH]
        for item, predicted in zip(chunk, _predict(base, chunk, prefix), strict=True):
            right[int(item.hardness["steps"]) - 1] += predicted == item.answer
    return [count * MAX_STEPS / len(items) for count in right]


def _predict(base: Base, items: list[Item], prefix: DynamicCache) -> list[int]:
    rows = [_row(base, item, choice) for item in items for choice in item.choices]
    length = max(len(question) + len(answer) for question, answer in rows)
    tokens = torch.full((len(rows), length), base.tokenizer.pad_token_id)
    scored = torch.zeros((len(rows), length), dtype=torch.bool)
    for place, (question, answer) in enumerate(rows):
        end = len(question) + len(answer)
        tokens[place, :end] = torch.tensor(question + answer)
        scored[place, len(question) : end] = True
    cache = DynamicCache()
    for place, layer in enumerate(prefix.layers):
        shape = (len(rows), -1, -1, -1)
        cache.update(layer.keys.expand(shape), layer.values.expand(shape), place)
    with torch.no_grad():
        logits = base.model(input_ids=tokens, past_key_values=cache).logits
    log_probs = log_softmax(logits[:, :-1].float(), dim=-1)
    taken = log_probs.gather(2, tokens[:, 1:, None])[:, :, 0]
    sums = (taken * scored[:, 1:]).sum(dim=1).view(len(items), -1)
    return [int(place) for place in sums.argmax(dim=1)]


def _row(base: Base, item: Item, choice: str) -> tuple[list[int], list[int]]:
    question = base.tokenizer(_question(item), add_special_tokens=False).input_ids
    return question, base.tokenizer(f" {choice}", add_special_tokens=False).input_ids


def _question(item: Item) -> str:
    return f"{item.question}\nAnswer:"


def measure(folder: Path) -> dict[str, list[float]]:
    """Accuracy by steps of the weights in `folder`: `zero-shot` and `8-shot` (mean of prompts)."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    base = Base(model=model, tokenizer=tokenizer)
    by_steps: dict[float, list[Item]] = {}
    for item in load_micro():
        by_steps.setdefault(item.hardness["steps"], []).append(item)
    test = tuple(item for items in by_steps.values() for item in items[-NUM_TEST:])
    others = [item for items in by_steps.values() for item in items[:-NUM_TEST]]
    many = []
    for number in range(NUM_PROMPTS):
        examples = NamedRandom("card", number).shuffled(others)[:NUM_EXAMPLES]
        worked = [f"{_question(item)} {item.choices[item.answer]}\n\n" for item in examples]
        many.append(accuracy_by_steps(base, test, "".join(worked)))
    mean = [sum(values) / NUM_PROMPTS for values in zip(*many, strict=True)]
    return {"zero-shot": accuracy_by_steps(base, test, ""), "8-shot": mean}


def write_card(measured: Mapping[str, Mapping[str, list[float]]], target: Path) -> None:
    """Writes the card with what was measured (model -> way -> accuracy by steps)."""
    template = (Path(__file__).parent / "lab_card_template.md").read_text()
    weights, accuracies = [], []
    for name, folder in MICRO_MODELS.items():
        size = SIZES[name.removeprefix("micro-")]
        model = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False
        )
        curve = json.loads((folder / CURVE_FILE).read_text())
        last = curve[-3:]
        losses = [sum(row[key] for row in last) / len(last) for key in ("loss", "result_loss")]
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        weights.append(
            f"| `{name}` | {model.num_parameters():,} | {size.layers} x {size.hidden} | "
            f"{NUM_STEPS:,} | {NUM_STEPS * TOKENS_PER_STEP / 1e6:.1f} M | "
            f"{losses[0]:.3f} | {losses[1]:.3f} | `{digest}` |"
        )
        for way, values in measured[name].items():
            cells = " | ".join(f"{100 * value:.1f}" for value in values)
            accuracies.append(f"| `{name}` | {way} | {cells} |")
    filled = template.replace("{weights}", "\n".join(weights))
    target.write_text(filled.replace("{accuracies}", "\n".join(accuracies)))


def write_passed_checks() -> None:
    """Checks every shipped model and writes the outcomes, which plans then rely on."""
    outcomes = {}
    for name in MICRO_MODELS:
        source = resolve_model(BaseModelRef(name=name))
        outcomes[key_of(source.content)] = asdict(check_model(source))
    PASSED_CHECKS.write_text(json.dumps(outcomes, indent=2) + "\n")


def main() -> None:
    """Checks and measures every shipped model, and writes the outcomes next to them."""
    torch.set_num_threads(1)
    write_passed_checks()
    measured = {name: measure(folder) for name, folder in MICRO_MODELS.items()}
    write_card(measured, MODELS / "README.md")


if __name__ == "__main__":
    main()
