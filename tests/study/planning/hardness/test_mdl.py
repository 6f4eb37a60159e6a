from __future__ import annotations

from collections.abc import Mapping
from math import inf, log2, nan

import pytest

from study.planning.hardness.mdl import label_probability_mdl, prequential_mdl

ONE = {0: {"a": 0.25, "b": 0.5}, 20: {"a": 0.75, "b": 0.5}, 80: {"a": 1.0, "b": 0.5}}
TWO = {0: {"a": 0.5, "b": 0.25}, 20: {"a": 0.5, "b": 0.25}, 80: {"a": 0.5, "b": 0.25}}


def in_bits(by_size: Mapping[int, Mapping[str, float]]) -> dict[int, dict[str, float]]:
    return {n: {id_: -log2(p) for id_, p in given.items()} for n, given in by_size.items()}


def test_papers_score_is_one_minus_the_mean_label_probability() -> None:
    scores = label_probability_mdl({"one": ONE, "two": TWO})
    assert scores.by_model["one"] == pytest.approx({"a": 1 - 1.75 / 2, "b": 0.5})
    assert scores.mean == pytest.approx({"a": (0.125 + 0.5) / 2, "b": (0.5 + 0.75) / 2})


def test_papers_score_uses_the_untrained_base_only_where_nothing_is_trained() -> None:
    assert label_probability_mdl({"one": {0: ONE[0]}}).mean == pytest.approx({"a": 0.75, "b": 0.5})
    trained = {size: scores for size, scores in ONE.items() if size}
    assert label_probability_mdl({"one": ONE}) == label_probability_mdl({"one": trained})


def test_prequential_code_pays_each_stretch_of_the_stream_at_its_models_price() -> None:
    # Worked by hand: 20 items at 2 bits, 60 at log2(4/3), 120 at 0 bits, of 200 in all.
    scores = prequential_mdl({"one": in_bits(ONE)}, num_items=200)
    assert scores.mean["a"] == pytest.approx((20 * 2 + 60 * log2(4 / 3)) / 200)
    assert scores.mean["b"] == pytest.approx(1.0)


def test_uninformed_models_cost_log2_of_the_choices() -> None:
    by_size = {size: {"a": 0.25} for size in (0, 5, 20)}
    assert prequential_mdl({"m": in_bits(by_size)}, num_items=100).mean["a"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ({}, "at least one model"),
        ({"one": {}}, "at least one training size"),
        ({"one": ONE, "two": {0: TWO[0]}}, r"'two' has sizes \[0\], not \[0, 20, 80\]"),
        ({"one": {0: {"a": 0.5}}, "two": {0: {"b": 0.5}}}, r"1 item \(a ...\) missing"),
        ({"one": {0: {"a": 1.5}}}, r"no probability in \[0, 1\] for 1 item "),
    ],
)
def test_nothing_is_skipped_silently(
    probabilities: dict[str, dict[int, dict[str, float]]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        label_probability_mdl(probabilities)


def test_codelength_needs_an_untrained_model_and_no_impossible_label() -> None:
    with pytest.raises(ValueError, match="begins with 0 training items"):
        prequential_mdl({"one": {5: {"a": 1.0}}}, num_items=10)
    with pytest.raises(ValueError, match="ends above the largest size"):
        prequential_mdl({"one": in_bits(ONE)}, num_items=80)
    for wrong in (-0.1, inf, nan):
        with pytest.raises(ValueError, match="no codelength in bits for 1 item "):
            prequential_mdl({"one": {0: {"a": wrong}}}, num_items=10)


def test_an_answer_too_improbable_for_a_probability_has_a_codelength() -> None:
    assert prequential_mdl({"one": {0: {"a": 5000.0}}}, num_items=10).mean["a"] == 5000.0
