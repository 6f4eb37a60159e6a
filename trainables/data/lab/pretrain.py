"""Remakes a micro base model: `python -m trainables.data.lab.pretrain --size l --out DIR`.

Writes the model and tokenizer in Hugging Face format, `pretraining.json` (loss over time) and the
training state. Needs a C++ compiler (torch.compile). The same seed, number of threads and kind of
host give the same weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast

from trainables.data.lab.documents import Sheet, draw_sheet
from trainables.data.lab.tokenizer import MAX_LENGTH, train_tokenizer
from trainables.data.lab.world import NamedRandom


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Shape and length of training of one base model."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    steps: int
    """Optimizer steps; every step sees TOKENS_PER_STEP tokens."""
    late_from: int
    """Step from which the text has more forms and states fewer totals on the way."""
    peak_lr: float


SIZES: dict[str, Size] = {
    "s": Size(hidden=48, layers=4, heads=4, ffn=128, steps=1250, late_from=1000, peak_lr=5e-3),
    "m": Size(hidden=80, layers=5, heads=4, ffn=216, steps=1250, late_from=1000, peak_lr=4e-3),
    "l": Size(hidden=128, layers=6, heads=4, ffn=352, steps=1500, late_from=1250, peak_lr=3e-3),
}
"""Six layers in the largest, for a chain of six steps; sizes by the time of a cell on one core."""

SEED = 20240117
TOKENS_PER_STEP = 8192
SHORT_CONTEXT, LONG_CONTEXT = 128, 1024
"""Tokens of a context. Early text is in short ones: faster on a CPU, and with many problems at the
beginning of a context, where a question will stand."""

LONG_EVERY = 3
"""Late text is in a long context at every third step, so that a prompt of many examples is in range
and a problem alone still is."""

RESULT_WEIGHT = 1.0
"""Loss = mean over all tokens + this times the mean over the stated totals, which are few."""

WARMUP_STEPS = 200
WEIGHT_DECAY = 0.05
BETAS = (0.9, 0.98)
CLIP_NORM = 1.0
LOG_EVERY = 50
SAVE_EVERY = 250
CURVE_FILE = "pretraining.json"
STATE_FILE = "training_state.safetensors"
IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainingBatch:
    """One step's contexts, each with BOS first."""

    tokens: torch.Tensor
    """Token ids [contexts, length]."""
    targets: torch.Tensor
    """The same, IGNORED where a context was filled up."""
    results: torch.Tensor
    """True where a token belongs to a stated total [contexts, length]."""


