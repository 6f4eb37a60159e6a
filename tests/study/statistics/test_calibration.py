"""Calibration: worked by hand, against simulated truth, and against slower ways to count."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from study.statistics.calibration import (
    Binning,
    brier_score,
    calibrate,
    confidence_histogram,
    selective_accuracy,
)

answers = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.9, 1.0]), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def simulated() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A calibrated model's confidences and outcomes."""
    rng = np.random.default_rng(3)
    sure = rng.uniform(0.25, 1.0, 20_000)
    return sure, rng.random(20_000) < sure


class TestCalibrate:
    def test_worked_by_hand(self) -> None:
        # Two bins: [.5, .6) with confidence .55 and 1 of 2 right; [.9, 1] with .95 and 2 of 2.
        found = calibrate([0.52, 0.58, 0.92, 0.98], [1, 0, 1, 1])
        assert found.ece == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)
        assert [(b.count, b.accuracy) for b in found.bins] == [(2, 0.5), (2, 1.0)]
        assert [b.confidence for b in found.bins] == pytest.approx([0.55, 0.95])
        assert found.count == 4

    @pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
    def test_a_calibrated_model_has_a_small_error_and_a_boastful_one_a_large(
        self, simulated: tuple[NDArray[np.float64], NDArray[np.bool_]], binning: Binning
    ) -> None:
        sure, right = simulated
        assert calibrate(sure, right, binning=binning).ece < 0.02
        boastful = calibrate(np.full(20_000, 1.0), right, binning=binning)
        assert boastful.ece == pytest.approx(1 - right.mean())

    def test_equal_mass_holds_equally_many(self) -> None:
        sure = np.linspace(0.9, 1.0, 40) ** 3
        found = calibrate(sure[::-1], np.ones(40), num_bins=4, binning="equal-mass")
        assert [b.count for b in found.bins] == [10] * 4
        assert [b.confidence for b in found.bins] == pytest.approx(sure.reshape(4, 10).mean(axis=1))

    def test_equal_mass_finds_an_error_that_one_wide_bin_hides(self) -> None:
        sure = np.repeat([0.91, 0.99], 50)
        right = np.repeat([1.0, 0.9], 50)
        assert calibrate(sure, right).ece == pytest.approx(0.0)
        assert calibrate(sure, right, num_bins=2, binning="equal-mass").ece == pytest.approx(0.09)

    @given(answers, st.integers(1, 5), st.sampled_from(["equal-width", "equal-mass"]), st.data())
    def test_row_order_changes_nothing_and_equals_stay_together(
        self, rows: list[tuple[float, float]], num_bins: int, binning: Binning, data: st.DataObject
    ) -> None:
        found = calibrate(*zip(*rows, strict=True), num_bins=num_bins, binning=binning)
        shuffled = data.draw(st.permutations(rows))
        again = calibrate(*zip(*shuffled, strict=True), num_bins=num_bins, binning=binning)
        assert again.ece == pytest.approx(found.ece)
        assert [b.count for b in again.bins] == [b.count for b in found.bins]
        assert sum(b.count for b in found.bins) == found.count == len(rows)
        assert len(found.bins) <= len({sure for sure, _ in rows})

    @pytest.mark.parametrize("bad", [[], [1.2], [float("nan")], [-0.1]])
    def test_what_is_no_confidence_is_refused(self, bad: list[float]) -> None:
        for function in (calibrate, confidence_histogram, selective_accuracy):
            with pytest.raises(ValueError, match="confidence"):
                function(bad, [1] * len(bad))

    @pytest.mark.parametrize("bad", [2.0, -1.0, float("nan")])
    def test_what_is_no_outcome_is_refused(self, bad: float) -> None:
        with pytest.raises(ValueError, match="correct"):
            calibrate([0.5], [bad])

    def test_no_bins_are_refused(self) -> None:
        with pytest.raises(ValueError, match="num_bins=0"):
            calibrate([0.5], [1], num_bins=0)


