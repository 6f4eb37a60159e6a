"""A block of LoRA cells, timed against the plain way: peft and the `Trainer` of transformers.

Run: `python -m benchmarks.lora_block [--cells 20] [--size l] [--plain 20] [--processes 2]`.

Plain: every cell in one process puts peft's adapter on the model and lets a `Trainer` run epochs of
random batches, each choice a text of its own, padded to the batch's longest; its loss is the
multiple-choice cross-entropy over the choices' summed log-probabilities. The hyper-parameters are
ours. One process a cell: the same script started anew for every cell, as command-line tools do; the
seconds of a few are measured and scaled to the block. Training only: scoring is
`benchmarks.scoring`'s. One thread. Losses of the last updates are printed, because both ways must
learn the same.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from search_spaces.base_models import BaseModelRef
from search_spaces.cell import Cell
from search_spaces.recipes import LoRA
from trainables.data.items import Item
from trainables.data.lab.base_models import MICRO_MODELS
from trainables.data.prompts.formats import get_prompt
from trainables.data.seeding import draw_ids, ids_hash
from trainables.data.tasks.questions.micro import load_micro
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import CellContext, Example
from trainables.methods.dispatch import fit
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

PROMPT = get_prompt("micro")
RECIPE = LoRA(learning_rate=1e-3)
Losses = list[float]


def load(size: str) -> Base:
    """Returns a base of the lab on one core."""
    torch.set_num_threads(1)
    name = next(name for name in MICRO_MODELS if name.endswith(f"micro-{size}"))
    return load_base(resolve_model(BaseModelRef(name=name)), "float32", "none", "cpu")


def items_of(items: Sequence[Item], seed: int) -> list[Item]:
    """Returns the labelled items of a cell."""
    by_id = {item.id: item for item in items}
    return [by_id[id_] for id_ in draw_ids(by_id, RECIPE.n_train, "benchmark", seed)]


def train_ours(base: Base, labelled: Sequence[Item], seed: int, recipe: LoRA = RECIPE) -> Losses:
    """Trains a cell as a study does and returns the loss of every update."""
    losses: Losses = []
    with fit(setting_of(labelled, seed, recipe, losses), base, examples_of(labelled)):
        return losses


def setting_of(labelled: Sequence[Item], seed: int, recipe: LoRA, losses: Losses) -> CellContext:
    """Returns the setting of a cell that adds its losses to a list."""
    cell = Cell(
        model="benchmark",
        dtype="float32",
        task="micro",
        data_hash="d",
        split_hash="s",
        prompt=PROMPT.hash,
        recipe=recipe,
        version=1,
        training_hash=ids_hash(item.id for item in labelled),
        seed=seed,
    )
    return CellContext(
        cell=cell,
        prompt=PROMPT,
        items=tuple(labelled),
        states=StateCache(),
        log=lambda row: losses.append(row["loss"]),
    )


def examples_of(labelled: Sequence[Item]) -> list[Example]:
    """Returns the items with their gold labels."""
    return [Example(item=item, answer=item.answer) for item in labelled]


class ChoiceCollator:
    """Makes a batch of items into padded texts, one per choice."""

    def __init__(self, base: Base) -> None:
        self.tokenizer = base.tokenizer
        self.bos = [base.tokenizer.bos_token_id]

    def __call__(self, rows: list[dict[str, Item]]) -> dict[str, Tensor]:
        """Returns token ids, masks and targets: -100 where no answer token is predicted."""
        texts, starts = [], []
        for row in rows:
            question = PROMPT.question(row["item"])
            texts += [question + choice for choice in PROMPT.choice_texts(row["item"])]
            starts += [len(question)] * len(row["item"].choices)
        encoded = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        width = 1 + max(map(len, encoded["input_ids"]))
        ids = torch.zeros(len(texts), width, dtype=torch.long)
        mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
        for place, (tokens, offsets, start) in enumerate(
            zip(encoded["input_ids"], encoded["offset_mapping"], starts, strict=True)
        ):
            ids[place, : 1 + len(tokens)] = torch.tensor(self.bos + tokens)
            mask[place, : 1 + len(tokens)] = 1
            for column, (token, (_, end)) in enumerate(zip(tokens, offsets, strict=True), 1):
                if end > start:
                    targets[place, column] = token
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "targets": targets,
            "answers": torch.tensor([row["item"].answer for row in rows]),
        }


def choice_scores(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Returns the items' choices' log-probabilities, [B, C]; every item has equally many."""
    logits = model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    ).logits.float()
    targets = inputs["targets"][:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), targets, reduction="none", ignore_index=-100
    )
    return -losses.sum(dim=1).view(len(inputs["answers"]), -1)


