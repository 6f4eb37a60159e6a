"""Prices recipe searches before their first trial.

The sampler chooses each trial's epochs, and worse trials stop early. Each trial is therefore priced
at the upper end of its ranges and to its last epoch: an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.recipes import LinearProbe, TrainedRecipe, WeightTraining
from search_spaces.space import Space
from search_spaces.tuning import IntRange, LogUniform, Range, with_parameters
from study.artifacts.plan import ModelFacts
from study.cost.budget import most_nodes
from study.cost.fitting import Setting, settings_of
from study.cost.flops import PROBE_SHARE, UNKNOWN_PARAMS, TaskSize, recipe_flop, size_of_items
from study.cost.jobs import (
    PricedJob,
    PricingOptions,
    check_budget,
    check_memory,
    text_lengths,
)
from study.cost.memory import Lengths
from study.cost.pricer import Pricer, shapes_of
from study.cost.text import describe_cost
from trainables.cluster.capacity import Capacity
from trainables.tuning.search import EasyItems, Search


def largest_recipe(search: Search) -> TrainedRecipe:
    """Returns the recipe at the upper end of every range, with the most work and memory."""
    history = search.history
    largest = {name: _largest(range_) for name, range_ in history.ranges.items()}
    return with_parameters(history.start, largest)


def trial_flop(search: Search) -> float:
    """Returns the largest number of floating-point operations of a trial.

    Weights are validated after each epoch; a probe extracts the states of all its items itself.
    """
    recipe = largest_recipe(search)
    size = _size(search.items)
    num_params = search.source.num_params or UNKNOWN_PARAMS
    if isinstance(recipe, WeightTraining):
        size = replace(size, num_test=size.num_test * recipe.epochs)
    flop = recipe_flop(recipe, None, num_params, size)
    return flop / PROBE_SHARE if isinstance(recipe, LinearProbe) else flop


class SearchBudget:
    """Prices the remaining trials and compares them with the user's `--max-cost`.

    Args:
        space: Provides footprints; a trial runs on one worker.
        searches: Each with its base model and its number of remaining trials.
        pricing: The prices.
        max_cost: Most dollars to spend; None: no limit.
    """

    def __init__(
        self,
        space: Space,
        searches: Sequence[tuple[BaseModelRef, Search, int]],
        pricing: PricingOptions,
        max_cost: float | None,
    ) -> None:
        self._market, self._max_cost = pricing, max_cost
        models = dict.fromkeys(model for model, _, _ in searches)
        alone = tuple(_alone(space, model) for model in models)
        self._space = space.model_copy(update={"models": alone})
        self._shapes = shapes_of(ModelFacts.of(model.name, s.source) for model, s, _ in searches)
        self._jobs = tuple(
            PricedJob(
                model=model.name,
                recipe=largest_recipe(search),
                num_cells=left,
                flop=left * trial_flop(search),
                lengths=_lengths(search),
            )
            for model, search, left in searches
        )

    def approve(self, *, has_gpus: bool) -> int | None:
        """Prints the upper bound of the cost; returns how many nodes may run at once.

        Args:
            has_gpus: Whether a trial gets a GPU if its footprint does not specify any.

        Returns:
            None: no limit.

        Raises:
            CostError: If it exceeds the budget, or is unknown and there is a budget.
            InsufficientMemoryError: If a base model does not fit on the known machines.
        """
        pricing = replace(self._market, has_gpus=has_gpus)
        cost = Pricer(self._space, self._shapes, self._jobs, pricing, {}).study(self._jobs)
        print("\n".join(describe_cost(cost, what="left")), flush=True)
        print(
            "            an upper bound: all trials at the upper ends of their ranges, to the end"
        )
        check_memory(cost)
        check_budget(cost, self._max_cost)
        return most_nodes(cost, self._max_cost)

    def settings(self, fits: Mapping[str, Capacity]) -> Iterator[tuple[Setting, ...]]:
        """Yields the setting of each search's workers, all of which run at once.

        Args:
            fits: Where the trials of each base model run.
        """
        for job in self._jobs:
            capacity = fits[job.model]
            footprint = Footprint(
                workers=min(capacity.slots * capacity.workers, job.num_cells),
                cpus_per_worker=capacity.cpus_per_worker,
                gpus_per_worker=capacity.gpus_per_worker,
            )
            yield settings_of([job], self._shapes, footprint)


def _largest(range_: Range) -> Any:
    if isinstance(range_, LogUniform | IntRange):
        return range_.high
    return max(range_.values, key=lambda value: len(value) if isinstance(value, tuple) else value)


def _size(items: EasyItems) -> TaskSize:
    used = (*items.labelled, *items.validation)
    return size_of_items(used, num_test=len(items.validation), num_items=len(used))


def _lengths(search: Search) -> Lengths:
    size, recipe = _size(search.items), largest_recipe(search)
    return text_lengths(recipe, mean=size.tokens_per_item, longest=size.longest_tokens)


def _alone(space: Space, model: BaseModelRef) -> BaseModelRef:
    """Returns the model with a footprint for trials: as many in parallel as fit on a node."""
    footprint: Footprint = space.footprint_of(model).model_copy(update={"workers": None})
    return model.model_copy(update={"footprint": footprint})
