"""Pairs of a policy's own answers, labelled by a scorer's preference.

Candidate pairs carry no gold label: a reward model labels them, or, as an upper bound, the lab's
gold reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trainables.data.items import Item
from trainables.data.lab.preferences import PreferenceQuestion, answer_in, gold_reward
from trainables.data.loading.preference_pairs import Pair, pair_item

Prefer = Callable[[Sequence[Item]], Sequence[float]]
"""Returns, for each pair, the probability that the first choice is the better one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledPair:
    """A question with a preferred and a rejected answer."""

    id: str
    question: str
    chosen: str
    rejected: str


def candidate_pairs(
    questions: Iterable[PreferenceQuestion], texts: Mapping[str, Sequence[str]]
) -> tuple[Item, ...]:
    """Returns a pair of different answers for each question whose samples hold two of them.

    Args:
        questions: The questions.
        texts: Question id -> sampled texts, from which answers are extracted (`answer_in`).

    Returns:
        Items with the question's id and the first two different answers, in an order that depends
        on their texts alone. `answer` is 0 in all of them and carries no information.
    """
    items = []
    for question in questions:
        answers = [answer for answer in map(answer_in, texts[question.id]) if answer]
        different = list(dict.fromkeys(answers))[:2]
        if len(different) == 2:
            first, second = different
            pair = Pair(prompt=question.text, chosen=first, rejected=second, id=question.id)
            items.append(replace(pair_item(pair, question.id), answer=0))
    return tuple(items)


def label_pairs(items: Sequence[Item], prefer: Prefer) -> tuple[LabelledPair, ...]:
    """Returns the pairs in the order that the scorer prefers, without ties (0.5).

    Raises:
        ValueError: If a probability is missing or outside [0, 1].
    """
    probabilities = list(prefer(items))
    if len(probabilities) != len(items):
        raise ValueError(
            f"the scorer returned {len(probabilities)} probabilities for {len(items)} pairs; it "
            "must return one for each, in their order"
        )
    labelled = []
    for item, probability in zip(items, probabilities, strict=True):
        if not 0 <= probability <= 1:
            raise ValueError(f"pair {item.id!r}: {probability} is not a probability")
        if probability != 0.5:
            chosen, rejected = item.choices if probability > 0.5 else item.choices[::-1]
            labelled.append(
                LabelledPair(id=item.id, question=item.question, chosen=chosen, rejected=rejected)
            )
    return tuple(labelled)


def gold_preference(questions: Iterable[PreferenceQuestion]) -> Prefer:
    """Returns the scorer that uses the gold reward: 1, 0, or 0.5 for equal rewards."""
    problems = {question.id: question.problem for question in questions}

    def prefer(items: Sequence[Item]) -> list[float]:
        rewards = [
            [gold_reward(problems[item.id], choice) for choice in item.choices] for item in items
        ]
        return [0.5 if a == b else float(a > b) for a, b in rewards]

    return prefer
