"""Several cells' adapters trained side by side: one forward pass over the frozen base for all.

Every batch holds equally many rows of each adapter, one adapter's after the other's, so a layer's
low-rank updates are one batched product. Each adapter has its own data, loss, clipping and steps:
what it learns differs by rounding only from what it learns alone (class B).

Shape legend: see `trainables.methods.adapters`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from search_spaces.recipes import QLoRA
from trainables.adapter_groups import may_train_together
from trainables.answer_tokens import TokenizedItems
from trainables.draws import seed_of
from trainables.methods.adapters import adapter_on, add_low_rank
from trainables.methods.checkpointing import checkpointed
from trainables.methods.inputs import Example, Setting, TrainedState
from trainables.methods.objectives import Objective, answer_log_probs, part_of
from trainables.methods.qlora import fitted_adapter
from trainables.methods.training import (
    TrainingError,
    draw_batches,
    learning_rate_factor,
    make_objective,
    micro_batch_tokens,
    not_finite,
)
from trainables.models import Base

DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"
"""Ends of the names of a layer's two factors in a trained state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedGroup:
    """What the cells of a group made."""

    states: tuple[TrainedState | TrainingError, ...]
    """Per cell its trained state, or why its training could not go on; the others' went on."""
    fault: str | None
    """Why the architecture cannot train them side by side, so that each was trained alone (class
    A); None: side by side (class B)."""


def fit_many(
    settings: Sequence[Setting], base: Base, examples: Sequence[Sequence[Example]]
) -> TrainedGroup:
    """Trains a group of cells (`trainables.adapter_groups`); the base is as it was afterwards.

    `trainables.methods.restore` puts a state on the base to answer with it.

    Args:
        settings: Of the cells; all of one recipe.
        base: Their base model.
        examples: Per cell, its labelled items; equally many.

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
    stacks = _stack(states, base)
    training = _Training(settings=settings, recipe=recipe, objectives=objectives, stacks=stacks)
    budget = micro_batch_tokens(settings[0], base)
    with _beside(base, stacks, recipe), checkpointed(base, settings[0].execution, budget):
        errors = training.run(base, examples, budget)
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
class _Stacks:
    """The factors of all adapters, by the name of the layer that they stand beside."""

    down_GRI: Mapping[str, nn.Parameter]
    up_GOR: Mapping[str, nn.Parameter]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*self.down_GRI.values(), *self.up_GOR.values()]

    def state(self, place: int) -> TrainedState:
        made = {}
        for name in self.down_GRI:
            for end, stack in ((DOWN, self.down_GRI[name]), (UP, self.up_GOR[name])):
                made[name + end] = stack[place].detach().to("cpu", copy=True)
        return made

    def clip(self, largest: float) -> None:
        """Scales each adapter's gradient to the largest norm, as it would be alone."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        square_G = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients])
        factor_G = (largest / (square_G.sum(dim=0).sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor_G[:, None, None])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    settings: Sequence[Setting]
    recipe: QLoRA
    objectives: Sequence[Objective]
    stacks: _Stacks

    def run(
        self, base: Base, examples: Sequence[Sequence[Example]], budget: int
    ) -> dict[int, TrainingError]:
        """Trains the stacks in place; returns the errors of cells whose loss is no number."""
        recipe, errors = self.recipe, dict[int, TrainingError]()
        optimizer = torch.optim.AdamW(
            self.stacks.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        plans = [
            list(draw_batches(len(row), recipe, setting.names))
            for setting, row in zip(self.settings, examples, strict=True)
        ]
        for update, batches in enumerate(zip(*plans, strict=True)):
            factor = learning_rate_factor(update, len(plans[0]), recipe.warm_up)
            rate = recipe.learning_rate * factor
            losses = self._backward(base, batches, budget)
            for place, loss in enumerate(losses):
                if place not in errors and not math.isfinite(loss):
                    ids = [examples[place][index].item.id for index in batches[place]]
                    errors[place] = not_finite(loss, update, len(plans[0]), rate, ids)
                row = {"step": float(update + 1), "loss": loss, "learning_rate": rate}
                if place not in errors:
                    self.settings[place].log(row)
            if len(errors) == len(self.settings):
                break
            self.stacks.clip(recipe.max_grad_norm)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        return errors

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


def _stack(states: Sequence[TrainedState], base: Base) -> _Stacks:
    def stacked(end: str) -> dict[str, nn.Parameter]:
        return {
            name.removesuffix(end): nn.Parameter(
                torch.stack([state[name] for state in states]).to(base.device)
            )
            for name in states[0]
            if name.endswith(end)
        }

    return _Stacks(down_GRI=stacked(DOWN), up_GOR=stacked(UP))


@contextmanager
def _beside(base: Base, stacks: _Stacks, recipe: QLoRA) -> Iterator[None]:
    """Adds the low-rank updates to the layers' outputs for a while."""
    with ExitStack() as stack:
        for name in stacks.down_GRI:
            hook = _hook(stacks.down_GRI[name], stacks.up_GOR[name], recipe.alpha / recipe.rank)
            stack.callback(base.model.get_submodule(name).register_forward_hook(hook).remove)
        yield


def _hook(down_GRI: Tensor, up_GOR: Tensor, scale: float) -> Any:
    def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # Rows of one adapter stand together, so tokens do too, flattened or not.
        return add_low_rank(output, args[0], down_GRI, up_GOR, scale)

    return add
