"""The forward pass over packed rows: masks, the shared prefix, and the projection of answers only.

Shape legend: see `trainables.inference.packing`; V vocabulary, H hidden size, P shared tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from trainables.inference.packing import PackedBatch, attention_mask, build_batch
from trainables.inference.tokenization import TokenizedItem, TokenizedItems

FULL, SLIDING = "full_attention", "sliding_attention"
"""Names of layer kinds in a model's config."""


def layer_kinds(model: PreTrainedModel) -> list[str]:
    """Returns the kinds of attention that the model's layers have, sorted."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return sorted(set(kinds))
    return [FULL if getattr(config, "sliding_window", None) is None else SLIDING]


def packed_scores(model: PreTrainedModel, batch: PackedBatch, shared: SharedPrefix) -> Tensor:
    """Returns the summed log-probability of each answer, [A], differentiable."""
    with answer_positions(model, batch.source_N):
        output = model(
            input_ids=batch.token_BT,
            attention_mask=packed_mask(model, batch, shared.length),
            position_ids=batch.position_BT,
            past_key_values=shared.cache,
            use_cache=shared.cache is not None,
        )
    return _sum_scored(output.logits[0], batch)


def plain_scores(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Returns the summed log-probability of each row's one answer, [A], differentiable."""
    with answer_positions(model, batch.source_N):
        output = model(
            input_ids=batch.token_BT,
            attention_mask=(batch.segment_BT >= 0).long(),
            use_cache=False,
        )
    return _sum_scored(output.logits[0], batch)


def packed_mask(
    model: PreTrainedModel, batch: PackedBatch, num_shared: int
) -> Tensor | dict[str, Tensor]:
    """Returns the additive mask; per kind of layer where a window matters and kinds differ."""

    def mask(window: int | None) -> Tensor:
        return attention_mask(batch, num_shared, window, model.dtype)

    return masks_by_kind(model, num_shared + batch.token_BT.shape[1], mask)


def masks_by_kind(
    model: PreTrainedModel, num_keys: int, make_mask: Callable[[int | None], Tensor]
) -> Tensor | dict[str, Tensor]:
    """Returns what the model takes for a mask: one, or one per kind of layer.

    Args:
        model: Its layers' kinds and window decide.
        num_keys: Tokens that can be seen at most; within the window all kinds see the same.
        make_mask: Makes the mask for a window; None: no window.
    """
    kinds = layer_kinds(model)
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    if window is None or SLIDING not in kinds or num_keys <= window:
        return make_mask(None)
    if kinds == [SLIDING]:
        return make_mask(window)
    return {SLIDING: make_mask(window), FULL: make_mask(None)}


def _sum_scored(logit_NV: Tensor, batch: PackedBatch) -> Tensor:
    normalizer_N = torch.logsumexp(logit_NV, dim=-1)
    logit_AS = logit_NV[batch.predictor_AS, batch.target_AS]
    log_prob_AS = logit_AS - normalizer_N[batch.predictor_AS]
    return torch.where(batch.is_scored_AS, log_prob_AS, 0.0).sum(dim=-1)


class _AnswerHead(nn.Module):  # type: ignore[misc]
    """A vocabulary projection of chosen positions only, in fp32."""

    def __init__(self, head: nn.Module, source_N: Tensor) -> None:
        super().__init__()
        self.head = head
        self.source_N = source_N

    @property
    def weight(self) -> Any:
        """Of the projection: some models ask for its dtype."""
        return self.head.weight

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        hidden_NH = hidden_BTH.flatten(0, 1)[self.source_N]
        if type(self.head) is not nn.Linear:
            return self.head(hidden_NH)[None].float()
        # Called as a module, for its hooks: a sharded projection is gathered by them.
        self.head.forward = partial(_project_in_float, self.head)
        try:
            return self.head(hidden_NH)[None]
        finally:
            del self.head.forward


def _project_in_float(head: nn.Linear, hidden_NH: Tensor) -> Tensor:
    bias = None if head.bias is None else head.bias.float()
    return nn.functional.linear(hidden_NH.float(), head.weight.float(), bias)


@contextmanager
def answer_positions(model: PreTrainedModel, source_N: Tensor) -> Iterator[None]:
    """Lets the model project only these positions: its logits are [1, N, V], in fp32.

    The projection is replaced rather than the model's body called alone, because models do more to
    logits than project them (soft-capping, scales).
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{type(model).__name__} has no vocabulary projection to score with")
    model.set_output_embeddings(_AnswerHead(head, source_N))
    try:
        yield
    finally:
        model.set_output_embeddings(head)


class _SharedLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of a prefix, put in front of every row; never changed."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Returns the prefix's and the rows' keys and values, and keeps neither."""
        rows = key_states.shape[0]
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedPrefix:
    """A prefix that was encoded once."""

    length: int = 0
    cache: Cache | None = field(default=None)


def encode_shared(model: PreTrainedModel, tokens: Sequence[int]) -> SharedPrefix:
    """Returns the prefix's keys and values of every layer, all of them whatever the window."""
    if not tokens:
        return SharedPrefix()
    item = TokenizedItem(context=list(tokens), answers=([0],), num_scored=(1,))
    batch = build_batch(TokenizedItems(shared=[], items=(item,)), [0], model.device)
    cache = Cache(layer_class_to_replicate=DynamicLayer)
    with answer_positions(model, batch.source_N):
        model(
            input_ids=batch.token_BT,
            attention_mask=packed_mask(model, batch, 0),
            position_ids=batch.position_BT,
            past_key_values=cache,
            use_cache=True,
        )
    layers = [_SharedLayer(layer.keys, layer.values) for layer in cache.layers]
    return SharedPrefix(length=len(tokens), cache=Cache(layers=layers))
