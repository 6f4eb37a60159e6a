"""Trains a policy by direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290).

The loss and the loop are trl's. What is ours keeps them in their place: one process, no files that
stay, no gradient checkpointing, and the process's random states and environment as they were.
"""

from __future__ import annotations

import copy
import os
import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast as Tokenizer

from trainables.data.items import Item
from trainables.data.seeding import seed_of
from trainables.methods.base.interface import Log, Prompt
from trainables.methods.dpo.candidates import LabelledPair
from trainables.methods.training.adapters import own_randomness
from trainables.models.loading import Base, quiet_bitsandbytes
from trainables.models.text_layers import target_layers
from trainables.models.text_start import starting_with

WORKER_GROUP_VARIABLES = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
"""What a worker group sets. Hidden from the trainer: every worker trains policies of its own."""

WARM_UP = 0.1
"""Share of the updates over which the learning rate rises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DPOSettings:
    """Hyper-parameters of one policy's training."""

    beta: float = 0.1
    """Weight of staying near the base, above 0: the loss is -log sigmoid(beta * difference of the
    log-ratios); 0.1 is the paper's default."""
    learning_rate: float = 1e-4
    """Peak; linear warm-up over the first tenth of the updates, then linear decay to 0. An adapter
    wants about ten times as much."""
    epochs: int = 3
    batch_size: int = 16
    """Pairs of an update."""
    rank: int | None = None
    """Of a LoRA adapter on all linear layers; None: all weights are trained, which for models as
    small as the lab's takes a third of the time."""
    alpha: float = 32.0
    """LoRA scale: the update is multiplied by alpha / rank."""
    max_grad_norm: float = 1.0


def train_policy(
    base: Base,
    pairs: Sequence[LabelledPair],
    prompt: Prompt,
    settings: DPOSettings,
    *names: str | int,
    log: Log = lambda row: None,
) -> Base:
    """Returns a policy trained on the pairs; the base is its start and its reference.

    Args:
        base: Stays as it is; in float32 or bfloat16, the format of the policy that is returned.
        pairs: Answers in the order of a preference; their order in the sequence is no matter.
        prompt: How a question becomes the text that an answer follows.
        settings: Hyper-parameters.
        names: Name the draws (study seed, seed, whose labels): adapter and order of the pairs.
        log: Receives `step` and `loss` of every update.

    Raises:
        ValueError: If there are no pairs.
    """
    if not pairs:
        raise ValueError(
            "no pairs to train a policy on: the samples hold no two different answers, or the "
            "scorer sees them all as ties; sample more questions or raise the temperature"
        )
    quiet_bitsandbytes()
    seed = seed_of("dpo", *names) % 2**32  # numpy takes no larger seeds
    ordered = sorted(pairs, key=lambda pair: pair.id)
    with _undisturbed(base.device, seed), tempfile.TemporaryDirectory() as folder:
        tokenizer = starting_with(base.tokenizer, base.start_of(prompt))
        rows = _rows(ordered, prompt)
        model = _trained(base, tokenizer, rows, settings, seed, folder, log)
    policy = copy.deepcopy(base.model)
    policy.load_state_dict(model.state_dict())
    return replace(base, model=policy.eval().requires_grad_(False))


def _rows(pairs: Sequence[LabelledPair], prompt: Prompt) -> Any:
    """Returns trl's dataset. Every answer ends with a line end: that is where it is cut."""
    from datasets import Dataset

    rows = []
    for pair in pairs:
        item = Item(
            id=pair.id, question=pair.question, choices=(pair.chosen, pair.rejected), answer=0
        )
        rows.append(
            {
                "prompt": prompt.prompt(item),
                "chosen": f"{prompt.target(item, 0)}\n",
                "rejected": f"{prompt.target(item, 1)}\n",
            }
        )
    return Dataset.from_list(rows)


def _trained(
    base: Base,
    tokenizer: Tokenizer,
    rows: Any,
    settings: DPOSettings,
    seed: int,
    folder: str,
    log: Log,
) -> PreTrainedModel:
    from transformers import PrinterCallback
    from trl import DPOTrainer

    is_adapter = settings.rank is not None
    trainer = DPOTrainer(
        # Weights are stepped in fp32; passes over a bf16 base's copies are cast, operation by
        # operation. The reference takes the same passes: before the first update the two agree.
        model=copy.deepcopy(base.model).float().requires_grad_(True),
        # An adapter is switched off to get the reference.
        ref_model=None if is_adapter else copy.deepcopy(base.model).float(),
        args=_config(settings, seed, folder, base),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=_adapter(settings, base.model) if is_adapter else None,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for row in trainer.state.log_history:
        if "loss" in row:
            log({"step": float(row["step"]), "loss": float(row["loss"])})
    model: Any = trainer.model
    return model.merge_and_unload() if is_adapter else model


def _config(settings: DPOSettings, seed: int, folder: str, base: Base) -> Any:
    from trl import DPOConfig

    return DPOConfig(
        output_dir=folder,
        seed=seed,
        beta=settings.beta,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=WARM_UP,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        max_grad_norm=settings.max_grad_norm,
        max_length=None,
        use_cpu=base.device.type == "cpu",
        bf16=base.model.dtype == torch.bfloat16,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )


def _adapter(settings: DPOSettings, model: PreTrainedModel) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        **target_layers(model, "all-linear"),
        task_type="CAUSAL_LM",
    )


@contextmanager
def _undisturbed(device: torch.device, seed: int) -> Iterator[None]:
    """Puts back what trl's trainer changes of the process: random states and the environment."""
    import datasets
    from accelerate.state import AcceleratorState

    # Whoever draws from the global generators afterwards draws what they would have drawn.
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    shows_bars = not datasets.utils.are_progress_bars_disabled()
    hidden = {name: os.environ.pop(name) for name in WORKER_GROUP_VARIABLES if name in os.environ}
    datasets.disable_progress_bars()
    try:
        with own_randomness(device, seed), warnings.catch_warnings():
            # Of names that trl and transformers have for one another; nobody here can mend them.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shows_bars:
            datasets.enable_progress_bars()
        os.environ.update(hidden)
        AcceleratorState._reset_state(reset_partial_state=True)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
