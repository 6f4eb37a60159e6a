"""The scorer: log-probabilities of answer texts given prompts.

One forward pass scores all choices of many items: a shared prefix is encoded once per call, each
question once, with its choices side by side in one row (`trainables.inference.packing`). Only
positions that predict answer tokens are projected to the vocabulary, in fp32. Architectures that do
not support this are detected by comparing one item, and scored by one full text per choice.

A choice's score is the sum of its tokens' log-probabilities, or a normalization of it
(`trainables.inference.normalization`).

Shape legend: see `trainables.inference.packing`; V vocabulary, H hidden size.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerFast as Tokenizer

from trainables.data.items import Item
from trainables.distributed.sharded_model import first_workers
from trainables.inference.normalization import check_scoring, normalize_scores, tokenize_domain
from trainables.inference.packed_forward import (
    FULL,
    SLIDING,
    encode_shared,
    layer_kinds,
    packed_scores,
    plain_scores,
)
from trainables.inference.packing import build_batch, explode, plan_batches
from trainables.inference.tokenization import TokenizedItem, TokenizedItems, tokenize_items
from trainables.models.loading import Base
from trainables.models.oom import is_out_of_memory

CPU_TOKEN_BUDGET = 1024
"""Tokens of a batch, padding included: one core's cache holds a small model's states. From 4096 on,
every operation allocates new memory for its result, which costs as much as the computation."""

GPU_TOKEN_BUDGET = 16384
"""Enough to keep a GPU busy with a model of 7 B parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredItems:
    """Scores of one call."""

    log_probs: list[NDArray[np.float64]]
    """Per item, each choice's summed or normalized log-probability (in nats, or nats per token or
    character)."""
    notes: tuple[str, ...] = ()


def score_choices(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    prefix: str | None = None,
    token_budget: int | None = None,
    *,
    scoring: str = "sum",
    domain_prompt: str | None = None,
) -> list[NDArray[np.float64]]:
    """Returns, for each prompt, the summed log-probability of each of its choices.

    The text is `prefix + prompt + choice`, plain concatenation, tokenised as one string. The
    special tokens that the tokenizer adds are in front; there is no EOS. The tokens that overlap
    the choice's characters are summed.

    Args:
        model: A causal language model of transformers, in eval mode.
        tokenizer: Its fast tokenizer.
        prompts: One text per item.
        choices: Per item, its answer texts, including a leading space.
        prefix: Text in front of every prompt, encoded once.
        token_budget: Tokens of a batch; None: by kind of device. It changes the time, and in fp32
            the scores by less than 1e-4.
        scoring: `sum`, `per-token`, `per-char` or `pmi`; see
            `trainables.inference.normalization.normalize_scores`.
        domain_prompt: For `pmi`, the prompt without its question, such as `Answer:`; it follows the
            prefix too.

    Raises:
        ValueError: If choices are empty or equal, a text is longer than the model's context, the
            scoring is unknown, or `pmi` has no domain prompt.

    Warns:
        UserWarning: If the architecture is scored by one full forward per choice.
    """
    tokenized = tokenize_items(tokenizer, prompts, choices, prefix)
    domain = None
    if domain_prompt is not None:
        domain = tokenize_domain(tokenizer, domain_prompt, choices, prefix)
    scored = score_items(model, tokenized, scoring, domain=domain, token_budget=token_budget)
    for note in scored.notes:
        warnings.warn(note, stacklevel=2)
    return scored.log_probs


def score_items(
    model: PreTrainedModel,
    tokenized: TokenizedItems,
    scoring: str = "sum",
    *,
    domain: TokenizedItems | None = None,
    token_budget: int | None = None,
) -> ScoredItems:
    """Returns the items' scores.

    Args:
        model: A causal language model of transformers, in eval mode.
        tokenized: The items.
        scoring: `sum`, `per-token`, `per-char` or `pmi` (`normalize_scores`).
        domain: For `pmi`, the same choices after the prompt without its question
            (`trainables.inference.normalization.tokenize_domain`).
        token_budget: Tokens of a batch; None: by kind of device.

    Raises:
        ValueError: If a text is longer than the model's context, or as in `normalize_scores`.
    """
    check_scoring(scoring, has_domain=domain is not None)
    scored = score_tokens(model, tokenized, token_budget=token_budget)
    if scoring != "pmi" or domain is None:
        return replace(scored, log_probs=normalize_scores(scored.log_probs, tokenized, scoring))
    prior = score_tokens(model, domain, token_budget=token_budget)
    return ScoredItems(
        log_probs=normalize_scores(scored.log_probs, tokenized, scoring, prior.log_probs),
        notes=tuple(dict.fromkeys((*scored.notes, *prior.notes))),
    )


def score_tokens(
    model: PreTrainedModel, tokenized: TokenizedItems, *, token_budget: int | None = None
) -> ScoredItems:
    """Returns the items' scores, and a note if the architecture needs one pass per choice."""
    check_lengths(model, tokenized)
    if not tokenized.items:
        return ScoredItems(log_probs=[])
    token_budget = token_budget or default_token_budget(model)
    with torch.inference_mode():
        fault = find_packing_fault(model, tokenized)
        if fault is None:
            return ScoredItems(log_probs=_score_packed(model, tokenized, token_budget))
        note = f"scored by one full forward per choice: {fault}"
        return ScoredItems(log_probs=_score_plain(model, tokenized, token_budget), notes=(note,))


def default_token_budget(model: PreTrainedModel) -> int:
    """Returns how many tokens a batch holds on the model's device."""
    return CPU_TOKEN_BUDGET if model.device.type == "cpu" else GPU_TOKEN_BUDGET


