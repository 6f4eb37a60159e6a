"""Linear probe: one linear score on the hidden states of question + answer, shared by all choices.

Shape legend: see `trainables.methods.probes.conditional_logit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from search_spaces.recipes import LinearProbe
from trainables.data.items import Item, data_hash
from trainables.data.prompts.formats import Prompt
from trainables.inference.forward_pass import count_layers
from trainables.inference.hidden_states import TaskStates, layer_number
from trainables.inference.scoring import default_token_budget
from trainables.methods.base.answering import state_key
from trainables.methods.base.interface import (
    Answers,
    CellContext,
    Example,
    FittedMethod,
    TrainedState,
)
from trainables.methods.probes.conditional_logit import (
    LogitFit,
    fit_conditional_logit,
    smooth_targets,
)
from trainables.methods.probes.gradient_descent import fit_sgd
from trainables.methods.probes.probe import Probe, probe_of
from trainables.models.loading import Base

STD_FLOOR = 1e-3
"""Lower bound of the standard deviation that a feature is divided by, as a share of the median over
features that vary. Without it, a feature that hardly varies over the training items could be huge
on other items."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Probed:
    context: CellContext
    recipe: LinearProbe
    base: Base
    probe: Probe

    def answer(self, items: Sequence[Item]) -> Answers:
        """Returns the log-softmax of the probe's scores of each item's choices."""
        features = _features(self.context, self.recipe, self.base, items)
        counts = features.counts
        score_IC, is_choice_IC = _stack(self.probe.scores(features.row_RF)[:, None], counts)
        log_prob_IC = score_IC[:, :, 0].masked_fill(~is_choice_IC, -torch.inf).log_softmax(dim=1)
        log_probs = [
            row_C[:count] for row_C, count in zip(log_prob_IC.numpy(), counts, strict=True)
        ]
        return Answers(log_probs=log_probs, notes=features.notes)

    def state(self) -> TrainedState:
        return self.probe.state()


@contextmanager
def fitted_probe(
    context: CellContext, recipe: LinearProbe, base: Base, examples: Sequence[Example]
) -> Iterator[FittedMethod]:
    """Yields a probe fitted to the examples."""
    items = [example.item for example in examples]
    features = _features(context, recipe, base, items)
    mean_F, std_F = _statistics(features.row_RF)
    feature_ICF, is_choice_IC = _stack((features.row_RF - mean_F) / std_F, features.counts)
    fit = _fit(context, recipe, feature_ICF, is_choice_IC, examples)
    context.log({"step": float(fit.num_steps), "loss": fit.loss})
    layers = tuple(layer_number(layer, count_layers(base.model)) for layer in recipe.layers)
    probe = Probe(layers=layers, mean_F=mean_F, std_F=std_F, weight_F=fit.weight_F)
    yield _Probed(context=context, recipe=recipe, base=base, probe=probe)


def _fit(
    context: CellContext,
    recipe: LinearProbe,
    feature_ICF: Tensor,
    is_choice_IC: Tensor,
    examples: Sequence[Example],
) -> LogitFit:
    """Returns the recipe's fit, its loss as a mean over the items."""
    answer_I = torch.tensor([example.answer for example in examples])
    smoothing_I = torch.tensor([example.smoothing for example in examples], dtype=torch.float64)
    target_IC = smooth_targets(answer_I, is_choice_IC, smoothing_I[:, None])
    weight_I = torch.tensor([example.weight for example in examples], dtype=torch.float64)
    if recipe.solver == "paper":
        names = ("probe", *context.names)
        return fit_sgd(feature_ICF, is_choice_IC, target_IC, weight_I=weight_I, names=names)
    fit = fit_conditional_logit(feature_ICF, is_choice_IC, target_IC, recipe.l2, weight_I)
    return replace(fit, loss=fit.loss / len(weight_I))


