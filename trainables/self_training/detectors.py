"""Detects self-training that feeds on itself, from its rounds and without any gold label.

Each detector gives a value, the threshold it is held against, and a sentence where it is over. A
warning is no proof: the audit with gold (in the report) says whether labels were wrong.

A chain of rounds is looked at once before each of them and once more after the last, so that one
round has two looks: its teacher's and its student's.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.self_training.unlabelled import classes_of, shared_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolLabels:
    """What one model says of the items of a pool."""

    labels: Mapping[str, int | None]
    """Of every item: position of the predicted choice; None for an exact tie."""
    confidence: Mapping[str, float]
    """Of every item."""
    first_position: Mapping[str, float] = field(default_factory=dict)
    """Probability of what is shown first, less chance, of the items that have one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLabels:
    """A round: two looks at its pool, and what was taken of it."""

    before: PoolLabels
    """By the model that labelled the pool."""
    after: PoolLabels
    """By the model that was trained on it."""
    choices: Mapping[str, Sequence[str]]
    """Of every item of the pool: texts, in the order of the positions."""
    selected: Mapping[str, int]
    """Item id -> position of the label that it was kept with, of the items that were selected."""
    weights: Mapping[str, float]
    """Item id -> weight in the loss, of the items that were selected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorResult:
    """What one detector saw."""

    name: str
    value: float | None
    """None where there is too little to judge by."""
    threshold: float
    """For as many items as there were."""
    warning: str | None = None
    """A sentence where the value is on the wrong side of the threshold."""
    by_level: Mapping[str, float] = field(default_factory=dict)
    """Level -> weight that was selected of it, as a share of its pool, where levels are judged."""


def labels_of_rows(rows: Iterable[Mapping[str, Any]]) -> RoundLabels:
    """Returns the labels of a finished round from its rows.

    Args:
        rows: Of selection.parquet (`trainables.self_training.selection_rows.PoolRow`) of a round
            that trains on its pseudo-labels: what it was trained on is what it kept.
    """
    known = list(rows)
    choices = {row["item_id"]: tuple(row["choices"]) for row in known}
    kept = [row for row in known if row["trained_on"] is not None]
    return RoundLabels(
        before=_look(known, ""),
        after=_look(known, "_after"),
        choices=choices,
        selected={row["item_id"]: choices[row["item_id"]].index(row["trained_on"]) for row in kept},
        weights={row["item_id"]: row["weight"] for row in kept},
    )


def _look(rows: Sequence[Mapping[str, Any]], when: str) -> PoolLabels:
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
    """By how many standard deviations the last selection is easier than its pool.

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
            f"{len(missing)} items of the pool have no hardness or level, such as {missing[0]!r}"
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
            f"the selected items are {value:.1f} standard deviations easier than the pool (warned "
            f"above {LARGEST_EASE}); selected by level: {shares}"
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
"""Of the selected labels over classes, as a share of its maximum. Canonical order puts the right
answer at every position equally often, so honest labels are near 1; where classes are texts, honest
labels are as uneven as the task, and a task this uneven warns too. At 0.8 three quarters of pairs
have one verdict. With MIN_LABELS even labels of two to five choices fall below it by chance in less
than 1 of 100 draws (simulated)."""

MIN_LABELS = 30
"""Fewer labels say nothing of their distribution. Of weighted ones their effective number counts,
(sum w)^2 / sum w^2 (Kish, Survey Sampling, 1965, section 11.7)."""

MIN_ONE_CLASS = 10
"""So many labels of one class alone are no accident: of even pairs in 1 of 500 draws."""

LARGEST_DRIFT = 0.15
"""Total variation distance between the classes of the first look's labels and the last's: at least
this share of the pool moved one way. Moves of a model without a preference cancel: two independent,
even labellings of FULL_LABELS items with 4 choices differ by so much in less than 1 of 100 draws
(simulated)."""

FULL_LABELS = 200
"""With fewer items thresholds on shares and means rise as chance does, with the inverse root of the
number: sqrt(200 / n) times. So a pool of 160 is judged by nearly the same numbers, and one of 50
has to show twice as much."""

MOST_UNCHANGED = 0.95
"""Share of the pool whose label no look changed. Every round starts from other training data; if it
changes fewer than 1 label in 20 and yet grows surer, it learns its labels, not the questions."""

LEAST_RISE = 0.02
"""Rise of the pool's mean confidence from the first look to the last that counts as surer: 2
points, several standard errors of the mean over FULL_LABELS items; more for fewer."""

LARGEST_PREFERENCE = 0.15
"""Mean probability of the first position less chance, either way, over a pool that is shown in all
orders. So much turns a pair that is undecided by content, 50:50, into 65:35. The orders cancel it
in the probabilities; where it is large they cancel what the model knows too, and leave ties."""


def detect(
    rounds: Sequence[RoundLabels], hardness: Mapping[str, float], levels: Mapping[str, str]
) -> tuple[DetectorResult, ...]:
    """Returns all findings on the rounds so far.

    Args:
        rounds: At least one, first to last.
        hardness: Item id -> hardness, known without gold, for every item of the last pool; empty:
            easiness is not judged.
        levels: Item id -> level, likewise.

    Raises:
        ValueError: If there is no round, or an item of the pool has no hardness or level.
    """
    found = (
        entropy_collapse(rounds),
        class_drift(rounds),
        position_preference(rounds),
        confirmation_bias(rounds),
    )
    return (*found, easiest_of_the_hard(rounds, hardness, levels)) if hardness else found


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
            f"the {len(last.selected)} selected labels crowd at few {_kind(last.choices)}: their "
            f"entropy is {value:.2f} of its maximum (warned below {LOWEST_ENTROPY}); the model may "
            f"answer by {_by(last.choices)}"
        )
    return DetectorResult(
        name="label entropy", value=value, threshold=LOWEST_ENTROPY, warning=warning
    )


def class_drift(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """How far the pool's labels moved to other classes between the first look and the last.

    Only items that are in both pools count. A class is a text where they all share their texts,
    else a position.

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
            f"before the first round (warned above {threshold:.0%} of {len(both)} items); the "
            "model drifts to a class"
        )
    return DetectorResult(name="class drift", value=value, threshold=threshold, warning=warning)


def position_preference(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """Mean probability of the first position less chance: the look where it is the furthest off.

    It is known where items are shown in all orders; probabilities averaged over them hide it.

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
            f"whatever is shown first is {abs(value):.2f} {what} probable than chance, over all "
            f"orders (warned above {LARGEST_PREFERENCE}); the model answers by position"
        )
    return DetectorResult(
        name="position preference", value=value, threshold=LARGEST_PREFERENCE, warning=warning
    )


def confirmation_bias(rounds: Sequence[RoundLabels]) -> DetectorResult:
    """Share of pool labels that no look changed; a warning only if confidence rose meanwhile.

    Only items that are in all pools count.

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
                f"{rise:.2f} (warned above {MOST_UNCHANGED:.0%} and {least:.2f}); the rounds may "
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
    """Returns what was said of the pools before each round and after the last."""
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
    shares = [part / total for part in mass if part > 0.0]
    return -math.fsum(share * math.log(share) for share in shares)