def max_positions(model: PreTrainedModel) -> int | None:
    """Returns the longest context in tokens; None if the config has no limit."""
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def find_too_long(model: PreTrainedModel, tokenized: TokenizedItems) -> list[int]:
    """Returns the places of items that do not fit into the context with their longest choice."""
    limit = max_positions(model)
    return [
        place
        for place, item in enumerate(tokenized.items)
        if limit is not None and len(tokenized.shared) + item.longest > limit
    ]


def check_lengths(model: PreTrainedModel, tokenized: TokenizedItems) -> None:
    """Checks that every text fits into the model's context.

    Raises:
        ValueError: Naming the first item that does not fit.
    """
    for place in find_too_long(model, tokenized):
        length = len(tokenized.shared) + tokenized.items[place].longest
        raise ValueError(
            f"prompts[{place}]: with its longest choice it has {length} tokens, the model's "
            f"context holds {max_positions(model)}; leave examples out or use a model with a "
            "longer context"
        )


def check_context(base: Base, items: Sequence[Item], tokenized: TokenizedItems) -> None:
    """Checks, for items of a task, that their texts fit into the model's context.

    Raises:
        ValueError: Naming the first item that does not fit.
    """
    for place in find_too_long(base.model, tokenized):
        length = len(tokenized.shared) + tokenized.items[place].longest
        raise ValueError(
            f"item {items[place].id!r}: {length} tokens with its longest choice, the model's "
            f"context holds {max_positions(base.model)}; leave the item out or use a model with a "
            "longer context"
        )


def find_packing_fault(model: PreTrainedModel, tokenized: TokenizedItems) -> str | None:
    """Returns why the model cannot score packed rows; None if it can.

    Checks the architecture first, then scores one item both ways.
    """
    fault = structural_fault(model)
    if fault is not None or not tokenized.items:
        return fault
    one = TokenizedItems(shared=tokenized.shared, items=(max(tokenized.items, key=_telling),))
    with torch.inference_mode():
        try:
            packed = _score_packed(model, one, GPU_TOKEN_BUDGET)[0]
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            return f"{type(error).__name__} in a packed row: {error}"
        plain = _score_plain(model, one, GPU_TOKEN_BUDGET)[0]
    difference = _difference(np.abs(packed - plain), one.items[0], model.dtype)
    sizes = [difference, float(np.max(np.abs(plain)))]
    # Workers with shards of one model must take the same decision.
    worst, largest = first_workers(model, torch.tensor(sizes, dtype=torch.float64)).tolist()
    allowed = _tolerance(model) * max(1.0, largest / 10.0)
    if worst <= allowed:
        return None
    return f"a packed row differs by {worst:.2g} (allowed: {allowed:.2g}) on one item"


def _telling(item: TokenizedItem) -> tuple[bool, int]:
    """Orders items by how well they test packing: several answers of many tokens, then length."""
    return sum(len(answer) > 1 for answer in item.answers) > 1, item.longest


def structural_fault(model: PreTrainedModel) -> str | None:
    """Returns why the model cannot take explicit positions, masks and a cache; None if it can."""
    parameters = inspect.signature(model.forward).parameters
    missing = {"position_ids", "past_key_values", "attention_mask"} - set(parameters)
    if missing:
        return f"{type(model).__name__} takes no {', '.join(sorted(missing))}"
    other = set(layer_kinds(model)) - {FULL, SLIDING}
    return f"layers of kind {', '.join(sorted(other))}" if other else None


def _difference(
    difference_C: NDArray[np.float64], item: TokenizedItem, dtype: torch.dtype
) -> float:
    """Returns the largest difference of a choice; in 16 bits one that rounding rarely reaches.

    That is the upper median over choices of several tokens, without the first: all of them are
    wrong if a model does not support packed rows.
    """
    telling_T = [value for value, a in zip(difference_C, item.answers, strict=True) if len(a) > 1]
    if dtype == torch.float32 or len(telling_T) < 2:
        return float(difference_C.max())
    return float(np.sort(telling_T[1:])[len(telling_T[1:]) // 2])


def _tolerance(model: PreTrainedModel) -> float:
    """Returns the largest difference that rounding in the number format explains."""
    if getattr(model.config, "quantization_config", None) is not None:
        return 0.25
    return 1e-4 if model.dtype == torch.float32 else 0.1


def _score_packed(
    model: PreTrainedModel, tokenized: TokenizedItems, token_budget: int
) -> list[NDArray[np.float64]]:
    scores: list[NDArray[np.float64]] = [np.empty(0)] * len(tokenized.items)
    shared = encode_shared(model, tokenized.shared)
    for indices in plan_batches(tokenized, token_budget):
        batch = build_batch(tokenized, indices, model.device)
        score_A = packed_scores(model, batch, shared).double().cpu()
        for index, score in zip(indices, score_A.split(batch.num_answers), strict=True):
            scores[index] = score.numpy()
    return scores


def _score_plain(
    model: PreTrainedModel, tokenized: TokenizedItems, token_budget: int
) -> list[NDArray[np.float64]]:
    """Returns the scores by one full text per choice, which is right for every causal model.

    Padding is on the right, where no text attends to it, whatever the tokenizer's side.
    """
    texts = explode(tokenized)
    flat = np.empty(len(texts.items))
    for indices in plan_batches(texts, token_budget):
        batch = build_batch(texts, indices, model.device)
        flat[indices] = plain_scores(model, batch).double().cpu().numpy()
    ends = np.cumsum([len(item.answers) for item in tokenized.items])
    return [np.ascontiguousarray(row) for row in np.split(flat, ends[:-1])]
