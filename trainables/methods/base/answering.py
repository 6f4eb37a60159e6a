"""A model's answers to questions: scored choices or generated text."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.items import Item
from trainables.data.prompts.formats import Prompt
from trainables.inference.normalization import domain_prompt_of, tokenize_domain
from trainables.inference.scoring import (
    ScoredItems,
    check_context,
    default_token_budget,
    score_items,
)
from trainables.inference.tokenization import TokenizedItems, tokenize_items
from trainables.methods.base.chain_of_thought import generate_answers
from trainables.methods.base.interface import Answers, CellContext
from trainables.models.loading import Base
from trainables.storage.process_identity import host_kind


def state_key(context: CellContext, items_hash: str) -> tuple[str, ...]:
    """Returns what hidden states of these items depend on, except the items' ids and the layer."""
    cell = context.cell
    quantization = cell.recipe.quantization
    return (cell.model, cell.dtype, quantization, items_hash, cell.prompt, host_kind())


def answer_questions(context: CellContext, base: Base, items: Sequence[Item]) -> Answers:
    """Returns the score of each choice's text after the question, or generated answers."""
    if context.cell.recipe.reasoning is not None:
        return generate_answers(context, base, items)
    tokens = tokenize_questions(base, items, context.prompt)
    scored = score_answers(context, base, items, tokens)
    return Answers(log_probs=scored.log_probs, notes=scored.notes)


def score_answers(
    context: CellContext,
    base: Base,
    items: Sequence[Item],
    tokenized: TokenizedItems,
    examples: Sequence[tuple[Item, int]] = (),
) -> ScoredItems:
    """Returns the items' scores on the scale of the cell's recipe.

    Args:
        context: Of the cell.
        base: The model.
        items: The questions.
        tokenized: The questions after the examples.
        examples: Shown in front of every question.
    """
    scoring = context.cell.recipe.scoring
    domain = None
    if scoring == "pmi":
        domain = tokenize_domain(
            base.tokenizer,
            domain_prompt_of(context.prompt, examples),
            [context.prompt.choice_texts(item) for item in items],
            start=base.start_of(context.prompt),
        )
    budget = context.execution.tokens(default_token_budget(base.model))
    return score_items(base.model, tokenized, scoring, domain=domain, token_budget=budget)


def tokenize_questions(base: Base, items: Sequence[Item], prompt: Prompt) -> TokenizedItems:
    """Returns the items' questions and choices as tokens.

    Raises:
        ValueError: Naming the first item that does not fit into the model's context.
    """
    tokenized = tokenize_items(
        base.tokenizer,
        [prompt.question(item) for item in items],
        [prompt.choice_texts(item) for item in items],
        start=base.start_of(prompt),
    )
    check_context(base, items, tokenized)
    return tokenized
