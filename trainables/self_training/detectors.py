"""Detects self-training that feeds on itself, from its rounds and without any gold label.

Each detector returns a value, its threshold, and a warning where the value crosses it. A warning
is no proof: the report's audit with gold shows whether labels were wrong.

A chain of rounds labels the pool before every round and after the last, so that one round has two
looks at the pool: its teacher's and its student's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search_spaces.explain import count
from trainables.self_training.unlabelled import classes_of, shared_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLabels:
    """One model's labels of a pool."""

    labels: Mapping[str, int | None]
    """Position of the predicted choice of every item; None for an exact tie."""
    confidence: Mapping[str, float]
    """Of every item."""
    first_position: Mapping[str, float] = field(default_factory=dict)
    """Probability of the choice shown first minus chance, for items shown in all orders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLabels:
    """A round: two looks at its pool, and the selected labels."""

    before: PoolLabels
    """By the model that labelled the pool."""
    after: PoolLabels
    """By the model that was trained on it."""
    choices: Mapping[str, Sequence[str]]
    """Of every item of the pool: texts or their hashes, in the order of the positions."""
    selected: Mapping[str, int]
    """Item id -> position of its pseudo-label, of the selected items."""
    weights: Mapping[str, float]
    """Item id -> weight in the loss, of the selected items."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorResult:
    """The result of one detector."""

    name: str
    value: float | None
    """None if there are too few labels."""
    threshold: float
    """Adjusted to the number of items."""
    warning: str | None = None
    """A sentence if the value is on the wrong side of the threshold."""
    by_level: Mapping[str, float] = field(default_factory=dict)
    """Level -> selected weight as a share of the level's pool, for detectors that judge levels."""


def labels_of_rows(rows: Iterable[Mapping[str, Any]]) -> RoundLabels:
    """Returns the labels of a finished round from its rows.

    Args:
        rows: Of selection.parquet (`trainables.self_training.selection_rows.PoolRow`), of a round
            that trains on its pseudo-labels and not on a control's.
    """
    known = list(rows)
    choices = {row["item_id"]: tuple(row["choices"]) for row in known}
    kept = [row for row in known if row["trained_on"] is not None]
    return RoundLabels(
        before=_pool_labels(known, ""),
        after=_pool_labels(known, "_after"),
        choices=choices,
        selected={row["item_id"]: choices[row["item_id"]].index(row["trained_on"]) for row in kept},
        weights={row["item_id"]: row["weight"] for row in kept},
    )


def _pool_labels(rows: Sequence[Mapping[str, Any]], when: str) -> PoolLabels:
    label, first = f"label{when}", f"first_position{when}"
    return PoolLabels(
        labels={
            row["item_id"]: None if row[label] is None else list(row["choices"]).index(row[label])
            for row in rows
        },
        confidence={row["item_id"]: row[f"confidence{when}"] for row in rows},
        first_position={row["item_id"]: row[first] for row in rows if row[first] is not None},
    )


LARGEST_EASE = 0.5
"""Standard deviations of the pool's hardness by which the selected are easier: half of one is a
medium difference in Cohen's convention (Statistical Power Analysis, 1988, section 2.2)."""


def easiest_of_the_hard(
    rounds: Sequence[RoundLabels], hardness: Mapping[str, float], levels: Mapping[str, str]
) -> DetectorResult:
    """Returns by how many standard deviations the last selection is easier than its pool.

    Selected items count by their weights.

    Args:
        rounds: At least one, first to last.
        hardness: Item id -> hardness, known without gold.
        levels: Item id -> level, for the coverage of each.

    Raises:
        ValueError: If an item of the pool has no hardness or level.
    """
    last = rounds[-1]
    missing = [id_ for id_ in last.choices if id_ not in hardness or id_ not in levels]
    if missing:
        raise ValueError(
            f"{count(len(missing), 'item')} of the pool without hardness or level, such as "
            f"{missing[0]!r}"
        )
    pool_mean, pool_sd = _mean_sd([hardness[id_] for id_ in last.choices])
    total = math.fsum(last.weights.values())
    value = None
    if total > 0.0 and pool_sd > 0.0:
        taken = math.fsum(weight * hardness[id_] for id_, weight in last.weights.items()) / total
        value = (pool_mean - taken) / pool_sd
    coverage = _coverage(last, levels)
    warning = None
    if value is not None and value > LARGEST_EASE:
        shares = ", ".join(f"{level} {share:.0%}" for level, share in coverage.items())
        warning = (
            f"the selected items are {value:.1f} standard deviations easier than the pool "
            f"(warning above {LARGEST_EASE}); selected by level: {shares}"
        )
    return DetectorResult(
        name="easiest of the hard",
        value=value,
        threshold=LARGEST_EASE,
        warning=warning,
        by_level=coverage,
    )


