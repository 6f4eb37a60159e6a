"""Rows for a forward pass: a question and all its choices side by side in one row.

Each answer token attends to the shared tokens, its question and the tokens before it in its own
choice, at the positions they would have in a separate text. So the question is encoded once.
The last token of an answer predicts no scored token and is left out by default.

Shape legend: B rows (items), T tokens of a row, K = shared + T visible tokens, A answers (the
choices of all rows, in order), S scored tokens of an answer, N positions that predict a scored
token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.inference.tokenization import TokenizedItem, TokenizedItems

FILLER = 0
"""Padding token: it is masked, so any token will do."""

MAX_KEYS_PER_TOKEN = 16
"""A batch may hold this many times the token budget in keys, shared tokens counted per row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedBatch:
    """Rows of items, and the positions that predict their answers."""

    indices: tuple[int, ...]
    """The items' places in the call."""
    num_answers: tuple[int, ...]
    """Choices of each row; their sum is A."""
    token_BT: Tensor
    position_BT: Tensor
    """Place of each token in its own text, shared tokens counted."""
    segment_BT: Tensor
    """0: question, 1 and up: choice, -1: filler."""
    source_N: Tensor
    """Index of each predicting position in the flattened rows, ascending."""
    predictor_AS: Tensor
    """Which of the N predicts each scored token; 0 where there is none."""
    target_AS: Tensor
    is_scored_AS: Tensor
    last_A: Tensor
    """Index of each answer's last token in the flattened rows."""


def plan_batches(tokenized: TokenizedItems, token_budget: int) -> Iterator[list[int]]:
    """Yields the items of each batch: sorted by row length, as many as fit the token budget.

    The order depends only on the items, so equal calls have equal batches.
    """
    lengths = [_row_length(item) for item in tokenized.items]
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    start = 0
    while start < len(order):
        width = lengths[order[start]]
        keys = width + len(tokenized.shared)
        rows = max(1, min(token_budget // width, MAX_KEYS_PER_TOKEN * token_budget // keys))
        yield order[start : start + rows]
        start += rows


def _row_length(item: TokenizedItem) -> int:
    return len(item.context) + sum(map(len, item.answers))


def explode(tokenized: TokenizedItems) -> TokenizedItems:
    """Returns every choice as a separate item with its whole text, without shared tokens."""
    return TokenizedItems(
        shared=[],
        items=tuple(
            TokenizedItem(
                context=tokenized.shared + item.context, answers=(answer,), num_scored=(scored,)
            )
            for item in tokenized.items
            for answer, scored in zip(item.answers, item.num_scored, strict=True)
        ),
    )


def build_batch(
    tokenized: TokenizedItems,
    indices: Sequence[int],
    device: torch.device,
    *,
    keep_last: bool = False,
) -> PackedBatch:
    """Returns the rows of the items; with `keep_last`, every answer's last token is in them."""
    rows = [_lay_out(tokenized.items[index], len(tokenized.shared), keep_last) for index in indices]
    width = max(len(row.tokens) for row in rows)
    num_scored = max(len(targets) for row in rows for targets in row.targets)
    predictors, targets, is_scored, last = [], [], [], []
    for number, row in enumerate(rows):
        start = number * width
        last += [start + column for column in row.last]
        for columns, tokens in zip(row.predictors, row.targets, strict=True):
            missing = num_scored - len(tokens)
            predictors.append(
                [start + column for column in columns] + [start + columns[0]] * missing
            )
            targets.append(tokens + [FILLER] * missing)
            is_scored.append([True] * len(tokens) + [False] * missing)
    source_N, predictor_AS = torch.unique(torch.tensor(predictors), return_inverse=True)
    return PackedBatch(
        indices=tuple(indices),
        num_answers=tuple(len(row.targets) for row in rows),
        token_BT=_pad([row.tokens for row in rows], width, FILLER).to(device),
        position_BT=_pad([row.positions for row in rows], width, 0).to(device),
        segment_BT=_pad([row.segments for row in rows], width, -1).to(device),
        source_N=source_N.to(device),
        predictor_AS=predictor_AS.to(device),
        target_AS=torch.tensor(targets, device=device),
        is_scored_AS=torch.tensor(is_scored, device=device),
        last_A=torch.tensor(last, device=device),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    tokens: list[int]
    positions: list[int]
    segments: list[int]
    predictors: list[list[int]]
    """Per answer, the column before each scored token."""
    targets: list[list[int]]
    last: list[int]
    """Per answer, the column of its last token in the row."""


def _lay_out(item: TokenizedItem, num_shared: int, keep_last: bool) -> _Row:
    length = len(item.context)
    tokens = list(item.context)
    positions = list(range(num_shared, num_shared + length))
    segments = [0] * length
    predictors, last = [], []
    for segment, (answer, scored) in enumerate(zip(item.answers, item.num_scored, strict=True), 1):
        start = len(tokens)
        columns = [length - 1, *range(start, start + len(answer) - 1)]
        predictors.append(columns[-scored:])
        kept = answer if keep_last else answer[:-1]
        tokens += kept
        positions += range(num_shared + length, num_shared + length + len(kept))
        segments += [segment] * len(kept)
        last.append(len(tokens) - 1 if kept else length - 1)
    return _Row(
        tokens=tokens,
        positions=positions,
        segments=segments,
        predictors=predictors,
        targets=[
            answer[-scored:] for answer, scored in zip(item.answers, item.num_scored, strict=True)
        ],
        last=last,
    )


def _pad(rows: Sequence[list[int]], width: int, filler: int) -> Tensor:
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def attention_mask(
    batch: PackedBatch, num_shared: int, window: int | None, dtype: torch.dtype
) -> Tensor:
    """Returns what is added to attention scores, [B, 1, T, K]: 0, or the least number of the dtype.

    Args:
        batch: Rows of items.
        num_shared: Encoded tokens in front of every row; all of them are seen.
        window: How many tokens back a token sees, itself counted; None: all.
        dtype: The model's.
    """
    segment_BT, position_BT = batch.segment_BT, batch.position_BT
    width, device = segment_BT.shape[1], segment_BT.device
    seen_BTT = (segment_BT[:, :, None] == segment_BT[:, None, :]) | (segment_BT == 0)[:, None, :]
    seen_BTT &= torch.ones(width, width, dtype=torch.bool, device=device).tril()
    shared_BTP = torch.ones(1, 1, 1, dtype=torch.bool, device=device).expand(
        *segment_BT.shape, num_shared
    )
    if window is not None:
        seen_BTT &= position_BT[:, :, None] - position_BT[:, None, :] < window
        shared_P = torch.arange(num_shared, device=device)
        shared_BTP = position_BT[:, :, None] - shared_P < window
    hidden_BTK = torch.cat([shared_BTP, seen_BTT], dim=-1).logical_not_()
    mask_BTK = torch.zeros(hidden_BTK.shape, dtype=dtype, device=device)
    return mask_BTK.masked_fill_(hidden_BTK, torch.finfo(dtype).min)[:, None]
