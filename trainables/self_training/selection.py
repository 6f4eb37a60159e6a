"""Selects pseudo-labelled items by a model's predictions on an unlabelled pool, without gold.

A label is the model's most probable choice. Exact ties (the two most probable choices are equal)
have no label and are never selected. As tau rises, every rule selects a subset of what it selected
before.

The rules:

`fixed`: confidence > tau, as in SSRM (arXiv:2409.06903).
`quantile`: tau is the share of the pool that is left out: the floor((1 - tau) n) most confident
    items are selected, exact ties excluded.
`class-balanced`: among items with confidence > tau, the n most confident of each predicted class,
    n being the size of the smallest class; balanced within each number of choices.
`freematch`: confidence >= min(mean confidence, tau) * factor of the predicted class, both
    moving averages over rounds; tau is the cap (arXiv:2205.07246; its code can cap at 0.95).
`softmatch`: all items, weighted by how far their confidence is below the mean; items whose weight
    rounds to 0 are left out, and there is no tau (arXiv:2301.10921). The mean is the moving
    average, or this pool's mean if that is lower: a model that has become less confident overall
    has not become wrong overall, and a pool with a single confidence has weight 1.

Equal confidences are ranked by a hash of the item ids.

A class is the text of a choice if all items share their texts, else its position
(`trainables.self_training.unlabelled`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from search_spaces.explain import count
from trainables.self_training.confidence import (
    MOMENTUM,
    ConfidenceState,
    Guess,
    Rule,
    Scale,
    check_threshold,
    class_factors,
    measured,
    read_pool,
    soft_weight,
    updated,
)
from trainables.self_training.unlabelled import classes_of, shared_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassThreshold:
    """The least confidence that items of one predicted class needed."""

    num_choices: int
    class_: int
    """Place of the predicted choice's text among the texts that all items share, sorted; where they
    share none its position, in the order the item's probabilities have."""
    threshold: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The pseudo-labelled items of one round, and the confidences of the whole pool."""

    ids: tuple[str, ...]
    """Of the selected items, sorted as text."""
    labels: tuple[int, ...]
    """Index of the predicted choice of each selected item."""
    weights: tuple[float, ...]
    """Of each selected item in the loss, in (0, 1]; 1 for all rules but `softmatch`."""
    confidence: Mapping[str, float]
    """Of every item of the pool, on the scale asked for; sorted by id."""
    pool_labels: Mapping[str, int | None]
    """Predicted choice of every item of the pool; None for an exact tie."""
    num_choices: Mapping[str, int]
    """Of every item of the pool."""
    threshold: float | None
    """Threshold that the confidence had to exceed (`quantile`: to reach, with equal confidences
    ranked by hash; `freematch`: to reach, before the factor of the class); None if the rule has no
    threshold."""
    class_thresholds: tuple[ClassThreshold, ...] = ()
    """For rules with thresholds by class; classes without selected items may have none."""
    state: ConfidenceState | None = None
    """For the next round (`freematch` and `softmatch`)."""
    note: str | None = None
    """The reason, if no item was selected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    guesses: Sequence[Guess]
    weights: Sequence[float]
    threshold: float | None
    class_thresholds: tuple[ClassThreshold, ...] = ()
    state: ConfidenceState | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    tau: float
    state: ConfidenceState | None
    momentum: float
    texts: tuple[str, ...] | None
    """Of the choices, if they are the classes."""


def select(
    pool: Mapping[str, ArrayLike],
    *,
    rule: Rule = "fixed",
    tau: float | None,
    scale: Scale = "raw",
    classes: Mapping[str, Sequence[str]] | None = None,
    state: ConfidenceState | None = None,
    momentum: float = MOMENTUM,
) -> Selection:
    """Returns the items of a pool that a rule selects, with their pseudo-labels.

    Args:
        pool: Item id -> probability of each choice, averaged over orders.
        rule: How confident items are chosen.
        tau: The threshold, in [1/k, 1] (raw) or [0, 1] (chance-normalised and `quantile`).
        scale: Of the confidence; several k need `chance-normalised`.
        classes: Item id -> text of each choice, in the order of its probabilities; None: classes
            are positions.
        state: Of the round before, for `freematch` and `softmatch`.
        momentum: Weight of the rounds before in the moving averages, in [0, 1).

    Raises:
        ValueError: If the pool is empty, its values are not distributions, or tau is invalid.
    """
    order = _class_order(pool, classes)
    by_class = {
        id_: np.asarray(row)[order[id_]] if id_ in order else row for id_, row in pool.items()
    }
    guesses = read_pool(by_class, scale)
    sizes = {guess.num_choices for guess in guesses}
    check_threshold(tau, rule=rule, scale=scale, num_choices=sizes)
    asked = _Asked(
        tau=1.0 if tau is None else tau,
        state=state,
        momentum=momentum,
        texts=None if classes is None else shared_texts({id_: classes[id_] for id_ in pool}),
    )
    kept = _RULES[rule](guesses, asked)
    pairs = sorted(zip(kept.guesses, kept.weights, strict=True), key=lambda pair: pair[0].id)
    labels = {guess.id: _label(guess, order) for guess in guesses}
    return Selection(
        ids=tuple(guess.id for guess, _ in pairs),
        labels=tuple(label for guess, _ in pairs if (label := labels[guess.id]) is not None),
        weights=tuple(weight for _, weight in pairs),
        confidence={guess.id: guess.confidence for guess in guesses},
        pool_labels=labels,
        num_choices={guess.id: guess.num_choices for guess in guesses},
        threshold=kept.threshold,
        class_thresholds=kept.class_thresholds,
        state=kept.state,
        note=None if pairs else _nothing(guesses, kept, rule),
    )


