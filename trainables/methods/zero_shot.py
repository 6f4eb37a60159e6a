"""Zero-shot: the base model as it is, and the scoring of questions that trained weights share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from trainables.answer_tokens import TokenizedItems, tokenize_items
from trainables.context_limit import check_context
from trainables.host import host_kind
from trainables.items import Item
from trainables.methods.inputs import Answers, Fitted, Setting
from trainables.methods.reasoning import generate_answers
from trainables.models import Base
from trainables.score_scales import domain_prompt_of, tokenize_domain
from trainables.scoring import ScoredItems, default_token_budget, score_items
from trainables.states import Questions


@dataclass(frozen=True, kw_only=True, slots=True)
class _Untrained:
    setting: Setting
    base: Base

    def answer(self, items: Sequence[Item]) -> Answers:
        setting = self.setting
        recipe = setting.cell.recipe
        if recipe.reasoning is not None or recipe.scoring != "sum" or tuple(items) != setting.test:
            return answer_questions(setting, self.base, items)
        # Always this way, whether probes run or not: it is their pass over the test items too.
        scored = setting.states.scores(
            self.base,
            items,
            setting.prompt,
            key=state_key(setting, setting.cell.data_hash),
            layers=setting.probe_layers,
            token_budget=setting.execution.tokens(default_token_budget(self.base.model)),
        )
        return Answers(log_probs=scored.log_probs, notes=scored.notes)

    def state(self) -> Mapping[str, Tensor]:
        return {}


@contextmanager
def untrained(setting: Setting, base: Base) -> Iterator[Fitted]:
    """Yields the base model as it is."""
    yield _Untrained(setting=setting, base=base)


def state_key(setting: Setting, items_hash: str) -> tuple[str, ...]:
    """Returns all that states of these items depend on, but for the items' ids and the layer."""
    cell = setting.cell
    quantization = cell.recipe.quantization
    return (cell.model, cell.dtype, quantization, items_hash, cell.prompt, host_kind())


def answer_questions(setting: Setting, base: Base, items: Sequence[Item]) -> Answers:
    """Returns the score of each choice's text after the question, or answers that are generated."""
    if setting.cell.recipe.reasoning is not None:
        return generate_answers(setting, base, items)
    tokens = tokenize_questions(base, items, setting.prompt)
    scored = score_answers(setting, base, items, tokens)
    return Answers(log_probs=scored.log_probs, notes=scored.notes)


def score_answers(
    setting: Setting,
    base: Base,
    items: Sequence[Item],
    tokenized: TokenizedItems,
    examples: Sequence[tuple[Item, int]] = (),
) -> ScoredItems:
    """Returns the items' scores on the scale of the cell's recipe.

    Args:
        setting: Of the cell.
        base: The model.
        items: The questions.
        tokenized: The questions behind the examples.
        examples: What stands in front of every question.
    """
    scoring = setting.cell.recipe.scoring
    domain = None
    if scoring == "pmi":
        domain = tokenize_domain(
            base.tokenizer,
            domain_prompt_of(setting.prompt, examples),
            [setting.prompt.choice_texts(item) for item in items],
            add_bos=setting.prompt.adds_special_tokens,
        )
    budget = setting.execution.tokens(default_token_budget(base.model))
    return score_items(base.model, tokenized, scoring, domain=domain, token_budget=budget)


def tokenize_questions(base: Base, items: Sequence[Item], prompt: Questions) -> TokenizedItems:
    """Returns the items' questions and choices as tokens.

    Raises:
        ValueError: Naming the first item that does not fit into the model's context.
    """
    tokenized = tokenize_items(
        base.tokenizer,
        [prompt.question(item) for item in items],
        [prompt.choice_texts(item) for item in items],
        add_bos=prompt.adds_special_tokens,
    )
    check_context(base, items, tokenized)
    return tokenized
