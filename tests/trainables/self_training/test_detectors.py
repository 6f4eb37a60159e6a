"""Failure detectors: silent on honest rounds, loud on the failure that each is made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from trainables.methods.base.choice_orders import first_position
from trainables.self_training.detectors import (
    FULL_LABELS,
    LARGEST_DRIFT,
    LARGEST_PREFERENCE,
    LEAST_RISE,
    LOWEST_ENTROPY,
    MIN_LABELS,
    MIN_ONE_CLASS,
    PoolLabels,
    RoundLabels,
    class_drift,
    confirmation_bias,
    detect,
    easiest_of_the_hard,
    entropy_collapse,
    labels_of_rows,
    position_preference,
)
from trainables.self_training.selection import Selection, select


def a_round(
    labels: Sequence[int], *, sure: float | Sequence[float] = 0.9, tau: float = 0.5, k: int = 2
) -> RoundLabels:
    """A round that predicts these labels with this confidence."""
    sures = [sure] * len(labels) if isinstance(sure, float) else sure
    pool = {}
    for index, (label, value) in enumerate(zip(labels, sures, strict=True)):
        row = [(1.0 - value) / (k - 1)] * k
        row[label] = value
        pool[f"item-{index:04d}"] = row
    return as_round(select(pool, tau=tau), own_texts(pool))


def as_round(found: Selection, choices: Mapping[str, Sequence[str]]) -> RoundLabels:
    """A round that has been selected so, and whose training changed nothing."""
    look = PoolLabels(labels=found.pool_labels, confidence=found.confidence)
    return RoundLabels(
        before=look,
        after=look,
        choices={id_: tuple(choices[id_]) for id_ in found.confidence},
        selected=dict(zip(found.ids, found.labels, strict=True)),
        weights=dict(zip(found.ids, found.weights, strict=True)),
    )


def followed(first: RoundLabels, last: RoundLabels) -> RoundLabels:
    """The first round, whose model says after it what the other one's says."""
    return replace(first, after=last.before)


def own_texts(pool: Mapping[str, Sequence[float]]) -> Mapping[str, tuple[str, ...]]:
    """Choices that no two items share, so that classes are positions."""
    return {id_: tuple(f"{id_} {at}" for at in range(len(row))) for id_, row in pool.items()}


def hardness_of(one: RoundLabels, values: Sequence[float]) -> Mapping[str, float]:
    return dict(zip(one.choices, values, strict=True))


class TestEntropyCollapse:
    def test_even_labels_are_fine_and_crowded_ones_are_not(self) -> None:
        even = entropy_collapse([a_round([0, 1] * 50)])
        assert (even.value, even.warning) == (pytest.approx(1.0), None)
        crowded = entropy_collapse([a_round([0] * 90 + [1] * 10)])
        # -(.9 log2 .9 + .1 log2 .1)
        assert crowded.value == pytest.approx(0.468996, abs=1e-6)
        assert crowded.warning is not None
        assert "0.47" in crowded.warning

    def test_only_the_last_selection_counts(self) -> None:
        sure = [0.95] * 40 + [0.6] * 60
        labels = [0, 1] * 20 + [1] * 60
        rounds = [a_round([1] * 100), a_round(labels, sure=sure, tau=0.9)]
        assert entropy_collapse(rounds).value == pytest.approx(1.0)

    def test_numbers_of_choices_have_their_own_maximum(self) -> None:
        pool = {f"two-{n}": [0.9, 0.1] if n % 2 else [0.1, 0.9] for n in range(20)}
        for n in range(40):
            pool[f"four-{n}"] = [0.7 if at == n % 4 else 0.1 for at in range(4)]
        selection = select(pool, tau=0.0, scale="chance-normalised")
        found = entropy_collapse([as_round(selection, own_texts(pool))])
        assert found.value == pytest.approx(1.0)

    def test_few_labels_say_nothing_unless_they_are_all_of_one_class(self) -> None:
        few = MIN_LABELS - 1
        assert entropy_collapse([a_round([0] * (few - 1) + [1])]).value is None
        assert entropy_collapse([a_round([0] * few + [1])]).warning is not None
        one_class = entropy_collapse([a_round([0] * MIN_ONE_CLASS)])
        assert one_class.value == 0.0
        assert one_class.warning is not None and "all 10 selected" in one_class.warning
        assert entropy_collapse([a_round([0] * (MIN_ONE_CLASS - 1))]).warning is None

    def test_labels_count_by_their_weights(self) -> None:
        made = a_round([0, 1] * 50)
        light = {id_: 1.0 if label == 0 else 0.01 for id_, label in made.selected.items()}
        found = entropy_collapse([replace(made, weights=light)])
        share = 1.0 / 1.01
        expected = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
        assert found.value == pytest.approx(expected)
        # 31 labels of which one alone weighs anything are one label.
        alone = a_round([0, 1] * 15 + [0])
        weights = {id_: 1.0 if n == 0 else 1e-6 for n, id_ in enumerate(alone.selected)}
        assert entropy_collapse([replace(alone, weights=weights)]).value is None

    @pytest.mark.parametrize("k", [2, 3, 4, 5])
    def test_even_labels_hardly_ever_warn(self, k: int) -> None:
        rng = np.random.default_rng(k)
        shares = rng.multinomial(MIN_LABELS, [1 / k] * k, size=20_000) / MIN_LABELS
        logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
        entropies = -(shares * logs).sum(axis=1) / np.log(k)
        assert (entropies < LOWEST_ENTROPY).mean() < 0.01