def _class_order(
    pool: Mapping[str, ArrayLike], classes: Mapping[str, Sequence[str]] | None
) -> Mapping[str, list[int]]:
    """Returns, for items that share their texts, the choices of each in the order of classes."""
    if classes is None:
        return {}
    numbers = classes_of({id_: classes[id_] for id_ in pool})
    return {id_: sorted(range(len(row)), key=row.__getitem__) for id_, row in numbers.items()}


def _label(guess: Guess, order: Mapping[str, list[int]]) -> int | None:
    """Returns the predicted choice in the order that the item's probabilities were given in."""
    if guess.label is None or guess.id not in order:
        return guess.label
    return order[guess.id][guess.label]


def _fixed(guesses: Sequence[Guess], asked: _Asked) -> _Kept:
    kept = _above(guesses, asked.tau)
    return _Kept(guesses=kept, weights=[1.0] * len(kept), threshold=asked.tau)


def _quantile(guesses: Sequence[Guess], asked: _Asked) -> _Kept:
    labelled = sorted((guess for guess in guesses if guess.label is not None), key=_rank)
    # (1 - 0.8) * 10 is 1.9999999999999996.
    number = math.floor(round((1.0 - asked.tau) * len(guesses), 9))
    cut = labelled[number].confidence if number < len(labelled) else None
    kept = labelled[:number]
    return _Kept(guesses=kept, weights=[1.0] * len(kept), threshold=cut)


def _class_balanced(guesses: Sequence[Guess], asked: _Asked) -> _Kept:
    kept: list[Guess] = []
    thresholds, empty = [], []
    above = sorted(_above(guesses, asked.tau), key=_rank)
    for k in sorted({guess.num_choices for guess in guesses}):
        classes = [[g for g in above if (g.num_choices, g.label) == (k, c)] for c in range(k)]
        number = min(len(members) for members in classes)
        if number == 0:
            none = [c for c, members in enumerate(classes) if not members]
            empty.append(f"no item of {k} choices is predicted to be of class {none}")
            continue
        for class_, members in enumerate(classes):
            kept += members[:number]
            last = members[number - 1].confidence
            thresholds.append(ClassThreshold(num_choices=k, class_=class_, threshold=last))
    return _Kept(
        guesses=kept,
        weights=[1.0] * len(kept),
        threshold=asked.tau,
        class_thresholds=tuple(thresholds),
        reason=f"{'; '.join(empty)} with more than that" if empty else None,
    )


def _freematch(guesses: Sequence[Guess], asked: _Asked) -> _Kept:
    state = updated(asked.state, measured(guesses, asked.texts), asked.momentum)
    threshold = min(state.mean, asked.tau)
    factors = class_factors(state)
    kept = [
        guess
        for guess in guesses
        if guess.label is not None
        and guess.confidence >= threshold * factors[guess.num_choices][guess.label]
    ]
    return _Kept(
        guesses=kept,
        weights=[1.0] * len(kept),
        threshold=threshold,
        class_thresholds=tuple(
            ClassThreshold(num_choices=k, class_=class_, threshold=threshold * factor)
            for k in sorted(factors)
            for class_, factor in enumerate(factors[k])
        ),
        state=state,
    )


def _softmatch(guesses: Sequence[Guess], asked: _Asked) -> _Kept:
    now = measured(guesses, asked.texts)
    state = updated(asked.state, now, asked.momentum)
    mean = min(state.mean, now.mean)
    weighted = [
        (guess, soft_weight(guess.confidence, mean=mean, variance=state.variance))
        for guess in guesses
        if guess.label is not None
    ]
    kept = [(guess, weight) for guess, weight in weighted if weight > 0.0]
    return _Kept(
        guesses=[guess for guess, _ in kept],
        weights=[weight for _, weight in kept],
        threshold=None,
        state=state,
    )


_RULES: Mapping[Rule, Callable[[Sequence[Guess], _Asked], _Kept]] = {
    "fixed": _fixed,
    "quantile": _quantile,
    "class-balanced": _class_balanced,
    "freematch": _freematch,
    "softmatch": _softmatch,
}


def _above(guesses: Sequence[Guess], cut: float) -> list[Guess]:
    return [guess for guess in guesses if guess.label is not None and guess.confidence > cut]


def _rank(guess: Guess) -> tuple[float, bytes]:
    # Ids may be related to the items' content; their hashes are not.
    return -guess.confidence, hashlib.sha256(guess.id.encode()).digest()


def _nothing(guesses: Sequence[Guess], kept: _Kept, rule: Rule) -> str:
    ties = sum(guess.label is None for guess in guesses)
    top = max(guess.confidence for guess in guesses)
    cut = "" if kept.threshold is None else f" above {kept.threshold:.4g}"
    reasons = (
        f"rule {rule!r} selects none of {count(len(guesses), 'item')}{cut}: the highest confidence "
        f"is {top:.4g}, {ties} are exact ties",
        kept.reason,
    )
    return "; ".join(reason for reason in reasons if reason)
