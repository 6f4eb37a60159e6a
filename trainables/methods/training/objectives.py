"""Training objectives: the loss of a labelled item.

A question is encoded once for all its choices, in training as in scoring.

Shape legend: see `trainables.inference.packing`; C the most choices of an item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from trainables.data.prompts.formats import Prompt
from trainables.inference.packed_forward import SharedPrefix, packed_scores, plain_scores
from trainables.inference.packing import build_batch, explode
from trainables.inference.scoring import (
    check_context,
    default_token_budget,
    find_packing_fault,
    score_items,
)
from trainables.inference.tokenization import TokenizedItems, tokenize_items
from trainables.methods.base.answering import tokenize_questions
from trainables.methods.base.interface import CellContext, Example
from trainables.models.chat import end_of_answer, end_of_turn
from trainables.models.loading import Base

AnswerScores = Callable[[Base, TokenizedItems, bool], Tensor]
"""(base, items, whether their rows can be packed) -> a differentiable score per answer, [A]."""


class Objective(Protocol):
    """The losses of some labelled items."""

    @property
    def tokens(self) -> TokenizedItems:
        """One row per labelled item, in their order."""

    def loss(self, rows: Sequence[int]) -> Tensor:
        """Returns the weighted sum of the items' losses, a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _ChoiceLoss:
    """Cross-entropy over the choices' scores."""

    base: Base
    examples: Sequence[Example]
    tokens: TokenizedItems
    score: AnswerScores
    is_packed: bool

    def loss(self, rows: Sequence[int]) -> Tensor:
        score_A = self.score(self.base, part_of(self.tokens, rows), self.is_packed)
        counts = [len(self.tokens.items[row].answers) for row in rows]
        score_BC = torch.nn.utils.rnn.pad_sequence(
            list(score_A.split(counts)), batch_first=True, padding_value=-torch.inf
        )
        return choice_losses(score_BC, [self.examples[row] for row in rows]).sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class _TextLoss:
    """The summed loss of the tokens of the right answer's text."""

    base: Base
    examples: Sequence[Example]
    tokens: TokenizedItems
    is_packed: bool

    def loss(self, rows: Sequence[int]) -> Tensor:
        score_A = answer_log_probs(self.base, part_of(self.tokens, rows), self.is_packed)
        weight_A = score_A.new_tensor([self.examples[row].weight for row in rows])
        return -(weight_A * score_A).sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class _PreferenceLoss:
    """The DPO loss of pairs: the preferred answer stands first."""

    base: Base
    tokens: TokenizedItems
    reference_I: Tensor
    """Log-probability of the preferred answer minus that of the other, under the reference."""
    beta: float
    is_packed: bool

    def loss(self, rows: Sequence[int]) -> Tensor:
        score_A = answer_log_probs(self.base, part_of(self.tokens, rows), self.is_packed)
        score_B2 = score_A.view(-1, 2)
        margin_B = score_B2[:, 0] - score_B2[:, 1] - self.reference_I[list(rows)]
        return -torch.nn.functional.logsigmoid(self.beta * margin_B).sum()


def choice_objective(
    base: Base, examples: Sequence[Example], prompt: Prompt, score: AnswerScores | None = None
) -> Objective:
    """Returns cross-entropy over the choices of each item.

    Args:
        base: The base model.
        examples: Labelled items, with their label smoothing.
        prompt: How an item becomes text.
        score: Scores the choices; None: by their text's log-probability.

    Raises:
        ValueError: If an item does not fit into the model's context.
    """
    tokens = tokenize_questions(base, [example.item for example in examples], prompt)
    return _ChoiceLoss(
        base=base,
        examples=examples,
        tokens=tokens,
        score=score or answer_log_probs,
        is_packed=find_packing_fault(base.model, tokens) is None,
    )


