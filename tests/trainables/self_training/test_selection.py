"""Selection: what each rule keeps, that no rule can be led by row order, and what tau may be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from itertools import product
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.self_training.confidence import ConfidenceState, Rule, check_threshold
from trainables.self_training.selection import ClassThreshold, Selection, select

THRESHOLD_RULES = [rule for rule in get_args(Rule) if rule != "softmatch"]

Texts = dict[str, tuple[str, str]]
Pool = dict[str, list[float]]


def pairs(**shares: float) -> Pool:
    """A pool of pairs: id -> probability of the first choice."""
    return {id_: [share, 1.0 - share] for id_, share in shares.items()}


@st.composite
def pools(draw: st.DrawFn, num_choices: int | None = None) -> Pool:
    """Pools of coarse probabilities, so that ties within and between items are common."""
    pool = {}
    for index in range(draw(st.integers(1, 15))):
        k = num_choices or draw(st.sampled_from([2, 3, 4]))
        counts = draw(st.lists(st.integers(0, 4), min_size=k, max_size=k).filter(any))
        pool[f"item-{index}"] = [count / sum(counts) for count in counts]
    return pool


def is_tie(probabilities: list[float]) -> bool:
    first, second = sorted(probabilities)[::-1][:2]
    return first == second


class TestInvariant3:
    """Confidence in [1/k, 1]; tau at chance keeps all but ties, tau = 1 none; monotone in tau."""

    @given(pools(num_choices=2))
    def test_confidence_is_in_range_and_the_ends_of_tau_keep_all_and_none(self, pool: Pool) -> None:
        low = select(pool, tau=0.5)
        assert set(low.confidence) == set(pool)
        assert all(0.5 <= value <= 1.0 for value in low.confidence.values())
        assert set(low.ids) == {id_ for id_, p in pool.items() if not is_tie(p)}
        assert select(pool, tau=1.0).ids == ()

    @pytest.mark.parametrize("rule", THRESHOLD_RULES)
    @given(pool=pools(), taus=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    @settings(max_examples=60)
    def test_the_selected_shrink_as_tau_rises(
        self, rule: Rule, pool: Pool, taus: tuple[float, float]
    ) -> None:
        low, high = (
            select(pool, rule=rule, tau=tau, scale="chance-normalised") for tau in sorted(taus)
        )
        assert set(high.ids) <= set(low.ids)

    @pytest.mark.parametrize("rule", get_args(Rule))
    @given(pool=pools())
    @settings(max_examples=60)
    def test_ties_are_never_selected_and_labels_are_the_most_probable(
        self, rule: Rule, pool: Pool
    ) -> None:
        tau = None if rule == "softmatch" else 0.0
        found = select(pool, rule=rule, tau=tau, scale="chance-normalised")
        for id_, label, weight in zip(found.ids, found.labels, found.weights, strict=True):
            assert not is_tie(pool[id_])
            assert pool[id_][label] == max(pool[id_])
            assert 0.0 < weight <= 1.0
            assert rule == "softmatch" or weight == 1.0
        assert (found.note is None) == bool(found.ids)
        assert {id_ for id_, label in found.pool_labels.items() if label is None} == {
            id_ for id_, p in pool.items() if is_tie(p)
        }

    @pytest.mark.parametrize("rule", get_args(Rule))
    @given(pool=pools(), data=st.data())
    @settings(max_examples=40)
    def test_row_order_changes_nothing(self, rule: Rule, pool: Pool, data: st.DataObject) -> None:
        tau = None if rule == "softmatch" else 0.2
        shuffled = {id_: pool[id_] for id_ in data.draw(st.permutations(list(pool)))}
        first, second = (
            select(rows, rule=rule, tau=tau, scale="chance-normalised") for rows in (pool, shuffled)
        )
        assert first == second
        assert list(first.ids) == sorted(first.ids)
        assert list(first.confidence) == list(second.confidence) == sorted(pool)


class TestFixed:
    def test_strictly_above(self) -> None:
        found = select(pairs(a=0.8, b=0.81, c=0.1, d=0.3), tau=0.8)
        assert (found.ids, found.labels) == (("b", "c"), (0, 1))
        assert (found.threshold, found.note) == (0.8, None)

    def test_nothing_above_is_said_with_the_highest_confidence(self) -> None:
        found = select(pairs(a=0.7, b=0.5), tau=0.9)
        assert found.ids == found.labels == found.weights == ()
        assert found.note is not None
        assert "none of 2" in found.note
        assert "0.9" in found.note
        assert "0.7" in found.note
        assert "1 are exact ties" in found.note


class TestQuantile:
    def test_tau_is_the_share_left_out(self) -> None:
        pool = pairs(**{f"i{n}": 0.5 + n / 40 for n in range(1, 11)})
        found = select(pool, rule="quantile", tau=0.8)
        assert found.ids == ("i10", "i9")
        assert found.threshold == pytest.approx(0.5 + 8 / 40)
        assert len(select(pool, rule="quantile", tau=0.0).ids) == 10
        assert select(pool, rule="quantile", tau=0.0).threshold is None
        assert select(pool, rule="quantile", tau=1.0).ids == ()

    @pytest.mark.parametrize("tau", [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    def test_shares_are_not_lost_to_rounding(self, tau: float) -> None:
        pool = pairs(**{f"i{n}": 0.5 + n / 40 for n in range(1, 11)})
        assert len(select(pool, rule="quantile", tau=tau).ids) == round(10 * (1 - tau))

    def test_of_equal_confidences_at_the_cut_as_many_as_have_room_are_kept(self) -> None:
        found = select(pairs(a=0.9, b=0.7, c=0.3, d=0.6), rule="quantile", tau=0.5)
        first = min("bc", key=lambda id_: hashlib.sha256(id_.encode()).digest())
        assert found.ids == tuple(sorted(("a", first)))
        assert found.threshold == 0.7

    def test_a_saturated_top_does_not_empty_the_selection(self) -> None:
        pool = {f"i{n:02}": [1.0, 0.0] if n < 30 else [0.9, 0.1] for n in range(100)}
        found = select(pool, rule="quantile", tau=0.8)
        top = sorted(list(pool)[:30], key=lambda id_: hashlib.sha256(id_.encode()).digest())
        assert found.ids == tuple(sorted(top[:20]))
        assert (found.threshold, found.note) == (1.0, None)

    def test_ties_hold_no_place_among_the_most_confident(self) -> None:
        pool = {"a": [0.45, 0.45, 0.1], "b": [0.42, 0.3, 0.28], "c": [0.4, 0.3, 0.3]}
        assert select(pool, rule="quantile", tau=0.6).ids == ("b",)


class TestClassBalanced:
    def test_equal_counts_the_most_confident_of_each(self) -> None:
        pool = pairs(a=0.9, b=0.95, c=0.85, d=0.1, e=0.15, f=0.6)
        found = select(pool, rule="class-balanced", tau=0.8)
        assert found.ids == ("a", "b", "d", "e")
        assert found.labels == (0, 0, 1, 1)
        assert found.class_thresholds == (
            ClassThreshold(num_choices=2, class_=0, threshold=0.9),
            ClassThreshold(num_choices=2, class_=1, threshold=0.85),
        )

    def test_an_absent_class_leaves_nothing_and_is_named(self) -> None:
        found = select(pairs(a=0.9, b=0.95), rule="class-balanced", tau=0.8)
        assert found.ids == ()
        assert found.note is not None
        assert "class [1]" in found.note

    @given(pools())
    def test_every_position_as_often_within_each_number_of_choices(self, pool: Pool) -> None:
        found = select(pool, rule="class-balanced", tau=0.0, scale="chance-normalised")
        for k in (2, 3, 4):
            labels = [
                label
                for id_, label in zip(found.ids, found.labels, strict=True)
                if found.num_choices[id_] == k
            ]
            assert len({labels.count(position) for position in range(k)}) == 1

    def test_a_rare_number_of_choices_does_not_empty_the_others(self) -> None:
        pool = {**pairs(a=0.9, b=0.1), "c": [0.8, 0.1, 0.1]}
        found = select(pool, rule="class-balanced", tau=0.5, scale="chance-normalised")
        assert found.ids == ("a", "b")


class TestFreeMatch:
    def test_worked_by_hand(self) -> None:
        # Confidences .9, .6, .7, .55: mean .6875. Mean probabilities (.9+.6+.3+.45)/4 = .5625 and
        # .4375: factors 1 and 7/9, thresholds .6875 and .534722.
        pool = pairs(a=0.9, b=0.6, c=0.3, d=0.45)
        found = select(pool, rule="freematch", tau=1.0)
        assert found.ids == ("a", "c", "d")
        assert found.threshold == pytest.approx(0.6875)
        assert [t.threshold for t in found.class_thresholds] == pytest.approx(
            [0.6875, 0.6875 * 7 / 9]
        )
        assert found.state is not None
        assert found.state.class_means[0] == pytest.approx((0.5625, 0.4375))

    def test_tau_caps_the_mean(self) -> None:
        found = select(pairs(a=0.9, b=0.62, c=0.3, d=0.4), rule="freematch", tau=0.6)
        assert found.threshold == 0.6
        assert "b" in found.ids

    def test_the_state_is_a_moving_average_over_rounds(self) -> None:
        first = select(pairs(a=0.9, b=0.1), rule="freematch", tau=1.0)
        second = select(
            pairs(a=0.6, b=0.6), rule="freematch", tau=1.0, state=first.state, momentum=0.8
        )
        assert first.state is not None
        assert second.state is not None
        assert first.state.mean == pytest.approx(0.9)
        assert second.state.mean == pytest.approx(0.8 * 0.9 + 0.2 * 0.6)
        assert second.state.class_means[0] == pytest.approx(
            (0.8 * 0.5 + 0.2 * 0.6, 0.8 * 0.5 + 0.2 * 0.4)
        )
        assert second.threshold == pytest.approx(second.state.mean)

    def test_numbers_of_choices_keep_their_own_classes(self) -> None:
        state = ConfidenceState(mean=0.5, variance=0.1, class_means=((0.5, 0.5),))
        pool = {"a": [0.7, 0.2, 0.1]}
        found = select(
            pool, rule="freematch", tau=1.0, scale="chance-normalised", state=state, momentum=0.9
        )
        assert found.state is not None
        assert found.state.class_means == ((0.5, 0.5), pytest.approx((0.7, 0.2, 0.1)))


class TestSoftMatch:
    def test_worked_by_hand(self) -> None:
        # Confidences .9, .7, .8, mean .8, variance .01; two sigmas below weigh exp(-2).
        found = select(pairs(a=0.9, b=0.7, c=0.2), rule="softmatch", tau=None)
        assert found.ids == ("a", "b", "c")
        assert found.weights == pytest.approx((1.0, math.exp(-(0.1**2) * 4 / (2 * 0.01)), 1.0))
        assert found.threshold is None

    def test_a_pool_of_one_confidence_weighs_one(self) -> None:
        assert select(pairs(a=0.75, b=0.25), rule="softmatch", tau=None).weights == (1.0, 1.0)

    # The mean of 7 times 0.69 or 0.81 is rounded to more than that.
    @pytest.mark.parametrize("sure", [0.9, 0.8, 0.69, 0.81, 1 / 3 + 0.5])
    def test_a_constant_pool_weighs_one_in_every_round(self, sure: float) -> None:
        pool = {f"i{n}": [sure, 1.0 - sure] for n in range(7)}
        first = select({id_: [0.9, 0.1] for id_ in pool}, rule="softmatch", tau=None)
        for number, state in product((5, 7), (None, first.state)):
            few = dict(list(pool.items())[:number])
            found = select(few, rule="softmatch", tau=None, state=state)
            assert found.weights == (1.0,) * number

    def test_the_variance_holds_the_shift_between_rounds(self) -> None:
        first = select(pairs(a=0.9, b=0.9), rule="softmatch", tau=None)
        # Mean .85 and variance .0025 over both rounds, mean .75 in this one alone: .1 below weighs
        # exp(-.01 * 4 / (2 v)), and v is .5 * 0 + .5 * .02 + .25 * .15^2.
        second = select(pairs(a=0.85, b=0.65), rule="softmatch", tau=None, state=first.state)
        assert second.state is not None
        assert second.state.variance == pytest.approx(0.01 + 0.25 * 0.15**2)
        pooled = [0.9, 0.9, 0.85, 0.65]
        assert second.state.mean == pytest.approx(np.mean(pooled))
        assert second.weights == pytest.approx((1.0, math.exp(-0.02 / second.state.variance)))

    def test_no_weight_is_no_selection(self) -> None:
        # 1 in 10,000 stands .4 below all others: 40 floors of the standard deviation, and more.
        state = ConfidenceState(mean=0.99, variance=1e-9, class_means=((0.5, 0.5),))
        pool = {"a": [0.6, 0.4], **{f"i{n}": [0.99, 0.01] for n in range(9)}}
        found = select(pool, rule="softmatch", tau=None, state=state, momentum=0.9999)
        assert found.ids == tuple(f"i{n}" for n in range(9))
        ties = select(pairs(a=0.5), rule="softmatch", tau=None)
        assert ties.ids == () and ties.note is not None


class TestScales:
    def test_chance_is_zero_and_certainty_one_for_every_number_of_choices(self) -> None:
        pool = {"a": [0.25] * 4, "b": [1.0, 0.0, 0.0], "c": [0.75, 0.25], "d": [1 / 3] * 3}
        found = select(pool, tau=0.4, scale="chance-normalised")
        assert found.confidence == pytest.approx({"a": 0.0, "b": 1.0, "c": 0.5, "d": 0.0})
        assert found.ids == ("b", "c")

    def test_raw_refuses_to_compare_numbers_of_choices(self) -> None:
        with pytest.raises(ValueError, match=r"\[2, 4\] choices.*chance-normalised"):
            select({"a": [0.9, 0.1], "b": [0.7, 0.1, 0.1, 0.1]}, tau=0.8)


class TestBadInput:
    @pytest.mark.parametrize(
        ("tau", "scale", "num_choices", "said"),
        [
            (0.49, "raw", 2, r"0.49.*\[0.5, 1\].*2 choices"),
            (0.24, "raw", 4, r"0.24.*\[0.25, 1\].*4 choices"),
            (1.01, "raw", 2, "1.01"),
            (-0.1, "chance-normalised", 2, r"-0.1.*\[0, 1\].*chance-normalised"),
            (math.nan, "raw", 2, "nan"),
            (None, "raw", 2, "needs a threshold"),
        ],
    )
    def test_a_threshold_outside_the_range_is_refused(
        self, tau: float, scale: str, num_choices: int, said: str
    ) -> None:
        with pytest.raises(ValueError, match=said):
            check_threshold(tau, rule="fixed", scale=scale, num_choices=[num_choices])  # type: ignore[arg-type]

    def test_the_ends_of_the_range_are_inside(self) -> None:
        for k in (2, 3, 4, 7):
            for tau in (1 / k, 1.0):
                check_threshold(tau, rule="fixed", scale="raw", num_choices=[k])
        check_threshold(0.1, rule="quantile", scale="raw", num_choices=[2])
        check_threshold(0.0, rule="fixed", scale="chance-normalised", num_choices=[2, 4])

    def test_softmatch_has_no_threshold(self) -> None:
        with pytest.raises(ValueError, match=r"no threshold, got 0\.8"):
            select(pairs(a=0.9), rule="softmatch", tau=0.8)

    def test_an_empty_pool_is_refused(self) -> None:
        with pytest.raises(ValueError, match="pool is empty"):
            select({}, tau=0.8)

    @pytest.mark.parametrize("bad", [[0.9], [0.9, 0.3], [-0.1, 1.1], [math.nan, 0.5], [[0.5, 0.5]]])
    def test_what_is_no_distribution_is_refused(self, bad: list[float]) -> None:
        with pytest.raises(ValueError, match="'a'"):
            select({"a": bad}, tau=0.8)

    def test_a_momentum_of_one_would_never_learn(self) -> None:
        with pytest.raises(ValueError, match="momentum"):
            select(pairs(a=0.9), rule="freematch", tau=1.0, momentum=1.0)

    def test_float32_probabilities_are_taken(self) -> None:
        values = np.full(3, 1 / 3, dtype=np.float32) + np.array([2e-6, 0, 0], dtype=np.float32)
        found: Selection = select({"a": values}, tau=1 / 3)
        assert found.ids == ("a",)


def yes_no(sures: Mapping[str, tuple[str, float]], *, first: str = "yes") -> tuple[Pool, Texts]:
    """Pool of one set of texts: id -> the answer and its probability; every other item turned."""
    pool: Pool = {}
    texts: Texts = {}
    for number, (id_, (answer, sure)) in enumerate(sures.items()):
        other = "no" if first == "yes" else "yes"
        texts[id_] = (first, other) if number % 2 else (other, first)
        pool[id_] = [sure if text == answer else 1.0 - sure for text in texts[id_]]
    return pool, texts


SURES = {
    **{f"y{n}": ("yes", 0.95 - 0.01 * n) for n in range(6)},
    **{f"n{n}": ("no", 0.85 - 0.01 * n) for n in range(2)},
}


class TestClassesAreTexts:
    def test_class_balanced_balances_the_texts_that_all_items_share(self) -> None:
        pool, texts = yes_no(SURES)
        found = select(pool, rule="class-balanced", tau=0.8, classes=texts)
        answers = {id_: texts[id_][at] for id_, at in zip(found.ids, found.labels, strict=True)}
        assert answers == {"y0": "yes", "y1": "yes", "n0": "no", "n1": "no"}
        assert [c.class_ for c in found.class_thresholds] == [0, 1]  # no, yes
        assert [c.threshold for c in found.class_thresholds] == pytest.approx([0.84, 0.94])

    def test_a_pool_that_says_one_text_alone_has_nothing_to_balance(self) -> None:
        pool, texts = yes_no({f"y{n}": ("yes", 0.9) for n in range(8)})
        assert select(pool, rule="class-balanced", tau=0.8, classes=texts).ids == ()
        # By position it would look even.
        assert len(select(pool, rule="class-balanced", tau=0.8).ids) == 8

    @pytest.mark.parametrize("rule", ["fixed", "class-balanced", "freematch"])
    def test_where_a_text_stands_changes_nothing(self, rule: Rule) -> None:
        kept = []
        for first in ("yes", "no"):
            pool, texts = yes_no(SURES, first=first)
            found = select(pool, rule=rule, tau=0.8, classes=texts)
            kept.append({id_: texts[id_][found.labels[i]] for i, id_ in enumerate(found.ids)})
            said = {id_: texts[id_][at or 0] for id_, at in found.pool_labels.items()}
            assert said == {id_: answer for id_, (answer, _) in SURES.items()}
        assert kept[0] == kept[1] != {}

    def test_freematch_asks_less_of_the_text_that_is_rarely_said(self) -> None:
        pool, texts = yes_no(SURES)
        found = select(pool, rule="freematch", tau=0.95, classes=texts)
        assert found.state is not None
        mean_no = sum(row[texts[id_].index("no")] for id_, row in pool.items()) / len(pool)
        assert found.state.class_means[0] == pytest.approx((mean_no, 1.0 - mean_no))
        no, yes = (c.threshold for c in found.class_thresholds)
        assert no == pytest.approx(yes * mean_no / (1.0 - mean_no))

    def test_classes_that_change_between_rounds_are_refused(self) -> None:
        pool, texts = yes_no(SURES)
        first = select(pool, rule="freematch", tau=0.95, classes=texts)
        assert first.state is not None and first.state.texts == ("no", "yes")
        with pytest.raises(ValueError, match=r"were \('no', 'yes'\).*are positions"):
            select(pool, rule="freematch", tau=0.95, state=first.state)

    def test_items_with_texts_of_their_own_are_balanced_by_position(self) -> None:
        pool = pairs(a=0.9, b=0.95, c=0.85, d=0.1, e=0.15)
        texts = {id_: (f"{id_} 1", f"{id_} 0") for id_ in pool}
        found = select(pool, rule="class-balanced", tau=0.8, classes=texts)
        assert found == select(pool, rule="class-balanced", tau=0.8)
