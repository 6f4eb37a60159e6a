"""Samples texts from a policy, with separate random numbers for every prompt.

A prompt's samples depend on the policy, the names of the draw and the prompt's id, not on other
prompts or a global generator. Policies that sample under the same names share their random numbers,
so their rewards are compared with less noise.

Shape legend: B prompts of a batch, S samples of a prompt, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from trainables.data.seeding import seed_of
from trainables.inference.generation import tokenize_prompts
from trainables.models.loading import Base

PROMPTS_PER_BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How texts are sampled."""

    num_samples: int = 4
    """Texts per prompt, at least 1."""
    temperature: float = 1.0
    """Divisor of the logits, at least 0; 0 takes the most likely token."""
    max_new_tokens: int = 6
    """Tokens per text, at least 1; a text also ends at an end token. The lab's longest
    answers have 4 tokens and a line end."""

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.max_new_tokens < 1:
            raise ValueError(
                "num_samples and max_new_tokens must be at least 1, got "
                f"{self.num_samples} and {self.max_new_tokens}"
            )
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be at least 0, got {self.temperature}")


def sample_texts(
    policy: Base,
    prompts: Mapping[str, str],
    sampling: Sampling,
    *names: str | int,
    start: Sequence[int] | None = None,
    end: int | None = None,
) -> dict[str, tuple[str, ...]]:
    """Returns texts that the policy generates after each prompt.

    Args:
        policy: The model and its tokenizer.
        prompts: Id -> prompt.
        sampling: How texts are sampled.
        names: Name the draw (study seed, purpose).
        start: Tokens in front of every prompt; None: those that the tokenizer adds itself.
        end: Token that ends a text, as the tokenizer's EOS always does; None: only that.

    Returns:
        Id -> num_samples texts, without the prompt and without special tokens.
    """
    tokenized = tokenize_prompts(policy.tokenizer, list(prompts.values()), start=start)
    rows = dict(zip(prompts, tokenized.rows, strict=True))
    ordered = sorted(prompts, key=lambda id_: (len(rows[id_]), id_))
    texts: dict[str, tuple[str, ...]] = {}
    for first in range(0, len(ordered), PROMPTS_PER_BATCH):
        ids = ordered[first : first + PROMPTS_PER_BATCH]
        number_BST = torch.stack([_random_numbers(id_, sampling, *names) for id_ in ids])
        with torch.no_grad():
            tokens_BST = _sample_batch(policy, [rows[id_] for id_ in ids], number_BST, sampling)
        for id_, tokens_ST in zip(ids, tokens_BST, strict=True):
            texts[id_] = tuple(_decode(policy, tokens_T.tolist(), end) for tokens_T in tokens_ST)
    return {id_: texts[id_] for id_ in prompts}


def _random_numbers(id_: str, sampling: Sampling, *names: str | int) -> Tensor:
    """Returns numbers in [0, 1), [S, T]."""
    generator = torch.Generator().manual_seed(seed_of("sample", *names, id_))
    shape = (sampling.num_samples, sampling.max_new_tokens)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _sample_batch(
    policy: Base, ids: Sequence[list[int]], number_BST: Tensor, sampling: Sampling
) -> Tensor:
    """Returns the sampled tokens, [B, S, T]."""
    num_prompts, num_samples, num_tokens = number_BST.shape
    longest = max(map(len, ids))
    filler = [longest - len(row) for row in ids]
    tokens = torch.tensor([[0] * n + row for n, row in zip(filler, ids, strict=True)])
    mask = torch.tensor([[0] * n + [1] * len(row) for n, row in zip(filler, ids, strict=True)])
    tokens, mask = tokens.to(policy.device), mask.to(policy.device)
    cache = DynamicCache()
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = _last_logits(policy, tokens, mask, positions, cache)
    cache.batch_repeat_interleave(num_samples)
    logits, mask = (rows.repeat_interleave(num_samples, dim=0) for rows in (logits, mask))
    position = mask.sum(dim=1, keepdim=True)
    drawn = []
    number_RT = number_BST.reshape(-1, num_tokens).to(policy.device)
    for step in range(num_tokens):
        drawn.append(_choose(logits, number_RT[:, step], sampling.temperature))
        if step + 1 < num_tokens:
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            logits = _last_logits(policy, drawn[-1][:, None], mask, position + step, cache)
    return torch.stack(drawn, dim=1).view(num_prompts, num_samples, num_tokens).cpu()


def _last_logits(
    policy: Base, tokens: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache
) -> Tensor:
    output = policy.model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        logits_to_keep=1,
    )
    return output.logits[:, -1].double()


def _choose(logits_RV: Tensor, number_R: Tensor, temperature: float) -> Tensor:
    """Returns a token for each row: the one whose cumulative probability covers the number."""
    if temperature == 0:
        return logits_RV.argmax(dim=-1)
    cumulated_RV = (logits_RV / temperature).softmax(dim=-1).cumsum(dim=-1)
    wanted_R = number_R * cumulated_RV[:, -1]
    return torch.searchsorted(cumulated_RV, wanted_R[:, None], right=True)[:, 0]


def _decode(policy: Base, tokens: list[int], end: int | None) -> str:
    ends = (policy.tokenizer.eos_token_id, end)
    length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    text: str = policy.tokenizer.decode(tokens[:length], skip_special_tokens=True)
    return text
