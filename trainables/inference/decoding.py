"""Decodes rows of different lengths side by side, a token at a time, with a key-value cache.

Rows are padded on the right and masks follow from positions, not from columns, so a row's numbers
are those it would have alone. A finished row leaves the cache.

Shape legend: B rows, T tokens fed at once, P shared tokens, K cached tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from trainables.inference.packed_forward import SharedPrefix, answer_positions, masks_by_kind
from trainables.inference.packing import FILLER


class Decoder(Protocol):
    """Rows that are continued together."""

    def start(self) -> Tensor:
        """Returns the logits of every row's first new token, [B, V], in fp32."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Appends a token to each row and returns the logits of the next, [B, V], in fp32."""

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps these rows, in this order, and drops all others.

        Row i of the new order is i, or one behind all places that are left (`filled_up`).
        """


def filled_up(rows: Sequence[int]) -> list[int]:
    """Returns the rows in an order where as many as can be keep their place.

    Args:
        rows: Those that are kept, ascending.
    """
    number = len(rows)
    movers = iter([row for row in rows if row >= number])
    staying = {row for row in rows if row < number}
    return [place if place in staying else next(movers) for place in range(number)]


class WholeTexts:
    """One row, read from its beginning for each token: slow, and right for every causal model."""

    def __init__(self, model: PreTrainedModel, tokens: Sequence[int]) -> None:
        self.model = model
        self.tokens = list(tokens)

    def start(self) -> Tensor:
        """Returns the logits of the first new token, [1, V]."""
        token_1T = torch.tensor([self.tokens], device=self.model.device)
        last = torch.tensor([len(self.tokens) - 1], device=self.model.device)
        with answer_positions(self.model, last):
            return self.model(input_ids=token_1T, use_cache=False).logits[0].float()

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Appends a token and returns the logits of the next, [1, V]."""
        self.tokens += tokens
        return self.start()

    def keep(self, rows: Sequence[int]) -> None:
        """Does nothing: there is one row."""


class CachedRows:
    """Rows whose keys and values are kept, behind a shared prefix that was encoded once.

    Use inside `torch.inference_mode()`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        shared: SharedPrefix,
        rows: Sequence[Sequence[int]],
        max_new_tokens: int,
    ) -> None:
        self.model = model
        width = max(map(len, rows))
        fill = [[FILLER] * (width - len(row)) for row in rows]
        self.token_BT = self._tensor([[*row, *more] for row, more in zip(rows, fill, strict=True)])
        self.length_B = self._tensor([len(row) for row in rows]) + shared.length
        column_T = torch.arange(shared.length, shared.length + width, device=model.device)
        own_BT = torch.where(column_T < self.length_B[:, None], column_T, -1)
        shared_P = torch.arange(shared.length, device=model.device)
        self.own_BT = own_BT
        self.key_position_BK = torch.cat([shared_P.expand(len(rows), -1), own_BT], dim=1)
        room = shared.length + width + max_new_tokens
        num_layers = model.config.get_text_config().num_hidden_layers
        before = [None] * num_layers if shared.cache is None else shared.cache.layers
        self.cache = Cache(layers=[_GrowingLayer(room, layer) for layer in before])

    def start(self) -> Tensor:
        """Reads the rows and returns the logits of every row's first new token, [B, V]."""
        first = self.key_position_BK.shape[1] - self.own_BT.shape[1]
        row_B = torch.arange(len(self.length_B), device=self.model.device)
        last_B = row_B * self.own_BT.shape[1] + self.length_B - first - 1
        return self._read(self.token_BT, self.own_BT, last_B)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Appends a token to each row and returns the logits of the next, [B, V]."""
        position_B1 = self.length_B[:, None]
        self.key_position_BK = torch.cat([self.key_position_BK, position_B1], dim=1)
        self.length_B = self.length_B + 1
        row_B = torch.arange(len(tokens), device=self.model.device)
        return self._read(self._tensor(tokens)[:, None], position_B1, row_B)

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps these rows, in this order, and drops all others."""
        row_B = self._tensor(rows)
        self.length_B = self.length_B[row_B]
        self.key_position_BK = self.key_position_BK[row_B]
        for layer in self.cache.layers:
            layer.keep(rows)

    def _read(self, token_BT: Tensor, position_BT: Tensor, source_N: Tensor) -> Tensor:
        """Returns the logits at these places of the flattened rows, [N, V]."""

        def mask(window: int | None) -> Tensor:
            return _position_mask(position_BT, self.key_position_BK, window, self.model.dtype)

        with answer_positions(self.model, source_N):
            output = self.model(
                input_ids=token_BT,
                attention_mask=masks_by_kind(self.model, self.key_position_BK.shape[1], mask),
                position_ids=position_BT.clamp(min=0),
                past_key_values=self.cache,
                use_cache=True,
            )
        return output.logits[0].float()

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, device=self.model.device)


def _position_mask(
    position_BT: Tensor, key_position_BK: Tensor, window: int | None, dtype: torch.dtype
) -> Tensor:
    """Returns what is added to attention scores, [B, 1, T, K]: 0, or the least number of the dtype.

    A token sees the keys at its own position and before; filler, at position -1, is seen by none.
    """
    key_B1K, query_BT1 = key_position_BK[:, None, :], position_BT[:, :, None]
    seen_BTK = (key_B1K >= 0) & (key_B1K <= query_BT1)
    if window is not None:
        seen_BTK &= query_BT1 - key_B1K < window
    mask_BTK = torch.zeros(seen_BTK.shape, dtype=dtype, device=seen_BTK.device)
    return mask_BTK.masked_fill_(~seen_BTK, torch.finfo(dtype).min)[:, None]


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, with room for all that will come: a step copies nothing."""

    def __init__(self, room: int, before: DynamicLayer | None) -> None:
        super().__init__()
        self.room = room
        self.before = before
        self.length = 0
        self.key_room: Tensor = torch.empty(0)
        self.value_room: Tensor = torch.empty(0)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends the states and returns all of them."""
        if not self.is_initialized:
            self._begin(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.key_room[:, :, self.length : end] = key_states
        self.value_room[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = self.key_room[:, :, :end], self.value_room[:, :, :end]
        return self.keys, self.values

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps only these rows, in this order; row i must be i or lie behind the kept ones.

        Only rows that change their place are copied.
        """
        number, length = len(rows), self.length
        to = [place for place, row in enumerate(rows) if row != place]
        if to:
            source = [rows[place] for place in to]
            self.key_room[to, :, :length] = self.key_room[source, :, :length]
            self.value_room[to, :, :length] = self.value_room[source, :, :length]
        self.key_room, self.value_room = self.key_room[:number], self.value_room[:number]

    def _begin(self, key_states: Tensor, value_states: Tensor) -> None:
        self.lazy_initialization(key_states, value_states)
        self.key_room = _with_room(key_states, self.room)
        self.value_room = _with_room(value_states, self.room)
        if self.before is not None:
            self.length = self.before.keys.shape[-2]
            self.key_room[:, :, : self.length] = self.before.keys
            self.value_room[:, :, : self.length] = self.before.values


def _with_room(states: Tensor, room: int) -> Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, room, size)
