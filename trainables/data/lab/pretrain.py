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

from trainables.data.lab.documents import Episode, draw_episode
from trainables.data.lab.tokenizer import MAX_LENGTH, train_tokenizer
from trainables.data.lab.world import NamedRandom


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Shape of one base model."""

    hidden: int
    layers: int
    heads: int
    ffn: int


SIZES: dict[str, Size] = {
    "s": Size(hidden=64, layers=2, heads=4, ffn=176),
    "m": Size(hidden=96, layers=5, heads=4, ffn=256),
    "l": Size(hidden=160, layers=8, heads=4, ffn=432),
}
"""Each has four times the parameters of the one before and is deeper; all are trained alike. Depth
decides how long a chain a model can follow (docs/design/lab.md)."""

SEED = 20240117
NUM_STEPS = 2000
"""Optimizer steps; every step sees TOKENS_PER_STEP tokens."""

EARLY_STEPS = 1000
"""Steps of early text (`documents.draw_episode`)."""

TOKENS_PER_STEP = 8192
SHORT_CONTEXT, LONG_CONTEXT = 128, 768
"""Tokens of a context. Short ones are faster on a CPU and have many problems at their beginning,
where a question will stand."""

LONG_EVERY = 3
"""Late text is in a long context at every third step, so that a prompt of eight examples is in
range and a problem alone still is."""

RESULT_WEIGHT = 2.0
"""Loss = mean over all tokens + this times the mean over the stated totals, which are few."""

MUON_RATE = 0.02
"""Peak learning rate of the weight matrices (Muon, https://kellerjordan.github.io/posts/muon)."""

ADAM_RATE = 5e-3
"""Peak learning rate of the embeddings and norms (AdamW)."""

WARMUP_STEPS = 50
DECAY_SHARE = 0.3
"""Share of the steps, at the end, over which the learning rate falls linearly to zero."""

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


def context_length(step: int) -> int:
    """Tokens of a context at that step."""
    is_long = step >= EARLY_STEPS and step % LONG_EVERY == 0
    return LONG_CONTEXT if is_long else SHORT_CONTEXT


def learning_rate(step: int, num_steps: int) -> float:
    """Share of the peak: linear warm-up, constant, linear decay over the last DECAY_SHARE."""
    warm_up = (step + 1) / WARMUP_STEPS
    decay = (num_steps - step) / (DECAY_SHARE * num_steps)
    return min(1.0, warm_up, decay)


def batches(
    tokenizer: PreTrainedTokenizerFast, num_steps: int, first: int = 0
) -> Iterator[PretrainingBatch]:
    """The pretraining data from step `first` on: fresh episodes, one to a context."""
    for step in range(first, num_steps):
        length = context_length(step)
        draw = NamedRandom("pretrain", SEED, step)
        early = step < EARLY_STEPS
        episodes = [draw_episode(draw, length, early) for _ in range(TOKENS_PER_STEP // length)]
        yield _encode(tokenizer, episodes, length)


def _encode(
    tokenizer: PreTrainedTokenizerFast, episodes: list[Episode], length: int
) -> PretrainingBatch:
    shape = (len(episodes), length)
    tokens = np.full(shape, tokenizer.pad_token_id, dtype=np.int64)
    results = np.zeros(shape, dtype=bool)
    encodings = tokenizer.backend_tokenizer.encode_batch([episode.text for episode in episodes])
    for row, (episode, encoding) in enumerate(zip(episodes, encodings, strict=True)):
        ids = encoding.ids[:length]
        tokens[row, : len(ids)] = ids
        inside = np.zeros(len(episode.text) + 1, dtype=bool)
        for start, end in episode.results:
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


def new_optimizers(model: LlamaForCausalLM) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the weight matrices of the layers, AdamW for embeddings and norms."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return (
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=BETAS, weight_decay=0.0),
    )


def pretrain(size_name: str, out: Path, num_steps: int = NUM_STEPS) -> None:
    """Trains one size and writes it, its tokenizer and its loss curve to `out`.

    Continues from the state in `out` if there is one.

    Args:
        size_name: A key of SIZES.
        out: The folder to write to; made if it does not exist.
        num_steps: Optimizer steps; the same in every run that continues.
    """
    tokenizer = train_tokenizer()
    model = new_model(SIZES[size_name], tokenizer)
    optimizers = new_optimizers(model)
    curve = load_state(model, optimizers, out)
    first = int(curve[-1]["step"]) + 1 if curve else 0
    compiled = torch.compile(model, dynamic=False)
    started = time.monotonic()
    for step, batch in enumerate(batches(tokenizer, num_steps, first), start=first):
        # Materialised attention compiles to faster code on short contexts, fused on long ones.
        short = batch.tokens.shape[1] == SHORT_CONTEXT
        model.set_attn_implementation("eager" if short else "sdpa")
        total, results = loss_parts(compiled, batch)
        (total + RESULT_WEIGHT * results).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        update(optimizers, learning_rate(step, num_steps))
        is_last = step == num_steps - 1
        if (step + 1) % LOG_EVERY == 0 or is_last:
            row = {"step": step, "loss": round(total.item(), 4)}
            row |= {"result_loss": round(results.item(), 4)}
            curve.append(row)
            print({**row, "seconds": round(time.monotonic() - started)}, flush=True)
        if (step + 1) % SAVE_EVERY == 0 or is_last:
            save(model, tokenizer, curve, out)
            save_state(model, optimizers, out)


def update(optimizers: tuple[torch.optim.Optimizer, ...], share: float) -> None:
    """Takes one step at that share of the peak learning rates, and clears the gradients."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share * optimizer.defaults["lr"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


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


def save_state(
    model: LlamaForCausalLM, optimizers: tuple[torch.optim.Optimizer, ...], out: Path
) -> None:
    """Writes the training state: weights and moments in full precision."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    tensors = {f"weight/{name}": weight.detach() for name, weight in model.named_parameters()}
    for optimizer in optimizers:
        for weight, state in optimizer.state.items():
            for key, value in state.items():
                tensors[f"{key}/{names[id(weight)]}"] = value
    save_file(tensors, out / STATE_FILE)


def load_state(
    model: LlamaForCausalLM, optimizers: tuple[torch.optim.Optimizer, ...], out: Path
) -> list[dict[str, float]]:
    """Restores model and optimizers from `out`; returns the loss curve up to that state."""
    if not (out / STATE_FILE).exists():
        return []
    weights = dict(model.named_parameters())
    owners = {
        id(weight): optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    for path, value in load_file(out / STATE_FILE).items():
        key, name = path.split("/", 1)
        weight = weights[name]
        if key == "weight":
            weight.data.copy_(value)
        else:
            owners[id(weight)].state[weight][key] = value
    curve: list[dict[str, float]] = json.loads((out / CURVE_FILE).read_text())
    return curve


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Pretrain a micro base model.")
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="optimizer steps")
    arguments = parser.parse_args()
    pretrain(arguments.size, arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
