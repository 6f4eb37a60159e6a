"""Trains a policy by direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from search_spaces.recipes import FullFineTuning, LoRA, PolicyDPO
from trainables.data.items import Item
from trainables.methods.base.interface import CellContext, Example, FittedMethod
from trainables.methods.dpo.candidates import LabelledPair
from trainables.methods.full_fine_tuning import fitted_weights
from trainables.methods.lora import fitted_adapter
from trainables.methods.training.objectives import preference_objective
from trainables.models.loading import Base


@contextmanager
def trained_policy(
    context: CellContext, recipe: PolicyDPO, base: Base, pairs: Sequence[LabelledPair]
) -> Iterator[FittedMethod]:
    """Trains the base's weights, or an adapter on it, on the pairs; yields the trained state.

    The untrained base is the reference: its log-probabilities are computed once, before training.
    The base is restored when the context ends.

    Args:
        context: Of the cell; its names seed the adapter and the order of the pairs.
        recipe: Hyper-parameters.
        base: The model that is trained, in place.
        pairs: Preferred and rejected answers; the order of the sequence does not matter.

    Raises:
        ValueError: If there are no pairs, or one does not fit into the model's context.
        TrainingError: If the loss or its gradient is not finite.
    """
    if not pairs:
        raise ValueError(
            "no pairs to train a policy on: no question has two different sampled answers that the "
            "scorer ranks; sample more questions or raise the temperature"
        )
    examples = [_example(pair) for pair in sorted(pairs, key=lambda pair: pair.id)]
    objective = preference_objective(context, base, examples, recipe.beta)
    training = training_recipe(recipe)
    if isinstance(training, LoRA):
        fitting = fitted_adapter(context, training, base, examples, start=None, objective=objective)
    else:
        fitting = fitted_weights(context, training, base, examples, start=None, objective=objective)
    with fitting as fitted:
        yield fitted


def training_recipe(recipe: PolicyDPO) -> LoRA | FullFineTuning:
    """Returns how a policy's weights, or its adapter, are trained on an objective."""
    shared = recipe.model_dump(include={"learning_rate", "epochs", "batch_size", "max_grad_norm"})
    if recipe.rank is None:
        return FullFineTuning(**shared)
    return LoRA(**shared, rank=recipe.rank, alpha=recipe.alpha)


def _example(pair: LabelledPair) -> Example:
    choices = (pair.chosen, pair.rejected)
    item = Item(id=pair.id, question=pair.question, choices=choices, answer=0)
    return Example(item=item, answer=0)
