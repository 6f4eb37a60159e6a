"""Minimum description length as hardness, from models' probabilities of the gold answer.

Two scores of the same runs: the paper's (arXiv:2401.06751, appendix A), which is no codelength, and
a true prequential one in bits (Blier & Ollivier 2018, arXiv:1802.07044). Pure functions; scoring
the models is not here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from search_spaces.explain import count
from search_spaces.hardness import scored_sizes

LabelScores = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Model -> number of training items -> item id -> a score of the gold answer: its probability in
[0, 1], or its codelength in bits. Bits do not follow from probabilities where several draws were
averaged, and an improbable answer's probability rounds to 0 while its bits are finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MdlScores:
    """Hardness of every item by every model, and the mean over the models."""

    by_model: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]


def label_probability_mdl(probabilities: LabelScores) -> MdlScores:
    """Returns the paper's score: 1 - mean probability of the gold answer over training sizes.

    As in the paper, the untrained base (size 0) counts only where no model is trained.

    Raises:
        ValueError: If a model, a size or an item is missing, or a value is no probability.
    """
    _check(probabilities, "probability in [0, 1]", largest=1.0)

    def score(by_size: Mapping[int, Mapping[str, float]], id_: str) -> float:
        sizes = scored_sizes("label_probability", by_size)
        return 1.0 - sum(by_size[size][id_] for size in sizes) / len(sizes)

    return _scores(probabilities, score)


def prequential_mdl(bits: LabelScores, *, num_items: int) -> MdlScores:
    """Returns the expected prequential codelength of each item's answer, in bits.

    The codelength that the item costs when it comes at a uniformly random place of a stream of
    `num_items` labelled items, each coded by the model trained on the largest size not above its
    place: sum over sizes n_j of (n_{j+1} - n_j) / num_items * -log2 p_{n_j}(gold). The sum over the
    items of the stream estimates its whole prequential codelength.

    Args:
        bits: -log2 p(gold). Sizes begin at 0 (the untrained model codes the first items).
        num_items: Length of the stream; above the largest size.

    Raises:
        ValueError: If a model, a size or an item is missing, or a codelength is negative or not
            finite.
    """
    _check(bits, "codelength in bits", largest=sys.float_info.max)
    sizes = sorted(next(iter(bits.values())))
    if sizes[0] != 0 or num_items <= sizes[-1]:
        raise ValueError(
            f"a prequential code begins with 0 training items and ends above the largest size; got "
            f"sizes {sizes} and num_items={num_items}"
        )
    weights = {
        size: (after - size) / num_items
        for size, after in zip(sizes, [*sizes[1:], num_items], strict=True)
    }

    def score(by_size: Mapping[int, Mapping[str, float]], id_: str) -> float:
        return sum(weight * by_size[size][id_] for size, weight in weights.items())

    return _scores(bits, score)


def _scores(
    given: LabelScores,
    score: Callable[[Mapping[int, Mapping[str, float]], str], float],
) -> MdlScores:
    ids = sorted(next(iter(next(iter(given.values())).values())))
    by_model = {
        model: {id_: score(by_size, id_) for id_ in ids} for model, by_size in given.items()
    }
    mean = {id_: sum(scores[id_] for scores in by_model.values()) / len(by_model) for id_ in ids}
    return MdlScores(by_model=by_model, mean=mean)


def _check(given: LabelScores, kind: str, *, largest: float) -> None:
    """Checks that all models and sizes have the same items; other means would be incomparable."""
    if not given or not all(given.values()):
        raise ValueError("MDL needs at least one model, each with at least one training size")
    first = next(iter(given.values()))
    sizes, ids = set(first), set(next(iter(first.values())))
    for model, by_size in given.items():
        if set(by_size) != sizes:
            raise ValueError(f"model {model!r} has sizes {sorted(by_size)}, not {sorted(sizes)}")
        for size, scores in by_size.items():
            if set(scores) != ids:
                raise ValueError(
                    f"model {model!r}, size {size}: {_few(ids - set(scores))} missing, "
                    f"{_few(set(scores) - ids)} unknown; no item is skipped silently"
                )
            wrong = [id_ for id_, value in scores.items() if not 0.0 <= value <= largest]
            if wrong:
                raise ValueError(f"model {model!r}, size {size}: no {kind} for {_few(wrong)}")


def _few(ids: Iterable[str]) -> str:
    ordered = sorted(ids)
    return count(len(ordered), "item") + (f" ({', '.join(ordered[:3])} ...)" if ordered else "")
