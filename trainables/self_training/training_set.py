"""The training set of a round: labelled items, and items that it keeps from the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from search_spaces.recipes import InContext
from search_spaces.supervision import SelfTraining
from trainables.data.items import text_hash
from trainables.data.seeding import draw_ids, generator
from trainables.methods.base.interface import CellContext, Example
from trainables.self_training.selection import Selection
from trainables.self_training.unlabelled import UnlabelledItem, with_label

GoldOf = Callable[[Sequence[str]], Mapping[str, str]]
"""Selected ids -> the text of the right choice of each."""

Kept = Mapping[str, tuple[int, float]]
"""Items to train on, sorted by id: index of the pseudo-label, and its weight."""


def kept_items(
    context: CellContext,
    selection: Selection,
    by_id: Mapping[str, UnlabelledItem],
    admitted: Mapping[str, tuple[str, float]],
    num_labelled: int,
) -> Kept:
    """Returns the items to train on.

    If labels accumulate, items admitted before keep their labels. A prompt holds few examples: each
    round adds as many as are labelled, the most confident first.

    Args:
        context: Of the cell.
        selection: Of this round.
        by_id: The pool.
        admitted: Items of the round before: id -> hash of the label's text, and its weight.
        num_labelled: Labelled items of the cell.
    """
    now = zip(selection.ids, selection.labels, selection.weights, strict=True)
    kept = {id_: (label, weight) for id_, label, weight in now}
    before = _stays(context, by_id, admitted)
    for id_ in before:
        label, weight = admitted[id_]
        hashes = [text_hash(choice) for choice in by_id[id_].choices]
        kept[id_] = (hashes.index(label), weight)
    if isinstance(context.cell.recipe, InContext):
        shown = _in_prompt(context, kept, selection, before)[: len(before) + num_labelled]
        kept = {id_: kept[id_] for id_ in shown}
    return dict(sorted(kept.items()))


def target_labels(
    context: CellContext, kept: Kept, by_id: Mapping[str, UnlabelledItem], gold_of: GoldOf | None
) -> dict[str, int]:
    """Returns the training labels of the kept items; none for the control `none`.

    Raises:
        ValueError: If the control `oracle` has no access to gold.
    """
    targets = _options(context).targets
    if targets == "none":
        return {}
    if targets == "pseudo":
        return {id_: label for id_, (label, _) in kept.items()}
    if targets == "random":
        return {
            id_: generator("random pseudo-label", *context.names, id_).randrange(
                len(by_id[id_].choices)
            )
            for id_ in kept
        }
    if gold_of is None:
        raise ValueError("the control 'oracle' needs the gold labels of the selected items")
    gold = gold_of(tuple(kept))
    return {id_: by_id[id_].choices.index(gold[id_]) for id_ in kept}


def training_examples(
    context: CellContext,
    examples: Sequence[Example],
    kept: Kept,
    targets: Mapping[str, int],
    by_id: Mapping[str, UnlabelledItem],
    selection: Selection,
    admitted: Mapping[str, tuple[str, float]],
) -> list[Example]:
    """Returns labelled and pseudo-labelled examples, in drawing order."""
    options = _options(context)
    if options.targets == "none":
        # As many examples as with pseudo-labels, and so as many optimizer steps.
        number = len(examples) + len(kept)
        return [examples[index % len(examples)] for index in range(number)]
    if isinstance(context.cell.recipe, InContext):
        order = _in_prompt(context, kept, selection, _stays(context, by_id, admitted))
    else:
        order = _drawn(context, kept)
    return [
        *examples,
        *(
            Example(
                item=with_label(by_id[id_], targets[id_]),
                answer=targets[id_],
                weight=kept[id_][1],
                smoothing=options.label_smoothing,
            )
            for id_ in order
        ),
    ]


def _options(context: CellContext) -> SelfTraining:
    options = context.cell.self_training
    if options is None:
        raise ValueError("a cell without self-training has no round to run")
    return options


def _stays(
    context: CellContext,
    by_id: Mapping[str, UnlabelledItem],
    admitted: Mapping[str, tuple[str, float]],
) -> frozenset[str]:
    """Returns items that were admitted before and stay, whatever the model predicts now."""
    if _options(context).memory != "accumulate":
        return frozenset()
    return frozenset(id_ for id_ in admitted if id_ in by_id)


def _drawn(context: CellContext, ids: Iterable[str]) -> list[str]:
    known = list(ids)
    return list(draw_ids(known, len(known), "pseudo-labelled", *context.names))


def _in_prompt(
    context: CellContext, ids: Iterable[str], selection: Selection, before: frozenset[str]
) -> list[str]:
    """Returns the items in the prompt's order: earlier admissions first, then by confidence."""

    def rank(id_: str) -> tuple[bool, float]:
        return id_ not in before, -selection.confidence[id_]

    return sorted(_drawn(context, ids), key=rank)