def new_model(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of that size; weights drawn from SEED."""
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.ffn,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def context_length(step: int, size: Size) -> int:
    """Tokens of a context at that step."""
    is_long = step >= size.late_from and step % LONG_EVERY == 0
    return LONG_CONTEXT if is_long else SHORT_CONTEXT


def learning_rate(step: int, peak: float) -> float:
    """Warm-up over WARMUP_STEPS, then the peak; nothing depends on the number of steps.

    So a longer run begins as a shorter one, and either can be resumed. A falling rate at the end
    was tried and left out: the base then takes a question in its own form worse to training.
    """
    return peak * min(1.0, (step + 1) / WARMUP_STEPS)


def batches(
    tokenizer: PreTrainedTokenizerFast, size: Size, num_steps: int, first: int = 0
) -> Iterator[PretrainingBatch]:
    """The pretraining data from step `first` on: fresh sheets at every step, one to a context."""
    for step in range(first, num_steps):
        length = context_length(step, size)
        draw = NamedRandom("pretrain", SEED, step)
        late = step >= size.late_from
        sheets = [draw_sheet(draw, length // 24, late) for _ in range(TOKENS_PER_STEP // length)]
        yield _encode(tokenizer, sheets, length)


def _encode(
    tokenizer: PreTrainedTokenizerFast, sheets: list[Sheet], length: int
) -> PretrainingBatch:
    shape = (len(sheets), length)
    tokens = np.full(shape, tokenizer.pad_token_id, dtype=np.int64)
    results = np.zeros(shape, dtype=bool)
    encodings = tokenizer.backend_tokenizer.encode_batch([sheet.text for sheet in sheets])
    for row, (sheet, encoding) in enumerate(zip(sheets, encodings, strict=True)):
        ids = encoding.ids[:length]
        tokens[row, : len(ids)] = ids
        inside = np.zeros(len(sheet.text) + 1, dtype=bool)
        for start, end in sheet.results:
            inside[start:end] = True
        last_chars = np.array([end - 1 for _, end in encoding.offsets[1:length]])
        results[row, 1 : len(ids)] = inside[last_chars]
    targets = np.where(tokens == tokenizer.pad_token_id, IGNORED, tokens)
    return PretrainingBatch(
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(targets),
        results=torch.from_numpy(results),
    )


def loss_parts(
    model: Callable[..., CausalLMOutputWithPast], batch: PretrainingBatch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean loss (nats per token) over all tokens, and over the stated totals alone."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch.tokens, use_cache=False).logits
    targets = batch.targets[:, 1:].flatten()
    losses = cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets, ignore_index=IGNORED, reduction="none"
    )
    is_result = batch.results[:, 1:].flatten()
    return losses.sum() / (targets != IGNORED).sum(), losses[is_result].mean()


def pretrain(size_name: str, out: Path, num_steps: int | None = None) -> None:
    """Trains one size and writes it, its tokenizer and its loss curve to `out`.

    Goes on from the state in `out` if there is one.

    Args:
        size_name: `s`, `m` or `l`.
        out: The folder to write to; made if it is not there.
        num_steps: Optimizer steps; default: those of the size.
    """
    size = SIZES[size_name]
    num_steps = num_steps or size.steps
    tokenizer = train_tokenizer()
    model = new_model(size, tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=size.peak_lr, betas=BETAS, weight_decay=WEIGHT_DECAY
    )
    curve = load_state(model, optimizer, out)
    first = int(curve[-1]["step"]) + 1 if curve else 0
    compiled = torch.compile(model, dynamic=False)
    started = time.monotonic()
    for step, batch in enumerate(batches(tokenizer, size, num_steps, first), start=first):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, size.peak_lr)
        # Materialised attention compiles to faster code on short contexts, fused on long ones.
        short = batch.tokens.shape[1] == SHORT_CONTEXT
        model.set_attn_implementation("eager" if short else "sdpa")
        total, results = loss_parts(compiled, batch)
        (total + RESULT_WEIGHT * results).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % LOG_EVERY == 0 or step == num_steps - 1:
            row = {"step": step, "loss": round(total.item(), 4)}
            row |= {"result_loss": round(results.item(), 4)}
            curve.append(row)
            print({**row, "seconds": round(time.monotonic() - started)}, flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step == num_steps - 1:
            save(model, tokenizer, curve, out)
            save_state(model, optimizer, out)


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    curve: list[dict[str, float]],
    out: Path,
) -> None:
    """Writes model, tokenizer and loss curve to `out` in Hugging Face format."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    lines = ",\n".join(json.dumps(row) for row in curve)
    (out / CURVE_FILE).write_text(f"[\n{lines}\n]\n")


def save_state(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, out: Path) -> None:
    """Writes the training state: weights and moments in full precision."""
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"weight/{name}"] = weight.detach()
        for key, value in optimizer.state[weight].items():
            tensors[f"{key}/{name}"] = value
    save_file(tensors, out / STATE_FILE)


def load_state(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, out: Path
) -> list[dict[str, float]]:
    """Puts the state in `out` into model and optimizer; returns the loss curve up to it."""
    if not (out / STATE_FILE).exists():
        return []
    tensors = load_file(out / STATE_FILE)
    for name, weight in model.named_parameters():
        weight.data.copy_(tensors[f"weight/{name}"])
        keys = ("step", "exp_avg", "exp_avg_sq")
        optimizer.state[weight] = {key: tensors[f"{key}/{name}"] for key in keys}
    curve: list[dict[str, float]] = json.loads((out / CURVE_FILE).read_text())
    return curve


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Pretrain a micro base model.")
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the size's)")
    arguments = parser.parse_args()
    pretrain(arguments.size, arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