def text_objective(base: Base, examples: Sequence[Example], prompt: Prompt) -> Objective:
    """Returns the language-model loss of the right answer's text, reasoning included.

    An item's loss is the sum over its tokens, so long solutions weigh more, as in the paper's code.
    Generated answers end with the tokenizer's EOS, in a chat with the template's end of turn, so
    that the model learns to stop. Choices that are scored have no end token.

    Source: arXiv:2401.06751, section 4 and the released code's `utils/utils.py`.

    Raises:
        ValueError: If an item has no worked solution but the prompt needs one, a label is smoothed,
            or an item does not fit into the model's context.
    """
    if any(example.smoothing > 0 for example in examples):
        raise ValueError("label smoothing spreads a label over choices; loss 'text' has no choices")
    items = [example.item for example in examples]
    tokens = tokenize_items(
        base.tokenizer,
        [prompt.question(item) for item in items],
        [[prompt.target(example.item, example.answer)] for example in examples],
        start=base.start_of(prompt),
    )
    end = end_of_answer(prompt, base.tokenizer)
    if prompt.generates and end is not None:
        tokens = _ended(tokens, end)
    check_context(base, items, tokens)
    is_packed = find_packing_fault(base.model, tokens) is None
    return _TextLoss(base=base, examples=examples, tokens=tokens, is_packed=is_packed)


def preference_objective(
    context: CellContext, base: Base, examples: Sequence[Example], beta: float
) -> Objective:
    """Returns the loss of direct preference optimization, with the untrained base as reference.

    A pair's loss is -log sigmoid(beta * (log-ratio of the preferred answer - log-ratio of the
    other)), where an answer's log-ratio compares the trained model with the reference. An answer
    ends where sampled texts are cut: with a line end, in a chat with the template's end of turn.

    Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7.

    Args:
        context: Of the cell.
        base: The reference; it is scored here, before it is trained.
        examples: Items of two choices, the preferred one first.
        beta: Weight of staying near the reference, above 0.

    Raises:
        ValueError: If an item does not fit into the model's context.
    """
    prompt, items = context.prompt, [example.item for example in examples]
    end = end_of_turn(prompt)
    line_end = "\n" if end is None else ""
    tokens = tokenize_items(
        base.tokenizer,
        [prompt.question(item) for item in items],
        [[prompt.target(item, choice) + line_end for choice in (0, 1)] for item in items],
        start=base.start_of(prompt),
    )
    if end is not None:
        tokens = _ended(tokens, end)
    check_context(base, items, tokens)
    budget = context.execution.tokens(default_token_budget(base.model))
    scores = score_items(base.model, tokens, token_budget=budget).log_probs
    return _PreferenceLoss(
        base=base,
        tokens=tokens,
        reference_I=torch.tensor([float(a - b) for a, b in scores], device=base.device),
        beta=beta,
        is_packed=find_packing_fault(base.model, tokens) is None,
    )


def choice_losses(score_BC: Tensor, examples: Sequence[Example]) -> Tensor:
    """Returns the examples' weighted cross-entropies, [B], with their label smoothing.

    Args:
        score_BC: Places without a choice hold -inf.
        examples: One per row.
    """
    log_prob_BC = score_BC.log_softmax(dim=1)
    is_choice_BC = score_BC > -torch.inf
    answer_B = torch.tensor([example.answer for example in examples], device=score_BC.device)
    weight_B = log_prob_BC.new_tensor([example.weight for example in examples])
    smoothing_B = log_prob_BC.new_tensor([example.smoothing for example in examples])
    label_B = log_prob_BC.gather(1, answer_B[:, None])[:, 0]
    mean_B = log_prob_BC.masked_fill(~is_choice_BC, 0.0).sum(dim=1) / is_choice_BC.sum(dim=1)
    return -(weight_B * ((1.0 - smoothing_B) * label_B + smoothing_B * mean_B))


def answer_log_probs(base: Base, tokens: TokenizedItems, is_packed: bool) -> Tensor:
    """Returns the summed log-probability of every answer, [A], differentiable."""
    if is_packed:
        batch = build_batch(tokens, range(len(tokens.items)), base.device)
        return packed_scores(base.model, batch, SharedPrefix())
    texts = explode(tokens)
    return plain_scores(base.model, build_batch(texts, range(len(texts.items)), base.device))


def part_of(tokens: TokenizedItems, rows: Sequence[int]) -> TokenizedItems:
    """Returns some of the items, each with the shared tokens as its own."""
    items = (tokens.items[row] for row in rows)
    return TokenizedItems(
        shared=[],
        items=tuple(replace(item, context=tokens.shared + item.context) for item in items),
    )


def _ended(tokens: TokenizedItems, end: int) -> TokenizedItems:
    """Returns the items with the end token behind every answer, scored."""
    items = tuple(
        replace(
            item,
            answers=tuple([*answer, end] for answer in item.answers),
            num_scored=tuple(number + 1 for number in item.num_scored),
        )
        for item in tokens.items
    )
    return TokenizedItems(shared=tokens.shared, items=items)
