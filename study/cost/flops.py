"""Expected work of a cell, before it runs: tokens and floating-point operations (FLOP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.cell import Cell
from search_spaces.recipes import (
    AdapterTraining,
    InContext,
    LinearProbe,
    PolicyDPO,
    Recipe,
    WeightTraining,
    num_updates,
    updates_per_epoch,
)
from search_spaces.supervision import SelfTraining
from trainables.data.draws import CellDraws
from trainables.data.items import Item
from trainables.data.task import SplitTask
from trainables.models.source import ModelSource

CHARS_PER_TOKEN = 3.5
"""Assumption: between about 4 for large English vocabularies and less for the lab's small one."""

FLOP_PER_PARAM_TOKEN = 2.0
"""Forward pass: one multiplication and one addition per weight and token."""

LORA_FACTOR = 3.0
"""LoRA training in forward passes: one forward pass, and gradients through the frozen base to the
adapters, which cost two more; no gradients of the base weights."""

FULL_FACTOR = 4.0
"""Full fine-tuning in forward passes: adds gradients of activations and weights, and the update."""

PROBE_SHARE = 0.1
"""A probe's share of the pass that extracts a task's hidden states, if at most ten share it
(`study.planning.units.share_passes`)."""

UNKNOWN_PARAMS = 1_000_000_000
"""Assumed for a model whose size cannot be read."""

CPU_FLOP_PER_SECOND = 3e10
"""One CPU thread on the lab's models, measured on the default study with five seeds (1.8e13 FLOP in
570 cell-seconds); measured times replace it as cells finish."""

START_SECONDS = 40.0
"""From a plan to its first cell: a local Ray (6 s), its trial, controller and workers (25 s), and
the workers' imports (9 s), measured on two cores. Loading the weights adds to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSize:
    """The quantities of a task that its work depends on."""

    num_test: int
    num_items: int
    tokens_per_item: float
    """A question with all its choices."""
    num_choices: float
    """Mean over items."""
    longest_tokens: float = 0.0
    """Of the longest question with all its choices; 0: unknown."""


def task_size(task: SplitTask, tested: Sequence[str] | None = None) -> TaskSize:
    """Returns the size of a task; estimates tokens from characters.

    Args:
        task: The task with its split.
        tested: Ids of the test items that cells score; None: all.
    """
    num_test = len(task.split.test if tested is None else tested)
    items = task.data.items
    return size_of_items(items, num_test=num_test, num_items=num_test + len(task.split.pool))


def size_of_items(items: Sequence[Item], *, num_test: int, num_items: int) -> TaskSize:
    """Returns the size of a task with these texts; estimates tokens from characters."""
    lengths = [len(item.question) + sum(map(len, item.choices)) for item in items]
    number = max(len(items), 1)
    return TaskSize(
        num_test=num_test,
        num_items=num_items,
        tokens_per_item=sum(lengths) / CHARS_PER_TOKEN / number,
        num_choices=sum(len(item.choices) for item in items) / number,
        longest_tokens=max(lengths, default=0) / CHARS_PER_TOKEN,
    )


def expected_flop(
    cell: Cell,
    draws: CellDraws | None,
    model: ModelSource,
    size: TaskSize,
    *,
    shows_choices: bool,
) -> float:
    """Returns the expected FLOP of a cell.

    An upper bound for self-training: every round is assumed to keep its whole pool.

    Args:
        cell: The cell.
        draws: Of its items; None: it draws none.
        model: Its base model.
        size: Of its task.
        shows_choices: Whether its prompt lists the choices. Probes share the hidden states of an
            unlabelled pool where it does not.
    """
    options = None if draws is None else cell.self_training
    if isinstance(cell.recipe, LinearProbe) and not shows_choices:
        options = None
    return recipe_flop(cell.recipe, options, _active_params(model), size)


def expected_training_flop(
    cell: Cell, draws: CellDraws | None, model: ModelSource, size: TaskSize
) -> float:
    """Returns the part of a cell's FLOP that a worker group divides among its workers."""
    options = None if draws is None else cell.self_training
    return training_flop(cell.recipe, options, _active_params(model), size)


def _active_params(model: ModelSource) -> int:
    return model.num_active_params or model.num_params or UNKNOWN_PARAMS


def training_flop(
    recipe: Recipe, options: SelfTraining | None, num_params: int, size: TaskSize
) -> float:
    """Returns the part of `recipe_flop` that trains weights: passes and updates.

    Workers of a group divide each training batch (`trainables.methods.training.loop`). Everything
    else (scoring, hidden states, generation, labelling, a policy's training) each of them does in
    full.
    """
    if not isinstance(recipe, WeightTraining):
        return 0.0
    factor = LORA_FACTOR if isinstance(recipe, AdapterTraining) else FULL_FACTOR
    num_pool, _ = _labelling(options, size)
    num_items = recipe.n_train + round(num_pool)
    epochs = num_updates(recipe, num_items) / updates_per_epoch(recipe, num_items)
    seen = num_items * epochs
    return factor * seen * _pass_over_item(recipe, num_params, size)


def recipe_flop(
    recipe: Recipe, options: SelfTraining | None, num_params: int, size: TaskSize
) -> float:
    """Returns the FLOP of a cell; of one round for self-training."""
    per_token = FLOP_PER_PARAM_TOKEN * num_params
    pass_over_item = _pass_over_item(recipe, num_params, size)
    turns = size.num_choices if recipe.orders == "all" else 1.0
    scoring = turns * size.num_test * pass_over_item
    if isinstance(recipe, PolicyDPO):
        return scoring + _policy_flop(recipe, pass_over_item, per_token, size)
    _, labelling = _labelling(options, size)
    if isinstance(recipe, InContext):
        shown = recipe.k * per_token * size.tokens_per_item
        return scoring + shown + labelling * pass_over_item
    if isinstance(recipe, WeightTraining):
        training = training_flop(recipe, options, num_params, size)
        return scoring + training + labelling * pass_over_item
    if isinstance(recipe, LinearProbe):
        return (PROBE_SHARE * size.num_items + labelling) * pass_over_item
    return scoring


def _pass_over_item(recipe: Recipe, num_params: int, size: TaskSize) -> float:
    """Returns the FLOP of one forward pass over an item, including generated reasoning."""
    tokens = size.tokens_per_item
    if recipe.reasoning is not None:
        tokens += recipe.reasoning.max_new_tokens
    return FLOP_PER_PARAM_TOKEN * num_params * tokens


def _policy_flop(
    recipe: PolicyDPO, pass_over_item: float, per_token: float, size: TaskSize
) -> float:
    """Returns the FLOP of a policy's test answers, its candidate answers and its training."""
    answer = recipe.max_new_tokens * per_token
    testing = size.num_test * (pass_over_item + recipe.num_samples * answer)
    if recipe.labels == "none":
        return testing
    writing = recipe.num_questions * (pass_over_item + recipe.num_candidates * answer)
    # Two answers per pair; the reference scores each pair once, before training.
    passes = FULL_FACTOR * recipe.epochs + 1.0
    training = passes * 2.0 * recipe.num_questions * pass_over_item
    return testing + writing + training


def _labelling(options: SelfTraining | None, size: TaskSize) -> tuple[float, float]:
    """Returns the size of a round's unlabelled pool, and the item passes that label it.

    The pool is labelled twice: by the model before the round and by the one after it.
    """
    if options is None:
        return 0.0, 0.0
    share = size.num_items - size.num_test
    num_pool = float(min(options.max_unlabelled or share, share))
    turns = size.num_choices if options.orders == "all" else 1.0
    return num_pool, 2.0 * num_pool * turns