def _coverage(last: RoundLabels, levels: Mapping[str, str]) -> dict[str, float]:
    sizes = Counter(levels[id_] for id_ in last.choices)
    taken: dict[str, float] = dict.fromkeys(sorted(sizes), 0.0)
    for id_, weight in last.weights.items():
        taken[levels[id_]] += weight
    return {level: weight / sizes[level] for level, weight in taken.items()}


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


LOWEST_ENTROPY = 0.8
"""Entropy of the selected labels over classes, as a share of its maximum. Canonical order puts the
right answer at every position equally often, so unbiased labels are near 1. Where classes are
texts, unbiased labels are as uneven as the task, and a task this uneven causes a warning too. At
0.8 three quarters of pairs have one verdict. With MIN_LABELS, even labels of two to five choices
fall below it by chance in less than 1 of 100 draws (simulated)."""

MIN_LABELS = 30
"""Fewer labels do not show their distribution. Weighted labels count by their effective number,
(sum w)^2 / sum w^2 (Kish, Survey Sampling, 1965, section 11.7)."""

MIN_ONE_CLASS = 10
"""Labels of one class alone that are no accident: even pairs give as many in 1 of 500 draws."""

LARGEST_DRIFT = 0.15
"""Total variation distance between the classes of the first look's labels and the last's: at least
this share of the pool moved in one direction. Moves of a model without a preference cancel: two
independent, even labellings of FULL_LABELS items with 4 choices differ this much in less than 1 of
100 draws (simulated)."""

FULL_LABELS = 200
"""With n items, fewer than this, thresholds on shares and means grow like chance variation, by
sqrt(200 / n). A pool of 160 is judged by nearly the same thresholds, one of 50 by twice these."""

MOST_UNCHANGED = 0.95
"""Share of the pool whose label never changed. Every round has other training data; a model that
changes fewer than 1 label in 20 and still becomes more confident learns its labels, not the
questions."""

LEAST_RISE = 0.02
"""Rise of the pool's mean confidence, from the first look to the last, that counts: 2 points,
several standard errors of the mean over FULL_LABELS items; more for fewer items."""

LARGEST_PREFERENCE = 0.15
"""Mean probability of the first position minus chance, in absolute value, over a pool that is shown
in all orders. This much turns a pair that is undecided by content, 50:50, into 65:35. Averaging
over orders cancels it; where it is large, it also cancels what the model knows and leaves ties."""


def detect(
    rounds: Sequence[RoundLabels], hardness: Mapping[str, float], levels: Mapping[str, str]
) -> tuple[DetectorResult, ...]:
    """Returns the results of all detectors on the rounds so far.

    Args:
        rounds: At least one, first to last.
        hardness: Item id -> hardness, known without gold, for every item of the last pool; empty:
            no detector of easy selections.
        levels: Item id -> level, for every item of the last pool.

    Raises:
        ValueError: If there is no round, or an item of the pool has no hardness or level.
    """
    results = (
        entropy_collapse(rounds),
        class_drift(rounds),
        position_preference(rounds),
        confirmation_bias(rounds),
    )
    return (*results, easiest_of_the_hard(rounds, hardness, levels)) if hardness else results