def train_plainly(base: Base, labelled: Sequence[Item], seed: int, recipe: LoRA = RECIPE) -> Losses:
    """Trains a cell with peft and a `Trainer` and returns the loss of every update."""
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainingArguments

    class ChoiceTrainer(Trainer):  # type: ignore[misc]
        """A trainer with the multiple-choice loss."""

        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Tensor:
            """Returns the batch's loss."""
            scores = choice_scores(model, inputs)
            return torch.nn.functional.cross_entropy(scores, inputs["answers"])

    adapted = get_peft_model(
        base.model,
        LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = ChoiceTrainer(
            model=adapted,
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=recipe.batch_size,
                num_train_epochs=recipe.epochs,
                learning_rate=recipe.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=2,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                remove_unused_columns=False,
                disable_tqdm=True,
                use_cpu=base.device.type == "cpu",
                bf16=base.device.type != "cpu",
                seed=seed,
            ),
            train_dataset=[{"item": item} for item in labelled],
            data_collator=ChoiceCollator(base),
        )
        trainer.train()
    adapted.unload()
    base.model.requires_grad_(False)
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def timed_cells(name: str, train: Any, base: Base, items: Sequence[Item], number: int) -> float:
    """Trains so many cells, prints what it took, and returns processor seconds per cell."""
    wall, cpu = time.perf_counter(), time.process_time()
    last = []
    for seed in range(number):
        losses = train(base, items_of(items, seed), seed)
        last.append(sum(losses[-5:]) / 5)
    wall, cpu = (time.perf_counter() - wall) / number, (time.process_time() - cpu) / number
    print_row(name, number, wall, cpu, sum(last) / number)
    return cpu


def print_row(name: str, number: int, wall: float, cpu: float, loss: float) -> None:
    """Prints seconds a cell and the mean loss of the last five updates."""
    cells = f"{name:34} {number:3} cells"
    print(f"{cells}  {wall:7.2f} s a cell  {cpu:7.2f} processor s  loss {loss:.3f}", flush=True)


def seconds_of_process(size: str, seed: int) -> tuple[float, float]:
    """Returns wall-clock and processor seconds of one cell in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.lora_block", "--one", str(seed), "--size", size]
    wall, cpu = time.perf_counter(), _children_s()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - wall, _children_s() - cpu


def _children_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Prints seconds and ratios; returns 1 if a ratio is below its target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--plain", type=int, help="plain cells to time; default: as many as ours")
    parser.add_argument("--size", default="l", choices=("s", "m", "l"))
    parser.add_argument("--processes", type=int, default=2, help="processes to measure")
    parser.add_argument("--one", type=int, help="train this seed's cell plainly and end")
    arguments = parser.parse_args()
    base, items = load(arguments.size), load_micro()
    if arguments.one is not None:
        train_plainly(base, items_of(items, arguments.one), arguments.one)
        return 0
    train_ours(base, items_of(items, 0), 0)  # imports peft, for both
    print(f"micro-{arguments.size}, {RECIPE.n_train} items, {RECIPE.epochs} epochs, one thread")
    ours = timed_cells("ours", train_ours, base, items, arguments.cells)
    number = arguments.plain or arguments.cells
    plain = timed_cells("peft + Trainer, one process", train_plainly, base, items, number)
    measured = [seconds_of_process(arguments.size, seed) for seed in range(arguments.processes)]
    wall = sum(row[0] for row in measured) / len(measured)
    process = sum(row[1] for row in measured) / len(measured)
    print(
        f"{'peft + Trainer, one process a cell':34} {len(measured):3} cells  {wall:7.2f} s a cell  "
        f"{process:7.2f} processor s  (scaled to {arguments.cells})"
    )
    print(f"one process / ours: {plain / ours:.2f} x (target 1.5)")
    print(f"one process a cell / ours: {process / ours:.2f} x (target 10)")
    return int(plain < 1.5 * ours or process < 10 * ours)


if __name__ == "__main__":
    sys.exit(main())
