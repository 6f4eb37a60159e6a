"""A scalar head: the reward of question + answer, from the last token's hidden state.

The softmax over an item's choices gives their probabilities; with two choices that is the
Bradley-Terry model: P(first) = sigmoid(reward of first - reward of second). A constant in the
reward would cancel, so there is no bias.

Source: Bradley and Terry 1952, Biometrika 39; as a language model's head: Ouyang et al. 2022,
arXiv:2203.02155, section 3.5.

Shape legend: see `trainables.inference.packing`; H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.data.items import Item
from trainables.inference.packed_forward import packed_mask
from trainables.inference.packing import build_batch, explode, plan_batches
from trainables.inference.scoring import default_token_budget, find_packing_fault
from trainables.inference.tokenization import TokenizedItems
from trainables.methods.base.answering import tokenize_questions
from trainables.methods.base.interface import Answers, CellContext, TrainedState
from trainables.methods.training.objectives import part_of
from trainables.models.loading import Base

NAME = "reward_head.weight"
"""Of the head's weights in a trained state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardHead:
    """One linear score of a hidden state, in fp32."""

    weight_H: nn.Parameter

    def state(self) -> dict[str, Tensor]:
        """Returns a copy of the weights, on the CPU."""
        return {NAME: self.weight_H.detach().to("cpu", copy=True)}

    def load(self, state: TrainedState) -> None:
        """Loads the weights of another head."""
        with torch.no_grad():
            self.weight_H.copy_(state[NAME])

    def scores(self, base: Base, tokens: TokenizedItems, is_packed: bool) -> Tensor:
        """Returns the reward of every answer, [A], differentiable.

        Only the model's body runs: no token is projected to the vocabulary.
        """
        rows = tokens if is_packed else explode(tokens)
        batch = build_batch(rows, range(len(rows.items)), base.device, keep_last=True)
        is_text_BT = (batch.segment_BT >= 0).long()
        positions = {"position_ids": batch.position_BT} if is_packed else {}
        output = base.model.base_model(
            input_ids=batch.token_BT,
            attention_mask=packed_mask(base.model, batch, 0) if is_packed else is_text_BT,
            use_cache=False,
            **positions,
        )
        state_AH = output.last_hidden_state.flatten(0, 1)[batch.last_A]
        return state_AH.float() @ self.weight_H


def fresh_head(base: Base, seed: int) -> RewardHead:
    """Returns a head with seeded normal weights of variance 1 / H: rewards start near size 1."""
    size = base.model.config.get_text_config().hidden_size
    drawn_H = torch.randn(size, generator=torch.Generator().manual_seed(seed)) / size**0.5
    return RewardHead(weight_H=nn.Parameter(drawn_H.to(base.device)))


def answer_with_head(
    context: CellContext, base: Base, head: RewardHead, items: Sequence[Item]
) -> Answers:
    """Returns the reward of each choice's text after the question."""
    if not items:
        return Answers(log_probs=[])
    tokens = tokenize_questions(base, items, context.prompt)
    scores: list[NDArray[np.float64]] = [np.empty(0)] * len(items)
    budget = context.execution.tokens(default_token_budget(base.model))
    fault = find_packing_fault(base.model, tokens)
    notes = () if fault is None else (f"scored by one full forward per choice: {fault}",)
    with torch.inference_mode():
        for rows in plan_batches(tokens, budget):
            batch = part_of(tokens, rows)
            score_A = head.scores(base, batch, fault is None).double().cpu()
            counts = [len(item.answers) for item in batch.items]
            for row, score in zip(rows, score_A.split(counts), strict=True):
                scores[row] = score.numpy()
    return Answers(log_probs=scores, notes=notes)