def entropy_collapse(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """Entropy of the last round's selected labels over classes, as a share of its maximum.

    A class is a text where all items of the pool share their texts, else a position. Labels count
    by their weights.

    Raises:
        ValueError: If there is no round.
    """
    last = _rounds(rounds)[-1]
    classes = classes_of(last.choices)
    mass: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for id_, label in last.selected.items():
        mass[len(classes[id_])][classes[id_][label]] += last.weights[id_]
    number = _effective_number(last.weights.values())
    is_one_class = number >= MIN_ONE_CLASS and all(len(of_k) == 1 for of_k in mass.values())
    value = warning = None
    if number >= MIN_LABELS or is_one_class:
        shares = [
            math.fsum(of_k.values()) * _entropy(list(of_k.values())) / math.log(k)
            for k, of_k in mass.items()
        ]
        value = math.fsum(shares) / math.fsum(last.weights.values())
    if is_one_class:
        warning = (
            f"all {len(last.selected)} selected labels are of one class; the model may answer by "
            f"{_by(last.choices)}"
        )
    elif value is not None and value < LOWEST_ENTROPY:
        warning = (
            f"the {len(last.selected)} selected labels fall on few {_kind(last.choices)}: their "
            f"entropy is {value:.2f} of its maximum (warning below {LOWEST_ENTROPY}); the model "
            f"may answer by {_by(last.choices)}"
        )
    return DetectorResult(
        name="label entropy", value=value, threshold=LOWEST_ENTROPY, warning=warning
    )


def class_drift(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """How far the pool's labels moved to other classes between the first look and the last.

    Only items in both pools count. A class is a text if all items share their texts, else a
    position.

    Raises:
        ValueError: If there is no round.
    """
    looks = _looks(rounds)
    both = _in_all((looks[0], looks[-1]))
    choices = {id_: rounds[-1].choices[id_] for id_ in both}
    threshold = _scaled(LARGEST_DRIFT, len(both))
    value = warning = None
    if len(both) >= MIN_LABELS:
        classes = classes_of(choices)
        before, after = (_classes(look, both, classes) for look in (looks[0], looks[-1]))
        gaps = (abs(before[key] - after[key]) for key in before.keys() | after.keys())
        value = 0.5 * sum(gaps) / len(both)
    if value is not None and value > threshold:
        warning = (
            f"at least {value:.0%} of the pool's labels moved to other {_kind(choices)} since "
            f"before the first round (warning above {threshold:.0%} of {len(both)} items); the "
            "model drifts to a class"
        )
    return DetectorResult(name="class drift", value=value, threshold=threshold, warning=warning)


def position_preference(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """Mean probability of the first position minus chance, of the look with the largest deviation.

    It is measured if items are shown in all orders; their averaged probabilities hide it.

    Raises:
        ValueError: If there is no round.
    """
    means = [
        math.fsum(look.first_position.values()) / len(look.first_position)
        for look in _looks(rounds)
        if len(look.first_position) >= MIN_LABELS
    ]
    value = max(means, key=abs, default=None)
    warning = None
    if value is not None and abs(value) > LARGEST_PREFERENCE:
        what = "more" if value > 0.0 else "less"
        warning = (
            f"the choice shown first is {abs(value):.2f} {what} probable than chance, over all "
            f"orders (warning above {LARGEST_PREFERENCE}); the model answers by position"
        )
    return DetectorResult(
        name="position preference", value=value, threshold=LARGEST_PREFERENCE, warning=warning
    )


def confirmation_bias(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """Share of pool labels that never changed; a warning only if confidence rose meanwhile.

    Only items in all pools count.

    Raises:
        ValueError: If there is no round.
    """
    looks = _looks(rounds)
    everywhere = _in_all(looks)
    value = warning = None
    if len(everywhere) >= MIN_LABELS:
        same = sum(len({look.labels[id_] for look in looks}) == 1 for id_ in everywhere)
        value = same / len(everywhere)
        rise = math.fsum(
            looks[-1].confidence[id_] - looks[0].confidence[id_] for id_ in everywhere
        ) / len(everywhere)
        least = _scaled(LEAST_RISE, len(everywhere))
        if value > MOST_UNCHANGED and rise > least:
            warning = (
                f"{value:.0%} of the pool's labels never changed while mean confidence rose by "
                f"{rise:.2f} (warning above {MOST_UNCHANGED:.0%} and {least:.2f}); the rounds may "
                "confirm their own labels"
            )
    return DetectorResult(
        name="confirmation bias", value=value, threshold=MOST_UNCHANGED, warning=warning
    )


def _rounds(rounds: Sequence[RoundLabels]) -> Sequence[RoundLabels]:
    if not rounds:
        raise ValueError("detectors need at least one round of self-training, got none")
    return rounds


def _looks(rounds: Sequence[RoundLabels]) -> list[PoolLabels]:
    """Returns the looks at the pool before each round and after the last."""
    return [*(one.before for one in _rounds(rounds)), rounds[-1].after]


def _scaled(threshold: float, number: int) -> float:
    return threshold * max(1.0, math.sqrt(FULL_LABELS / max(number, 1)))


def _in_all(looks: Sequence[PoolLabels]) -> list[str]:
    return [id_ for id_ in looks[0].confidence if all(id_ in other.confidence for other in looks)]


def _classes(
    look: PoolLabels, ids: Sequence[str], classes: Mapping[str, Sequence[int]]
) -> Counter[tuple[int, int | None]]:
    """Counts the labels of these items by number of choices and class; None: an exact tie."""
    counted: Counter[tuple[int, int | None]] = Counter()
    for id_ in ids:
        label = look.labels[id_]
        counted[len(classes[id_]), None if label is None else classes[id_][label]] += 1
    return counted


def _kind(choices: Mapping[str, Sequence[str]]) -> str:
    return "positions" if shared_texts(choices) is None else "answers"


def _by(choices: Mapping[str, Sequence[str]]) -> str:
    return "position" if shared_texts(choices) is None else "class, whatever the question"


def _effective_number(weights: Iterable[float]) -> float:
    known = list(weights)
    squares = math.fsum(weight**2 for weight in known)
    return math.fsum(known) ** 2 / squares if squares > 0.0 else 0.0


def _entropy(mass: Sequence[float]) -> float:
    total = math.fsum(mass)
    shares = [weight / total for weight in mass if weight > 0.0]
    return -math.fsum(share * math.log(share) for share in shares)
