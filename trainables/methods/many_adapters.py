"""Several cells' adapters trained side by side: one forward pass over the frozen base for all.

Every batch holds equally many rows of each adapter, one adapter's after the other's, so a layer's
low-rank updates are one batched product. Each adapter has its own data, loss, clipping and steps:
what it learns differs by rounding only from what it learns alone (class B).

Shape legend: see `trainables.methods.adapters`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from search_spaces.cell import cell_id
from search_spaces.recipes import QLoRA
from trainables.adapter_groups import may_train_together
from trainables.answer_tokens import TokenizedItems
from trainables.checkpoints import Checkpoint
from trainables.draws import seed_of
from trainables.engines.plain import clipped_by
from trainables.methods.adapter_stacks import DOWN, UP, Stacks, beside, stack_states
from trainables.methods.adapters import adapter_on
from trainables.methods.checkpointing import checkpointed
from trainables.methods.inputs import Example, Log, Setting, TrainedState
from trainables.methods.objectives import Objective, answer_log_probs, part_of
from trainables.methods.qlora import fitted_adapter
from trainables.methods.resume import Progress
from trainables.methods.training import (
    TrainingError,
    draw_batches,
    learning_rate_factor,
    make_objective,
    micro_batch_tokens,
    not_finite,
)
from trainables.models import Base

GROUP_TOKENS = 2
"""Micro-batches of a group hold this many times the tokens of a lone adapter's: with fewer an
adapter has an item or two in each, and the layers' overhead outweighs their work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedGroup:
    """What the cells of a group made."""

    states: tuple[TrainedState | TrainingError, ...]
    """Per cell its trained state, or why its training could not go on; the others' went on."""
    fault: str | None
    """Why the architecture cannot train them side by side, so that each was trained alone (class
    A); None: side by side (class B)."""


def fit_many(
    settings: Sequence[Setting],
    base: Base,
    examples: Sequence[Sequence[Example]],
    checkpoint: Checkpoint | None = None,
) -> TrainedGroup:
    """Trains a group of cells (`trainables.adapter_groups`); the base is as it was afterwards.

    `trainables.methods.restore` puts a state on the base to answer with it.

    Args:
        settings: Of the cells; all of one recipe.
        base: Their base model.
        examples: Per cell, its labelled items; equally many.
        checkpoint: Where the group keeps how far it is; None: nowhere.

    Raises:
        ValueError: If the cells are no group, or an item does not fit into the model's context.
    """
    recipe = _common_recipe(settings, examples)
    objectives = [
        make_objective(setting, recipe, base, row)
        for setting, row in zip(settings, examples, strict=True)
    ]
    states = _fresh_states(settings, recipe, base)
    fault = _fault(objectives, base, states[0])
    if fault is not None:
        pairs = zip(settings, examples, strict=True)
        alone = tuple(_fit_alone(setting, recipe, base, own) for setting, own in pairs)
        return TrainedGroup(states=alone, fault=fault)
    stacks = stack_states(states, base)
    training = _Training(
        settings=settings,
        recipe=recipe,
        objectives=objectives,
        stacks=stacks,
        checkpoint=None if checkpoint is None else _of_group(checkpoint, settings),
    )
    with beside(base, stacks, recipe):
        errors = training.run(base, examples)
    together = tuple(errors.get(place) or stacks.state(place) for place in range(len(settings)))
    return TrainedGroup(states=together, fault=None)


def _fit_alone(
    setting: Setting, recipe: QLoRA, base: Base, examples: Sequence[Example]
) -> TrainedState | TrainingError:
    try:
        with fitted_adapter(setting, recipe, base, examples, start=None) as fitted:
            return fitted.state()
    except TrainingError as error:
        return error


