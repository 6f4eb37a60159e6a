"""Runs a policy's cell: pairs and labels its answers, trains on them, and rewards its test answers.

The labels come from another cell's reward model or from the gold reward. The gold rewards of the
test answers are recorded next to the scores; the analysis compares policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from search_spaces.cell import decode_cell
from search_spaces.recipes import PolicyDPO
from trainables.cells.parent_state import read_teacher
from trainables.data.items import Item
from trainables.data.lab.preferences import PreferenceQuestion, gold_reward
from trainables.data.prompts.formats import Prompt
from trainables.data.tasks.preferences.micro_preferences import questions_of
from trainables.methods.base.answering import answer_questions
from trainables.methods.base.choice_orders import average_over_orders, orders_of, score_in_orders
from trainables.methods.base.interface import Answers, CellContext, TrainedState
from trainables.methods.dispatch import restore
from trainables.methods.dpo.candidates import (
    LabelledPair,
    candidate_pairs,
    gold_preference,
    label_pairs,
)
from trainables.methods.dpo.sampling import Sampling, sample_texts
from trainables.methods.dpo.trainer import trained_policy
from trainables.models.chat import end_of_turn, find_any_prompt
from trainables.models.loading import Base
from trainables.storage.filesystem import Storage
from trainables.storage.records import PAIRS_SCHEMA, REWARDS_SCHEMA, parquet_bytes, read_record


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardModel:
    """A trained preference model, restored from its cell."""

    context: CellContext
    state: TrainedState

    def prefer(self, base: Base, items: Sequence[Item]) -> list[float]:
        """Returns the probability that the first choice is better, averaged over both orders."""
        with restore(self.context, base, self.state) as fitted:
            scores = score_in_orders(fitted, items, "all")
        return [float(average_over_orders(by_order, orders_of(2, "all"))[0]) for by_order in scores]


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyResult:
    """The result of a policy's cell."""

    log_probs: list[NDArray[np.float64]]
    """Of each test pair's two answers, under the policy."""
    rewards: bytes
    """Content of rewards.parquet."""
    pairs: bytes | None
    """Content of pairs.parquet; None without training."""
    notes: tuple[str, ...]
    state: TrainedState | None = None
    """None without training."""


def read_reward_model(
    storage: Storage, parent: str, context: CellContext, base: Base
) -> RewardModel:
    """Returns the reward model of a finished cell.

    Args:
        storage: The run folder.
        parent: Id of the reward model's cell.
        context: Of the policy's cell, which shares task and base model with the reward model.
        base: The base model.

    Raises:
        FileNotFoundError: If the parent has no record.
        InvalidRecordError: If a file does not match the record.
    """
    state = read_teacher(storage, parent).state
    cell = decode_cell(read_record(storage, parent).cell)
    prompt = find_any_prompt(cell.task, cell.prompt, base.tokenizer, context.items[0])
    return RewardModel(context=replace(context, cell=cell, prompt=prompt), state=state)


def run_policy(
    context: CellContext, base: Base, labelled: Sequence[Item], reward_model: RewardModel | None
) -> PolicyResult:
    """Returns a policy's rewards and preferences on the test items; leaves the base unchanged.

    Policies of one seed get the same questions and sample the same candidates. The samples of a
    test question use the same random numbers for all policies and seeds.

    Args:
        context: Of the cell; its prompt is a question without answers.
        base: The policy's starting point and its reference.
        labelled: Pairs in draw order; only their questions are used.
        reward_model: Labels the candidates; None: the gold reward does, or there is no training.

    Raises:
        ValueError: If there is no pair to train on, or an item does not fit into the context.
    """
    recipe = context.cell.recipe
    if not isinstance(recipe, PolicyDPO):
        raise ValueError(f"a policy's cell needs the method 'dpo', got {recipe.method!r}")
    if recipe.labels == "none":
        return _evaluate(context, recipe, base)
    questions = questions_of(item.id for item in labelled)[: recipe.num_questions]
    pairs, note = _label(context, recipe, base, questions, reward_model)
    with trained_policy(context, recipe, base, pairs) as fitted:
        result, state = _evaluate(context, recipe, base), fitted.state()
    return replace(result, pairs=_pairs(pairs), notes=(*result.notes, note), state=state)


def _evaluate(context: CellContext, recipe: PolicyDPO, policy: Base) -> PolicyResult:
    """Returns the policy's preferences among test answers and the rewards of its answers."""
    answers: Answers = answer_questions(context, policy, context.test)
    if answers.log_probs is None:
        raise ValueError("a policy needs a prompt whose answers can be scored")
    test = questions_of(item.id for item in context.test)
    return PolicyResult(
        log_probs=answers.log_probs,
        rewards=_rewards(context, recipe, policy, test),
        pairs=None,
        notes=answers.notes,
    )


def _label(
    context: CellContext,
    recipe: PolicyDPO,
    base: Base,
    questions: Sequence[PreferenceQuestion],
    reward_model: RewardModel | None,
) -> tuple[tuple[LabelledPair, ...], str]:
    """Returns pairs of the base's own answers, the preferred one first, and a note."""
    cell = context.cell
    texts = sample_texts(
        base,
        _prompts(questions, context.prompt),
        _sampling(recipe, recipe.num_candidates),
        cell.study_seed,
        cell.seed or 0,
        "candidates",
        start=base.start_of(context.prompt),
        end=end_of_turn(context.prompt),
    )
    candidates = candidate_pairs(questions, texts)
    if reward_model is None:
        pairs = label_pairs(candidates, gold_preference(questions))
    else:
        model = reward_model
        pairs = label_pairs(candidates, lambda items: model.prefer(base, items))
    note = (
        f"{len(pairs)} answer pairs to {len(questions)} questions; without identical "
        f"answers ({len(questions) - len(candidates)} questions) and ties "
        f"({len(candidates) - len(pairs)} pairs)"
    )
    return pairs, note


def _rewards(
    context: CellContext, recipe: PolicyDPO, policy: Base, questions: Sequence[PreferenceQuestion]
) -> bytes:
    """Returns the gold rewards of the policy's answers, a row per answer."""
    texts = sample_texts(
        policy,
        _prompts(questions, context.prompt),
        _sampling(recipe, recipe.num_samples),
        context.cell.study_seed,
        "test",
        start=policy.start_of(context.prompt),
        end=end_of_turn(context.prompt),
    )
    rows = [
        (question.id, number, gold_reward(question.problem, text), text)
        for question in questions
        for number, text in enumerate(texts[question.id])
    ]
    return _table(rows, REWARDS_SCHEMA)


def _pairs(pairs: Sequence[LabelledPair]) -> bytes:
    return _table([(pair.id, pair.chosen, pair.rejected) for pair in pairs], PAIRS_SCHEMA)


def _table(rows: Sequence[Sequence[object]], schema: pa.Schema) -> bytes:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return parquet_bytes(pa.table(arrays, schema=schema))


def _sampling(recipe: PolicyDPO, number: int) -> Sampling:
    return Sampling(
        num_samples=number, temperature=recipe.temperature, max_new_tokens=recipe.max_new_tokens
    )


def _prompts(questions: Sequence[PreferenceQuestion], prompt: Prompt) -> dict[str, str]:
    """Returns question id -> the prompt of the policy, without choices."""
    return {
        question.id: prompt.prompt(
            Item(id=question.id, question=question.text, choices=(), answer=0)
        )
        for question in questions
    }
