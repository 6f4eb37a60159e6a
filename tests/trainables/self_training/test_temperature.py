"""Temperature: the one that makes validation answers most likely, found in two ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from trainables.self_training.temperature import HIGHEST, LOWEST, apply_temperature, fit_temperature


def nll(scores: list[list[float]], answers: list[int], temperature: float) -> float:
    """An independent, slow negative log-likelihood."""
    total = 0.0
    for row, answer in zip(scores, answers, strict=True):
        total -= row[answer] / temperature
        total += math.log(sum(math.exp(value / temperature) for value in row))
    return total / len(scores)


@st.composite
def validations(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    rows, answers = [], []
    for _ in range(draw(st.integers(1, 8))):
        k = draw(st.integers(2, 4))
        rows.append(draw(st.lists(st.floats(-8, 8), min_size=k, max_size=k)))
        answers.append(draw(st.integers(0, k - 1)))
    return rows, answers


class TestFit:
    @given(validations())
    @settings(max_examples=60)
    def test_no_temperature_of_the_range_is_better(
        self, validation: tuple[list[list[float]], list[int]]
    ) -> None:
        rows, answers = validation
        found = fit_temperature(rows, answers)
        best = minimize_scalar(
            lambda log_beta: nll(rows, answers, math.exp(-log_beta)),
            bounds=(-math.log(HIGHEST), -math.log(LOWEST)),
            method="bounded",
        )
        assert LOWEST <= found.value <= HIGHEST
        assert found.nll_before == pytest.approx(nll(rows, answers, 1.0), abs=1e-9)
        assert found.nll_after == pytest.approx(nll(rows, answers, found.value), abs=1e-9)
        assert found.nll_after <= min(best.fun, found.nll_before) + 1e-9

    @pytest.mark.parametrize("truth", [0.5, 2.0, 4.0])
    def test_a_known_temperature_is_found_again(self, truth: float) -> None:
        rng = np.random.default_rng(7)
        honest = rng.normal(size=(20_000, 4)) * 2.0
        answers = (honest + rng.gumbel(size=honest.shape)).argmax(axis=1)
        found = fit_temperature(list(honest * truth), answers.tolist())
        assert found.value == pytest.approx(truth, rel=0.05)
        assert (found.num_labels, found.at_bound) == (20_000, False)

    def test_worked_by_hand(self) -> None:
        # Scores differ by 2 and 3 of 4 are right: exp(2 / T) = 3.
        found = fit_temperature([[2.0, 0.0]] * 4, [0, 0, 0, 1])
        assert found.value == pytest.approx(2.0 / math.log(3.0))

    @pytest.mark.parametrize(("answer", "bound"), [(0, LOWEST), (1, HIGHEST)])
    def test_items_that_do_not_determine_it_end_at_a_bound(self, answer: int, bound: float) -> None:
        found = fit_temperature([[1.0, 0.0], [3.0, 1.0]], [answer, answer])
        assert found.at_bound
        assert found.value == pytest.approx(bound)

    @pytest.mark.parametrize(("best", "bound"), [(0.03, LOWEST), (40.0, HIGHEST)])
    def test_a_temperature_beyond_the_range_is_its_end(self, best: float, bound: float) -> None:
        # 3 of 4 are right: exp(difference / T) = 3.
        found = fit_temperature([[best * math.log(3.0), 0.0]] * 4, [0, 0, 0, 1])
        assert (found.value, found.at_bound) == (pytest.approx(bound), True)

    def test_equal_scores_keep_the_temperature(self) -> None:
        found = fit_temperature([[1.0, 1.0]], [0])
        assert (found.value, found.at_bound) == (1.0, True)

    @pytest.mark.parametrize(
        ("rows", "answers"),
        [([], []), ([[0.0, 1.0]], []), ([[0.0, 1.0]], [2]), ([[0.0, -math.inf]], [0])],
    )
    def test_what_does_not_fit_is_refused(
        self, rows: list[list[float]], answers: list[int]
    ) -> None:
        with pytest.raises(ValueError, match=r"labelled items|validation item"):
            fit_temperature(rows, answers)


class TestApply:
    def test_log_probabilities_at_a_temperature(self) -> None:
        found = apply_temperature(np.log([[0.9, 0.1], [0.5, 0.5]]), 2.0)
        assert np.exp(found) == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))

    def test_scores_of_one_item(self) -> None:
        found = apply_temperature([math.log(4.0), 0.0], 2.0)
        assert np.exp(found) == pytest.approx([2 / 3, 1 / 3])

    def test_only_positive_temperatures(self) -> None:
        with pytest.raises(ValueError, match="> 0"):
            apply_temperature([0.0, 1.0], 0.0)
