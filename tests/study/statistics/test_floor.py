"""Whether zero-shot accuracy can be the zero of SGR."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.statistics.arms import ArmScores
from study.statistics.floor import Floor, judge_floor


def floor_of(
    num_right: int, num_items: int, choices: int, unreadable: float | None = None
) -> Floor:
    scores = np.zeros((num_items, 1))
    scores[:num_right] = 1.0
    chance = np.full(num_items, 1.0 / choices if choices > 1 else 0.0)
    return judge_floor(ArmScores(scores=scores, draw_ids=()), chance, unreadable=unreadable)


def test_the_interval_is_that_of_the_mean_over_items() -> None:
    found = floor_of(60, 200, choices=4)
    spread = np.sqrt(0.3 * 0.7 / 199) * stats.t.ppf(0.975, 199)
    assert (found.chance, found.above_chance) == pytest.approx((0.25, 0.05))
    assert (found.low, found.high) == pytest.approx((0.05 - spread, 0.05 + spread))


@pytest.mark.parametrize(
    ("num_right", "num_items", "choices", "verdict", "at_chance"),
    [
        (50, 200, 4, None, True),  # 24.0 % of four choices is what a guess has
        (48, 200, 4, None, True),
        (82, 200, 4, None, False),
        (20, 200, 4, "floor below chance", False),
        (0, 200, 4, "floor below chance", False),  # nothing varies: the interval is that of guesses
        (0, 4, 4, None, True),  # four guesses may all be wrong
        (200, 200, 4, None, False),
        (0, 200, 1, None, True),  # no guess hits a free answer
        (2, 200, 1, None, True),
        (12, 200, 1, None, False),
    ],
)
def test_a_floor_is_held_beside_chance(
    num_right: int, num_items: int, choices: int, verdict: str | None, at_chance: bool
) -> None:
    found = floor_of(num_right, num_items, choices)
    assert (found.verdict, found.at_chance) == (verdict, at_chance)
    assert bool(found.verdict_note) == (verdict is not None)


def test_chance_is_that_of_each_item() -> None:
    chance = np.array([0.5] * 50 + [0.25] * 50)
    scores = np.array([1.0, 0.0] * 25 + [1.0, 0.0, 0.0, 0.0] * 12 + [0.0, 0.0])[:, None]
    found = judge_floor(ArmScores(scores=scores, draw_ids=()), chance)
    assert found.chance == 0.375 and found.at_chance
    # The same accuracy where every item has two choices is below chance.
    pairs = judge_floor(ArmScores(scores=scores, draw_ids=()), np.full(100, 0.5))
    assert pairs.verdict == "floor below chance"


def test_texts_that_cannot_be_read_are_no_floor() -> None:
    assert floor_of(120, 200, 1, unreadable=0.1).verdict is None
    found = floor_of(120, 200, 1, unreadable=0.105)
    assert found.verdict == "floor not readable"
    assert found.verdict_note == "10.5 % of zero-shot answers could not be read, more than 10 %"


def test_items_of_one_cluster_count_once() -> None:
    scores = np.repeat([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 20)[:, None]
    arm, chance = ArmScores(scores=scores, draw_ids=()), np.full(200, 0.25)
    groups = [str(index // 20) for index in range(200)]
    assert judge_floor(arm, chance).verdict == "floor below chance"
    assert judge_floor(arm, chance, clusters=groups).at_chance


def test_chance_that_is_no_probability_of_each_item_is_refused() -> None:
    arm = ArmScores(scores=np.zeros((3, 1)), draw_ids=())
    for chance in (np.full(2, 0.25), np.full(3, 1.5)):
        with pytest.raises(ValueError, match="probability for each of 3 items"):
            judge_floor(arm, chance)


def test_a_floor_below_chance_is_given_in_numbers() -> None:
    # 20 of 200 right: -15 points, plus or minus t sqrt(0.1 x 0.9 / 199).
    half_width = 100 * stats.t.ppf(0.975, 199) * np.sqrt(0.09 / 199)
    assert floor_of(20, 200, 4).verdict_note == (
        f"zero_shot is below chance, 25.0 %: {-15 - half_width:+.1f} to {-15 + half_width:+.1f} "
        "points at level 0.95"
    )
