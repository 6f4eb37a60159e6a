"""One trial of a recipe search: train on the easy labels, answer the validation items.

A trial receives only the labelled and the validation items of a task, so no other label can reach a
search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces.cell import Cell, step_version
from search_spaces.recipes import TrainedRecipe, WeightTraining, num_labels
from trainables.data.items import Item
from trainables.data.seeding import ids_hash
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.choice_orders import answer_in_orders
from trainables.methods.base.interface import Answers, CellContext, Example, FittedMethod
from trainables.methods.dispatch import fit
from trainables.models.chat import find_any_prompt
from trainables.models.loading import Base, load_base
from trainables.storage.records import choice_scores
from trainables.tuning.search import Report, Search


def run_trial(
    search: Search,
    recipe: TrainedRecipe,
    base: Base,
    report: Report,
    states: StateCache | None = None,
) -> None:
    """Runs a recipe on the search's labels; leaves the base model unchanged.

    Equal arguments give equal reports, whatever ran before in this process.

    Args:
        search: The search.
        recipe: What to try.
        base: The search's base model.
        report: Receives the validation accuracy after each epoch.
        states: Hidden states that probes of several trials share; None: the trial is alone.

    Raises:
        TrainingError: If the training cannot continue.
        ValueError: If an item does not fit into the model's context.
    """
    validation = search.items.validation

    def after_epoch(epoch: int, fitted: FittedMethod) -> None:
        answers = answer_in_orders(fitted, validation, recipe.orders)
        report(accuracy(answers, validation))

    history = search.history
    labelled = search.items.labelled[: num_labels(recipe)]
    context = CellContext(
        cell=_cell(search, recipe, labelled),
        prompt=find_any_prompt(history.task, history.prompt, base.tokenizer, validation[0]),
        items=(*search.items.labelled, *validation),
        states=states or StateCache(),
        log=lambda row: None,
        after_epoch=after_epoch,
    )
    examples = [Example(item=item, answer=item.answer) for item in labelled]
    with fit(context, base, examples) as fitted:
        if not isinstance(recipe, WeightTraining):
            after_epoch(1, fitted)


def load_search_base(search: Search, device: str) -> Base:
    """Returns the search's base model in the quantization of its recipe."""
    history = search.history
    return load_base(
        search.source,
        dtype=history.dtype,
        quantization=history.start.quantization,
        device=device,
    )


def accuracy(answers: Answers, items: Sequence[Item]) -> float:
    """Returns the share of right answers, in [0, 1]; a tie of n choices counts 1/n."""
    if answers.log_probs is None:
        return float(np.mean([answer.is_correct for answer in answers.generated or ()]))
    return float(choice_scores(answers.log_probs, [item.answer for item in items]).mean())


def _cell(search: Search, recipe: TrainedRecipe, labelled: Sequence[Item]) -> Cell:
    """Returns the cell whose fields seed a trial: trials with equal labels draw equal numbers."""
    history = search.history
    return Cell(
        model=history.model,
        dtype=history.dtype,
        task=history.task,
        data_hash=search.items.hash,
        split_hash="search",
        prompt=history.prompt,
        recipe=recipe,
        training_hash=ids_hash(item.id for item in labelled),
        study_seed=history.study_seed,
        seed=history.seed,
        version=step_version(recipe, history.dtype),
    )
