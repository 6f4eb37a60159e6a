"""Generated answers: greedy reasoning, from whose text the answer is extracted."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.recipes import Reasoning
from trainables.data.items import Item
from trainables.data.prompts.answers import NEXT_QUESTION, Extracted, extract, finish_pattern
from trainables.inference.generation import (
    CPU_CACHE_TOKENS,
    GPU_CACHE_TOKENS,
    Generation,
    StoppingCriteria,
    TokenizedPrompts,
    generate_tokens,
    tokenize_prompts,
)
from trainables.inference.scoring import max_positions
from trainables.inference.tokenization import common_length
from trainables.methods.base.interface import Answers, CellContext, Generated
from trainables.methods.base.shown_examples import dropped_note, fit_examples
from trainables.models.chat import end_of_answer
from trainables.models.loading import Base


def generate_answers(
    context: CellContext,
    base: Base,
    items: Sequence[Item],
    examples: Sequence[tuple[Item, int]] = (),
) -> Answers:
    """Returns the text that the model generates after each question, and the answer in it.

    Examples that do not fit together with an item and its budget are dropped from the end, for this
    item only. Notes count them, and the texts without an answer, which are wrong.

    Args:
        context: Of the cell; its recipe's `reasoning` has the budget of tokens.
        base: The model, with its trained weights.
        items: The questions. Answers to those with a single choice are compared by value.
        examples: Items with the answers to show, in their order.

    Raises:
        ValueError: If an item's question and budget do not fit into the model's context.
    """
    recipe = context.cell.recipe.reasoning
    if recipe is None:
        raise ValueError("generated answers need a recipe with `reasoning`")
    limit = max_positions(base.model)

    def tokenize(places: Sequence[int], num_shown: int) -> TokenizedPrompts:
        return _tokenize(context, base, [items[place] for place in places], examples[:num_shown])

    def fits(tokens: TokenizedPrompts) -> list[bool]:
        longest = None if limit is None else limit - recipe.max_new_tokens
        return [longest is None or tokens.length(row) <= longest for row in range(len(tokens.rows))]

    made: dict[int, Generation] = {}
    notes: list[str] = []
    is_free = all(len(item.choices) == 1 for item in items)
    for places, tokens, num_shown in fit_examples(len(items), len(examples), tokenize, fits):
        generations, new = _generate(context, base, tokens, is_free, recipe)
        made |= dict(zip(places, generations, strict=True))
        notes += (*dropped_note(len(places), num_shown, len(examples)), *new)
    for place, item in enumerate(items):
        if place not in made:
            raise _too_long(context, base, item, recipe)
    texts = [made[place] for place in range(len(items))]
    return _answers(items, texts, list(dict.fromkeys(notes)))


def _tokenize(
    context: CellContext, base: Base, items: Sequence[Item], examples: Sequence[tuple[Item, int]]
) -> TokenizedPrompts:
    prompt = context.prompt
    texts = [prompt.prompt(item, examples) for item in items]
    prefix = texts[0][: common_length(texts)] if examples else ""
    return tokenize_prompts(
        base.tokenizer,
        [text[len(prefix) :] for text in texts],
        prefix,
        start=base.start_of(prompt),
    )


def _generate(
    context: CellContext, base: Base, tokens: TokenizedPrompts, is_free: bool, recipe: Reasoning
) -> tuple[list[Generation], tuple[str, ...]]:
    end = end_of_answer(context.prompt, base.tokenizer)
    rule = StoppingCriteria(
        max_new_tokens=recipe.max_new_tokens,
        stops=NEXT_QUESTION,
        finish=finish_pattern(free_form=is_free),
        ends=frozenset() if end is None else frozenset([end]),
    )
    usual = CPU_CACHE_TOKENS if base.device.type == "cpu" else GPU_CACHE_TOKENS
    budget = context.execution.tokens(usual)
    made = generate_tokens(base.model, base.tokenizer, tokens, rule, token_budget=budget)
    return made.generations, made.notes


def _answers(items: Sequence[Item], texts: Sequence[Generation], notes: Sequence[str]) -> Answers:
    found = [
        extract(text.text, item, free_form=len(item.choices) == 1)
        for item, text in zip(items, texts, strict=True)
    ]
    generated = [
        Generated(
            text=text.text,
            predicted=answer.index,
            is_correct=answer.is_correct,
            is_readable=answer.has_value,
        )
        for text, answer in zip(texts, found, strict=True)
    ]
    return Answers(generated=generated, notes=(*notes, *_missing_notes(texts, found)))


def _missing_notes(texts: Sequence[Generation], found: Sequence[Extracted]) -> list[str]:
    """Returns a sentence for each way in which texts gave no answer, with their number."""
    ways = {
        "state no answer": [answer.answer is None for answer in found],
        "state an answer that names no value": [
            answer.answer is not None and not answer.has_value for answer in found
        ],
    }
    notes = []
    for way, is_so in ways.items():
        cut = sum(text.stopped == "budget" and so for text, so in zip(texts, is_so, strict=True))
        if any(is_so):
            notes.append(
                f"{sum(is_so)} of {len(texts)} generated texts {way} and count as wrong; "
                f"{cut} of them reached their budget of tokens"
            )
    return notes


def _too_long(context: CellContext, base: Base, item: Item, recipe: Reasoning) -> ValueError:
    length = _tokenize(context, base, [item], ()).length(0)
    return ValueError(
        f"item {item.id!r}: {length} tokens and {recipe.max_new_tokens} new ones, the model's "
        f"context holds {max_positions(base.model)}; leave the item out, use fewer new tokens or a "
        "model with a longer context"
    )