def _fault(objectives: Sequence[Objective], base: Base, state: TrainedState) -> str | None:
    if not all(objective.is_packed for objective in objectives):
        return "its rows cannot hold an item's answers side by side"
    modules = dict(base.model.named_modules())
    for name in state:
        layer = modules.get(name.removesuffix(DOWN).removesuffix(UP))
        if not name.endswith((DOWN, UP)) or not isinstance(layer, nn.Linear | Conv1D):
            return f"an adapter stands beside {name}, which is no linear layer's"
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    settings: Sequence[Setting]
    recipe: QLoRA
    objectives: Sequence[Objective]
    stacks: Stacks
    checkpoint: Checkpoint | None

    def run(self, base: Base, examples: Sequence[Sequence[Example]]) -> dict[int, TrainingError]:
        """Trains the stacks in place; returns the errors of cells with no finite loss or gradient.

        A training that was interrupted goes on from its checkpoint.
        """
        recipe, errors = self.recipe, dict[int, TrainingError]()
        budget = GROUP_TOKENS * micro_batch_tokens(self.settings[0], base)
        plans = [
            list(draw_batches(len(row), recipe, setting.names))
            for setting, row in zip(self.settings, examples, strict=True)
        ]
        norms: list[float] = []

        def clip() -> None:
            norms[:] = self.stacks.clip(recipe.max_grad_norm).tolist()

        engine = clipped_by(clip, self.stacks.parameters, recipe)
        log = self._log_of_all(errors, plans, examples)
        progress = Progress(checkpoint=self.checkpoint, engine=engine, log=log, device=base.device)
        progress.restore()
        with checkpointed(base, self.settings[0].execution, budget):
            for update, batches in islice(
                enumerate(zip(*plans, strict=True)), progress.num_done, None
            ):
                if len(errors) == len(self.settings):
                    break
                factor = learning_rate_factor(update, len(plans[0]), recipe.warm_up)
                rate = recipe.learning_rate * factor
                losses = self._backward(base, batches, budget)
                engine.step(rate)
                row = {"step": float(update + 1), "learning_rate": rate}
                for place, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
                    row |= {f"loss {place}": loss, f"norm {place}": norm}
                progress.done(row)
        return errors

    def _log_of_all(
        self,
        errors: dict[int, TrainingError],
        plans: Sequence[Sequence[list[int]]],
        examples: Sequence[Sequence[Example]],
    ) -> Log:
        """Returns what gives each cell its part of the group's rows, until its loss is no number.

        Args:
            errors: Gets the errors of such cells.
            plans: Per cell, the items of every update.
            examples: Per cell, its labelled items.
        """

        def log(row: Mapping[str, float]) -> None:
            step, rate = row["step"], row["learning_rate"]
            for place, setting in enumerate(self.settings):
                loss = row[f"loss {place}"]
                if place in errors:
                    continue
                if math.isfinite(loss) and math.isfinite(row[f"norm {place}"]):
                    setting.log({"step": step, "loss": loss, "learning_rate": rate})
                    continue
                update, number = int(step) - 1, len(plans[place])
                ids = [examples[place][index].item.id for index in plans[place][update]]
                errors[place] = not_finite(loss, update, number, rate, ids)

        return log

    def _backward(self, base: Base, batches: Sequence[list[int]], budget: int) -> list[float]:
        """Adds each adapter's gradient of its batch, and returns the mean losses."""
        totals = [0.0] * len(batches)
        for parts in self._micro_batches(batches, budget):
            pairs = list(zip(self.objectives, parts, strict=True))
            chosen = [part_of(objective.tokens, rows) for objective, rows in pairs]
            items = tuple(item for part in chosen for item in part.items)
            score_A = answer_log_probs(base, TokenizedItems(shared=[], items=items), True)
            counts = [sum(len(item.answers) for item in part.items) for part in chosen]
            losses = [
                objective.loss_of(own_A, rows) / len(batch)
                for (objective, rows), own_A, batch in zip(
                    pairs, score_A.split(counts), batches, strict=True
                )
            ]
            torch.stack(losses).sum().backward()
            for place, loss in enumerate(losses):
                totals[place] += float(loss.detach())
        return totals

    def _micro_batches(
        self, batches: Sequence[list[int]], budget: int
    ) -> Iterator[list[list[int]]]:
        """Yields equally many rows of each adapter, of similar length, within the budget."""

        def length(objective: Objective, row: int) -> int:
            item = objective.tokens.items[row]
            return len(item.context) + sum(map(len, item.answers))

        pairs = list(zip(self.objectives, batches, strict=True))
        ordered = [
            sorted(batch, key=lambda row, own=own: (-length(own, row), row))  # type: ignore[misc]
            for own, batch in pairs
        ]
        start, size = 0, len(batches[0])
        while start < size:
            width = max(
                length(own, rows[start]) for (own, _), rows in zip(pairs, ordered, strict=True)
            )
            number = max(1, budget // (width * len(batches)))
            yield [rows[start : start + number] for rows in ordered]
            start += number


def _of_group(checkpoint: Checkpoint, settings: Sequence[Setting]) -> Checkpoint:
    """Returns the checkpoint that only the same group goes on from, not one of its cells alone."""
    ids = [cell_id(setting.cell) for setting in settings]
    return replace(checkpoint, execution={**checkpoint.execution, "side_by_side": ids})


def _common_recipe(settings: Sequence[Setting], examples: Sequence[Sequence[Example]]) -> QLoRA:
    recipes = [setting.cell.recipe for setting in settings]
    first = recipes[0]
    alike = all(recipe == first for recipe in recipes) and len(set(map(len, examples))) == 1
    if not isinstance(first, QLoRA) or not alike:
        raise ValueError("cells that train side by side have one recipe and equally many labels")
    if not all(may_train_together(setting.cell) for setting in settings):
        raise ValueError(
            "a cell with dropout, a scalar head, a parent or self-training trains alone: see "
            "trainables.adapter_groups"
        )
    return first


def _fresh_states(settings: Sequence[Setting], recipe: QLoRA, base: Base) -> list[TrainedState]:
    """Returns the adapters' first weights: those that each cell's would have alone."""
    states: list[TrainedState] = []
    for setting in settings:
        with adapter_on(base, recipe, seed_of("adapter", *setting.names)) as adapter:
            states.append(adapter.state())
    return states