class TestPositionDrift:
    def test_a_net_move_is_measured_and_moves_that_cancel_are_not(self) -> None:
        first = a_round([0, 1] * 100)
        drifted = class_drift([first, a_round([0] * 60 + [1] * 40 + [0] * 80 + [1] * 20)])
        assert drifted.value == pytest.approx(0.2)
        assert drifted.warning is not None
        swapped = class_drift([first, a_round([1, 0] * 100)])
        assert (swapped.value, swapped.warning) == (0.0, None)

    def test_items_of_one_pool_only_do_not_count(self) -> None:
        larger = a_round([0, 1] * 100 + [1] * 300)
        assert class_drift([a_round([0, 1] * 100), larger]).value == 0.0

    def test_one_round_is_looked_at_before_and_after(self) -> None:
        first = a_round([0, 1] * 100)
        assert class_drift([first]).value == 0.0
        found = class_drift([followed(first, a_round([0] * 200))])
        assert found.value == pytest.approx(0.5)
        assert found.warning is not None

    def test_a_shipped_pool_of_160_is_judged_and_few_items_say_nothing(self) -> None:
        moved = class_drift([followed(a_round([0, 1] * 80), a_round([0] * 110 + [1] * 50))])
        assert moved.value == pytest.approx(30 / 160)
        assert moved.threshold == pytest.approx(LARGEST_DRIFT * np.sqrt(FULL_LABELS / 160))
        assert moved.warning is not None
        few = a_round([0] * (MIN_LABELS - 1))
        assert class_drift([few]).value is None

    @pytest.mark.parametrize("number", [MIN_LABELS, 80, 160, FULL_LABELS])
    def test_independent_even_labels_hardly_ever_warn(self, number: int) -> None:
        rng = np.random.default_rng(4)
        first, last = (rng.multinomial(number, [0.25] * 4, size=20_000) / number for _ in range(2))
        threshold = class_drift([a_round([0, 1, 2, 3] * (number // 4), k=4)]).threshold
        if number % 4:
            threshold = LARGEST_DRIFT * np.sqrt(FULL_LABELS / number)
        assert (0.5 * np.abs(first - last).sum(axis=1) > threshold).mean() < 0.012


class TestPositionPreference:
    def test_a_model_that_answers_by_position_is_seen_though_the_orders_leave_ties(self) -> None:
        k = 4
        # Always the first position, whatever stands there.
        always = first_position([np.log([0.85, 0.05, 0.05, 0.05])] * k)
        assert always == pytest.approx(0.6)
        found = position_preference([shown_first([always] * 100)])
        assert found.value == pytest.approx(0.6)
        assert found.warning is not None and "0.60 more probable" in found.warning
        last = first_position([np.log([0.05, 0.05, 0.05, 0.85])] * k)
        found = position_preference([shown_first([last] * 100)])
        assert found.warning is not None and "0.20 less probable" in found.warning

    def test_a_model_that_answers_by_content_is_not(self) -> None:
        # Choice 0 is right: it is shown at positions 0 and 1 of the two orders of a pair.
        by_content = first_position([np.log([0.9, 0.1]), np.log([0.1, 0.9])])
        assert by_content == pytest.approx(0.0, abs=1e-12)
        assert position_preference([shown_first([by_content] * 100)]).warning is None

    def test_the_look_that_is_the_furthest_off_counts(self) -> None:
        made = shown_first([0.0] * 50)
        driven = PoolLabels(
            labels=made.after.labels,
            confidence=made.after.confidence,
            first_position=dict.fromkeys(made.choices, -0.3),
        )
        assert position_preference([replace(made, after=driven), made]).value == 0.0
        assert position_preference([made, replace(made, after=driven)]).value == pytest.approx(-0.3)

    def test_one_order_and_few_items_say_nothing(self) -> None:
        assert first_position([np.log([0.9, 0.1])]) is None
        assert position_preference([a_round([0, 1] * 50)]).value is None
        assert position_preference([shown_first([0.4] * (MIN_LABELS - 1))]).value is None
        edge = position_preference([shown_first([LARGEST_PREFERENCE] * 64)])
        assert edge.warning is None


def shown_first(values: Sequence[float | None]) -> RoundLabels:
    """A round of even labels whose model prefers the first position by this, item by item."""
    made = a_round([0, 1] * (len(values) // 2) + [0] * (len(values) % 2))
    known = {id_: v for id_, v in zip(made.choices, values, strict=True) if v is not None}
    look = replace(made.before, first_position=known)
    return replace(made, before=look, after=look)


class TestConfirmationBias:
    def test_frozen_labels_with_rising_confidence_warn(self) -> None:
        labels = [0, 1] * 50
        found = confirmation_bias([a_round(labels, sure=0.7), a_round(labels, sure=0.9)])
        assert found.value == 1.0
        assert found.warning is not None
        assert "0.20" in found.warning

    def test_frozen_labels_at_the_same_confidence_do_not(self) -> None:
        labels = [0, 1] * 50
        found = confirmation_bias([a_round(labels, sure=0.9), a_round(labels, sure=0.9)])
        assert (found.value, found.warning) == (1.0, None)

    def test_a_label_that_went_and_came_back_has_changed(self) -> None:
        labels = [0, 1] * 50
        other = [1 - label if at < 10 else label for at, label in enumerate(labels)]
        rounds = [
            a_round(labels, sure=0.7),
            a_round(other, sure=0.8),
            a_round(labels, sure=0.9),
        ]
        found = confirmation_bias(rounds)
        assert found.value == pytest.approx(0.9)
        assert found.warning is None

    def test_one_round_has_two_looks(self) -> None:
        labels = [0, 1] * 80
        made = followed(a_round(labels, sure=0.7), a_round(labels, sure=0.9))
        found = confirmation_bias([made])
        assert (found.value, found.warning is not None) == (1.0, True)
        assert confirmation_bias([a_round([0, 1] * (MIN_LABELS // 2 - 1))]).value is None

    def test_few_items_have_to_rise_by_more(self) -> None:
        for number in (50, FULL_LABELS):
            labels = [0, 1] * (number // 2)
            least = LEAST_RISE * np.sqrt(FULL_LABELS / number)
            for rise, warns in ((0.9 * least, False), (1.1 * least, True)):
                made = followed(a_round(labels, sure=0.7), a_round(labels, sure=0.7 + rise))
                assert (confirmation_bias([made]).warning is not None) == warns


class TestEasiestOfTheHard:
    def test_a_selection_of_the_easiest_warns_with_the_coverage_of_levels(self) -> None:
        hardness = [1.0] * 50 + [3.0] * 50
        last = a_round([0, 1] * 50, sure=[0.95] * 50 + [0.6] * 50, tau=0.9)
        levels = {id_: "medium" if at < 50 else "hard" for at, id_ in enumerate(last.choices)}
        found = easiest_of_the_hard([last], hardness_of(last, hardness), levels)
        # Pool: mean 2, standard deviation 1; selected: mean 1.
        assert found.value == pytest.approx(1.0)
        assert found.by_level == {"medium": 1.0, "hard": 0.0}
        assert found.warning is not None
        assert "hard 0%" in found.warning

    def test_a_selection_like_its_pool_does_not(self) -> None:
        last = a_round([0, 1] * 50, sure=[0.95, 0.6] * 50, tau=0.9)
        hardness = [float(at // 2) for at in range(100)]
        found = easiest_of_the_hard(
            [last], hardness_of(last, hardness), dict.fromkeys(last.choices, "hard")
        )
        assert found.value == pytest.approx(0.0)
        assert found.warning is None
        assert found.by_level == {"hard": 0.5}

    def test_a_weighted_selection_leans_where_its_weights_do(self) -> None:
        made = a_round([0, 1] * 50)
        hardness = hardness_of(made, [1.0] * 50 + [3.0] * 50)
        levels = {id_: "medium" if hardness[id_] < 2 else "hard" for id_ in made.choices}
        weights = {id_: 1.0 if hardness[id_] < 2 else 0.2 for id_ in made.choices}
        even = easiest_of_the_hard([made], hardness, levels)
        found = easiest_of_the_hard([replace(made, weights=weights)], hardness, levels)
        assert (even.value, even.warning) == (pytest.approx(0.0), None)
        # Mean (50 * 1 + 10 * 3) / 60 of a pool with mean 2 and standard deviation 1.
        assert found.value == pytest.approx(2 - 80 / 60)
        assert found.by_level == pytest.approx({"medium": 1.0, "hard": 0.2})
        assert found.warning is not None

    def test_nothing_selected_and_equal_hardness_have_no_value(self) -> None:
        nothing = a_round([0, 1], tau=0.95)
        levels = dict.fromkeys(nothing.choices, "hard")
        found = easiest_of_the_hard([nothing], hardness_of(nothing, [1.0, 2.0]), levels)
        assert (found.value, found.by_level) == (None, {"hard": 0.0})
        everything = a_round([0, 1])
        found = easiest_of_the_hard([everything], hardness_of(everything, [1.0, 1.0]), levels)
        assert found.value is None

    def test_an_item_without_hardness_is_refused(self) -> None:
        last = a_round([0, 1])
        with pytest.raises(ValueError, match=r"1 item .*'item-0001'"):
            easiest_of_the_hard([last], {"item-0000": 1.0}, dict.fromkeys(last.choices, "hard"))


class TestRows:
    def test_a_file_says_what_was_labelled_kept_and_thought_afterwards(self) -> None:
        row = {"choices": ["x", "y"], "first_position": 0.1, "first_position_after": None}
        rows = [
            {**row, "item_id": "a", "label": "x", "trained_on": "x", "confidence": 0.9,
             "weight": 0.5, "label_after": "y", "confidence_after": 0.8},
            {**row, "item_id": "b", "label": None, "trained_on": None, "confidence": 0.5,
             "weight": 0.0, "label_after": "y", "confidence_after": 0.6},
        ]  # fmt: skip
        assert labels_of_rows(rows) == RoundLabels(
            before=PoolLabels(
                labels={"a": 0, "b": None},
                confidence={"a": 0.9, "b": 0.5},
                first_position={"a": 0.1, "b": 0.1},
            ),
            after=PoolLabels(labels={"a": 1, "b": 1}, confidence={"a": 0.8, "b": 0.6}),
            choices={"a": ("x", "y"), "b": ("x", "y")},
            selected={"a": 0},
            weights={"a": 0.5},
        )


class TestDetect:
    def test_five_findings_in_one_call(self) -> None:
        rounds = [a_round([0, 1] * 50)]
        ids = list(rounds[0].choices)
        found = detect(rounds, dict.fromkeys(ids, 1.0), dict.fromkeys(ids, "hard"))
        assert [finding.name for finding in found] == [
            "label entropy",
            "class drift",
            "position preference",
            "confirmation bias",
            "easiest of the hard",
        ]
        assert len(detect(rounds, {}, {})) == 4, "easiness is not judged without hardness"

    def test_no_round_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one round"):
            detect([], {}, {})


def yes_no_round(answers: Sequence[str]) -> RoundLabels:
    """A round that gives these answers; the canonical order of the choices is even."""
    pool, texts = {}, {}
    for number, answer in enumerate(answers):
        id_ = f"item-{number:04d}"
        texts[id_] = ("yes", "no") if number % 2 else ("no", "yes")
        pool[id_] = [0.9 if text == answer else 0.1 for text in texts[id_]]
    return as_round(select(pool, tau=0.5, classes=texts), texts)


class TestFixedClasses:
    def test_a_model_that_always_says_yes_is_seen(self) -> None:
        found = entropy_collapse([yes_no_round(["yes"] * 100)])
        assert found.value == pytest.approx(0.0)
        assert found.warning is not None and "of one class" in found.warning
        even = entropy_collapse([yes_no_round(["yes", "yes", "no", "no"] * 25)])
        assert (even.value, even.warning) == (pytest.approx(1.0), None)

    def test_a_model_that_goes_from_yes_to_no_is_seen(self) -> None:
        first = yes_no_round(["yes", "yes", "no", "no"] * 50)
        found = class_drift([first, yes_no_round(["no"] * 200)])
        assert found.value == pytest.approx(0.5)
        assert found.warning is not None and "other answers" in found.warning
        assert class_drift([first, yes_no_round(["no", "no", "yes", "yes"] * 50)]).value == 0.0

    def test_an_accumulated_label_counts_as_it_was_kept(self) -> None:
        rows = [
            {
                "item_id": f"item-{number:04d}",
                "trained_on": "no" if number % 2 else "yes",
                "choices": ["yes", "no"],
                "weight": 1.0,
                **{f"label{when}": "yes" for when in ("", "_after")},
                **{f"confidence{when}": 0.9 for when in ("", "_after")},
                **{f"first_position{when}": 0.0 for when in ("", "_after")},
            }
            for number in range(100)
        ]
        found = labels_of_rows(rows)
        assert set(found.before.labels.values()) == {0}
        assert sum(found.selected.values()) == 50
        assert entropy_collapse([found]).value == pytest.approx(1.0)
        tied = labels_of_rows([{**rows[1], "label": None}])
        assert tied.selected == {"item-0001": 1}, "a kept item that has become a tie"