class TestHistogram:
    def test_right_and_wrong_are_counted_apart(self) -> None:
        found = confidence_histogram([0.1, 0.5, 0.6, 0.6, 1.0], [0, 1, 1, 0, 1], num_bins=2)
        assert found.edges == (0.0, 0.5, 1.0)
        assert found.right == (0, 3)
        assert found.wrong == (1, 1)

    def test_bins_are_a_twentieth_wide_where_their_number_is_not_given(self) -> None:
        found = confidence_histogram([0.04, 0.06, 0.99], [1, 1, 0])
        assert found.edges == pytest.approx([step * 0.05 for step in range(21)])
        assert (found.right[:2], found.wrong[-1]) == ((1, 1), 1)

    def test_half_right_answers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="0 or 1"):
            confidence_histogram([0.5], [0.5])


class TestBrier:
    def test_worked_by_hand(self) -> None:
        # (.3^2 + .2^2 + .1^2) and (.2^2 + .2^2).
        found = brier_score([[0.7, 0.2, 0.1], [0.2, 0.8]], [0, 1])
        assert found == pytest.approx((0.14 + 0.08) / 2)

    @pytest.mark.parametrize(("answer", "score"), [(0, 0.0), (1, 2.0)])
    def test_its_ends(self, answer: int, score: float) -> None:
        assert brier_score([[1.0, 0.0]], [answer]) == score

    def test_the_truth_scores_best(self) -> None:
        rng = np.random.default_rng(1)
        truth = rng.dirichlet([1.0] * 4, size=5_000)
        drawn = [int(rng.choice(4, p=row)) for row in truth]
        honest = brier_score(list(truth), drawn)
        sharpened = truth**2 / (truth**2).sum(axis=1, keepdims=True)
        flattened = 0.5 * truth + 0.125
        assert honest < brier_score(list(sharpened), drawn)
        assert honest < brier_score(list(flattened), drawn)

    @pytest.mark.parametrize(
        ("probabilities", "given_answers"),
        [
            ([], []),
            ([[0.5, 0.5]], []),
            ([[0.5, 0.6]], [0]),
            ([[0.5, 0.5]], [2]),
            ([[1.2, -0.2]], [0]),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, probabilities: list[list[float]], given_answers: list[int]
    ) -> None:
        with pytest.raises(ValueError, match=r"items|item 0"):
            brier_score(probabilities, given_answers)


class TestSelective:
    def test_worked_by_hand(self) -> None:
        found = selective_accuracy([0.9, 0.6, 0.8, 0.7], [1, 0, 1, 0])
        assert [(s.confidence, s.coverage) for s in found.curve] == [
            (0.9, 0.25),
            (0.8, 0.5),
            (0.7, 0.75),
            (0.6, 1.0),
        ]
        assert [s.accuracy for s in found.curve] == pytest.approx([1, 1, 2 / 3, 1 / 2])
        assert found.area == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)

    def test_equal_confidences_come_in_together(self) -> None:
        found = selective_accuracy([0.8, 0.8, 0.9], [1, 0, 1])
        assert [(s.coverage, s.accuracy) for s in found.curve] == [
            (pytest.approx(1 / 3), 1.0),
            (1.0, pytest.approx(2 / 3)),
        ]

    @given(answers)
    @settings(max_examples=40)
    def test_the_area_is_the_mean_over_all_orders_of_equals(
        self, rows: list[tuple[float, float]]
    ) -> None:
        areas = []
        for order in permutations(rows):
            if all(one[0] >= two[0] for one, two in pairwise(order)):
                right = np.array([score for _, score in order])
                areas.append((np.cumsum(right) / np.arange(1, len(rows) + 1)).mean())
        found = selective_accuracy(*zip(*rows, strict=True))
        assert found.area == pytest.approx(np.mean(areas))

    def test_a_confidence_that_says_nothing_has_the_accuracy_as_its_area(self) -> None:
        assert selective_accuracy([0.7] * 10, [1] * 6 + [0] * 4).area == pytest.approx(0.6)

    def test_a_confidence_that_says_something_has_more(
        self, simulated: tuple[NDArray[np.float64], NDArray[np.bool_]]
    ) -> None:
        sure, right = simulated
        assert selective_accuracy(sure, right).area > right.mean() + 0.1
        assert selective_accuracy(1 - sure, right).area < right.mean() - 0.1