@contextmanager
def restored_probe(
    context: CellContext, recipe: LinearProbe, base: Base, state: TrainedState
) -> Iterator[FittedMethod]:
    """Yields the probe of an earlier fit."""
    yield _Probed(context=context, recipe=recipe, base=base, probe=probe_of(state))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Features:
    """Hidden states of the items' choices."""

    row_RF: Tensor
    counts: list[int]
    """Rows of each item."""
    notes: tuple[str, ...]


def _features(
    context: CellContext, recipe: LinearProbe, base: Base, items: Sequence[Item]
) -> _Features:
    """Returns the items' features, from the task's states where the items are the task's.

    Unlabelled items have their choices in an order of the cell. Where the prompt does not show
    them, one pass serves all cells: over the task's items that are not tested, their choices
    sorted, because the stored order can reveal the right one. Trivial examples are not in the task.
    """
    known = {item.id: item for item in context.items}
    if all(_is_same(known.get(item.id), item) for item in items):
        states = _states(
            context, recipe, base, context.items, context.cell.data_hash, test=context.test
        )
        row_RF, counts = states.of(items, recipe.layers)
        return _Features(row_RF=row_RF, counts=counts, notes=states.notes)
    tested = {item.id for item in context.test}
    pool = tuple(_with_sorted_choices(item) for item in context.items if item.id not in tested)
    by_id = {item.id: item for item in pool}
    orders = [_order_in(context.prompt, by_id.get(item.id), item) for item in items]
    if any(order is None for order in orders):
        states = _states(context, recipe, base, items, data_hash(items), to_file=False)
        row_RF, counts = states.of(items, recipe.layers)
        return _Features(row_RF=row_RF, counts=counts, notes=states.notes)
    states = _states(context, recipe, base, pool, data_hash(pool))
    row_RF, counts = states.of(items, recipe.layers)
    placed = zip(accumulate(counts[:-1], initial=0), orders, strict=True)
    rows = [start + place for start, order in placed for place in order or ()]
    return _Features(row_RF=row_RF[rows], counts=counts, notes=states.notes)


def _states(
    context: CellContext,
    recipe: LinearProbe,
    base: Base,
    items: Sequence[Item],
    items_hash: str,
    *,
    test: Sequence[Item] = (),
    to_file: bool = True,
) -> TaskStates:
    return context.states.get(
        base,
        items,
        context.prompt,
        key=state_key(context, items_hash),
        layers=recipe.layers,
        test=test,
        to_file=to_file,
        token_budget=context.execution.tokens(default_token_budget(base.model)),
    )


def _is_same(known: Item | None, item: Item) -> bool:
    return known is not None and (known.question, known.choices) == (item.question, item.choices)


def _with_sorted_choices(item: Item) -> Item:
    return replace(item, choices=tuple(sorted(item.choices)), answer=0)


def _order_in(prompt: Prompt, known: Item | None, item: Item) -> list[int] | None:
    """Returns the place of each of the item's choices in the known item; None for other texts."""
    if known is None or prompt.question(known) != prompt.question(item):
        return None
    texts = prompt.choice_texts(known)
    places = [texts.index(text) for text in prompt.choice_texts(item) if text in texts]
    return places if len(places) == len(texts) == len(item.choices) else None


def _statistics(row_RF: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and bounded standard deviation of each feature over the training choices.

    A feature that does not vary gets 1 and does not count in the median.
    """
    std_F = row_RF.std(dim=0, correction=0)
    varies_F = std_F > 0
    floor = STD_FLOOR * float(std_F[varies_F].median()) if varies_F.any() else 0.0
    return row_RF.mean(dim=0), std_F.clamp_min(floor).where(varies_F, 1.0)


def _stack(row_RF: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Returns the features padded to the most choices of an item, and the mask of real choices."""
    feature_ICF = torch.nn.utils.rnn.pad_sequence(list(row_RF.split(counts)), batch_first=True)
    return feature_ICF, torch.arange(max(counts)) < torch.tensor(counts)[:, None]
