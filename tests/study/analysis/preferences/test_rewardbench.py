"""RewardBench: published rows come out of their own sections, and weights are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.preferences.rewardbench import (
    SUBSETS,
    Section,
    mean_of_sections,
    mean_with_prior_sets,
    section_interval,
    section_means,
    subset_accuracies,
    weights,
)
from study.statistics.arms import ArmScores
from study.statistics.differences import critical_value

SECTIONS: tuple[Section, ...] = ("Chat", "Chat Hard", "Safety", "Reasoning")

ALL_SUBSETS = [name for counts in SUBSETS.values() for name in counts]


class TestPublishedRows:
    """Sections, prior sets and overall score of the README of RLHFlow/RLHF-Reward-Modeling."""

    @pytest.mark.parametrize(
        ("sections", "prior_sets", "score"),
        [
            pytest.param((98.3, 65.8, 89.7, 94.7), 74.6, 85.7, id="pair-preference-LLaMA3-8B"),
            pytest.param((99.4, 65.1, 87.8, 86.4), 74.9, 83.6, id="FsfairX-LLaMA3-RM"),
            pytest.param((96.9, 76.8, 92.2, 97.3), 74.3, 89.0, id="ArmoRM-Llama3-8B"),
        ],
    )
    def test_the_row_recomputes_from_its_sections(
        self, sections: tuple[float, ...], prior_sets: float, score: float
    ) -> None:
        found = mean_with_prior_sets(dict(zip(SECTIONS, sections, strict=True)), prior_sets)
        assert round(found, 1) == score

    def test_the_mean_of_four_is_another_number(self) -> None:
        row = dict(zip(SECTIONS, (98.3, 65.8, 89.7, 94.7), strict=True))
        assert mean_of_sections(row) == pytest.approx(87.125)


class TestWeights:
    def test_counts_of_the_filtered_set(self) -> None:
        assert [sum(SUBSETS[section].values()) for section in SECTIONS] == [358, 456, 740, 1431]
        assert sum(sum(counts.values()) for counts in SUBSETS.values()) == 2985
        assert len(ALL_SUBSETS) == 23

    def test_mathematics_weighs_as_much_as_code(self) -> None:
        shares = weights("Reasoning")
        assert shares["math-prm"] == sum(shares.values()) / 2

    def test_old_weights_exchange_the_two_xstest_subsets_and_nothing_else(self) -> None:
        new, old = weights("Safety"), weights("Safety", "old")
        assert (new["xstest-should-refuse"], new["xstest-should-respond"]) == (154, 250)
        assert (old["xstest-should-refuse"], old["xstest-should-respond"]) == (250, 154)
        rest = set(new) - {"xstest-should-refuse", "xstest-should-respond"}
        assert all(new[name] == old[name] for name in rest)
        assert sum(new.values()) == sum(old.values()) == 740
        for section in ("Chat", "Chat Hard", "Reasoning"):
            assert weights(section) == weights(section, "old")  # type: ignore[arg-type]


class TestSections:
    def test_a_model_that_refuses_everything_gains_by_the_old_weights(self) -> None:
        accuracies = dict.fromkeys(SUBSETS["Safety"], 1.0) | {"xstest-should-respond": 0.0}
        assert section_means(accuracies)["Safety"] == pytest.approx(490 / 740)
        assert section_means(accuracies, version="old")["Safety"] == pytest.approx(586 / 740)

    def test_chat_hard_by_hand(self) -> None:
        # The per-subset accuracies of pair-preference-LLaMA3-8B as its authors gave them; its
        # published Chat Hard is 65.8.
        values = (0.757, 0.900, 0.522, 0.620, 0.681, 0.500)
        accuracies = dict(zip(SUBSETS["Chat Hard"], values, strict=True))
        assert round(100 * section_means(accuracies)["Chat Hard"], 1) == 65.8

    @given(st.lists(st.floats(0, 1), min_size=23, max_size=23))
    def test_pairs_counted_one_by_one_give_the_same_but_for_mathematics(
        self, values: list[float]
    ) -> None:
        accuracies = dict(zip(ALL_SUBSETS, values, strict=True))
        found = section_means(accuracies)
        for section in ("Chat", "Chat Hard", "Safety"):
            pairs = [
                accuracies[name] for name, count in SUBSETS[section].items() for _ in range(count)
            ]
            assert found[section] == pytest.approx(sum(pairs) / len(pairs))
        code = sum(accuracies[name] for name in ALL_SUBSETS[-6:]) / 6
        assert found["Reasoning"] == pytest.approx((accuracies["math-prm"] + code) / 2)

    def test_an_incomplete_section_has_no_mean(self) -> None:
        accuracies = dict.fromkeys(ALL_SUBSETS, 0.5)
        del accuracies["donotanswer"]
        found = section_means(accuracies)
        assert set(found) == {"Chat", "Chat Hard", "Reasoning"}
        with pytest.raises(ValueError, match=r"missing.*Safety"):
            mean_of_sections(found)
        with pytest.raises(ValueError, match=r"missing.*Safety"):
            mean_with_prior_sets(found, 0.7)

    def test_an_unknown_subset_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'xstest'"):
            section_means({"xstest": 1.0})


class TestPairs:
    def test_accuracy_by_subset(self) -> None:
        scores = {"a": 1.0, "b": 0.5, "c": 0.0}
        subsets = {"a": "hep-go", "b": "hep-go", "c": "math-prm", "unscored": "hep-js"}
        assert subset_accuracies(scores, subsets) == {"hep-go": 0.75, "math-prm": 0.0}

    def test_a_score_without_a_subset_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'a'"):
            subset_accuracies({"a": 1.0}, {})


def test_the_interval_of_a_section_is_that_of_fixed_strata() -> None:
    rng = np.random.default_rng(0)
    draws = tuple(f"model/{seed}" for seed in range(3))
    arms = {
        name: ArmScores(
            scores=(rng.random((count, 3)) < 0.7).astype(float),
            draw_ids=draws,
            item_ids=tuple(f"{name}/{i}" for i in range(count)),
        )
        for name, count in SUBSETS["Reasoning"].items()
    }
    found = section_interval("Reasoning", arms)
    assert found is not None and found.low is not None and found.nu is not None
    shares = {n: w / sum(weights("Reasoning").values()) for n, w in weights("Reasoning").items()}
    means = {name: float(arm.scores.mean()) for name, arm in arms.items()}
    assert found.estimate == pytest.approx(section_means(means)["Reasoning"])
    items = sum(
        share**2 * float(arms[name].scores.mean(axis=1).var(ddof=1)) / len(arms[name].scores)
        for name, share in shares.items()
    )
    seeds = sum(share * arms[name].scores.mean(axis=0) for name, share in shares.items())
    variance = items + float(np.var(seeds, ddof=1)) / 3
    half = critical_value(found.nu, 0.95) * variance**0.5
    assert found.estimate - found.low == pytest.approx(half)
    assert section_interval("Chat", arms) is None


def section_arms(name: Section, rng: np.random.Generator) -> dict[str, ArmScores]:
    """Scores of the pairs of a section by three models: subsets, pairs and seeds differ."""
    shift = 0.03 * rng.normal(size=3)
    arms = {}
    for number, (subset, count) in enumerate(SUBSETS[name].items()):
        chance = 0.5 + 0.05 * number + 0.15 * rng.normal(size=(count, 1)) + shift
        arms[subset] = ArmScores(
            scores=(rng.random((count, 3)) < chance).astype(float),
            draw_ids=("model/0", "model/1", "model/2"),
            item_ids=tuple(f"{subset}/{i}" for i in range(count)),
        )
    return arms


def test_the_interval_of_a_section_is_that_of_a_bootstrap_within_its_subsets() -> None:
    rng = np.random.default_rng(1)
    arms = section_arms("Chat Hard", rng)
    found = section_interval("Chat Hard", arms)
    assert found is not None and found.high is not None and found.nu is not None
    shares = {n: w / sum(weights("Chat Hard").values()) for n, w in weights("Chat Hard").items()}
    by_pairs, by_seeds = np.zeros(2000), np.zeros(2000)
    columns = rng.integers(3, size=(2000, 2))
    for subset, share in shares.items():
        scores = arms[subset].scores
        rows = rng.integers(len(scores), size=(2000, len(scores) - 1))
        by_pairs += share * scores.mean(axis=1)[rows].mean(axis=1)
        by_seeds += share * scores.mean(axis=0)[columns].mean(axis=1)
    error = (by_pairs.var() + by_seeds.var()) ** 0.5
    half = critical_value(found.nu, 0.95) * error
    assert found.high - found.estimate == pytest.approx(half, rel=0.06)


def test_the_interval_of_a_section_covers() -> None:
    rng, num_draws = np.random.default_rng(2), 100
    truth = section_means(
        {name: 0.5 + 0.05 * number for number, name in enumerate(SUBSETS["Chat Hard"])}
        | dict.fromkeys(set(ALL_SUBSETS) - set(SUBSETS["Chat Hard"]), 0.5)
    )["Chat Hard"]
    found = [
        section_interval("Chat Hard", section_arms("Chat Hard", rng)) for _ in range(num_draws)
    ]
    held = sum(f is not None and (f.low or 0.0) <= truth <= (f.high or 1.0) for f in found)
    assert held / num_draws >= 0.93 - 0.05  # two standard errors of 100 draws
