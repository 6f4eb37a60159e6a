"""Where two curves cross: against the exact place, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from study.statistics.across_points.crossing import Crossing, CurveArm, find_crossing
from study.statistics.arms import ArmScores

ITEMS = 150
PLACES = (0.0, 1.0, 2.0, 4.0)


def _curve(
    rng: np.random.Generator,
    name: str,
    line: tuple[float, float],
    difficulty: np.ndarray,
    *,
    seed_sd: float = 0.02,
    num_seeds: int = 4,
    places: tuple[float, ...] = PLACES,
) -> list[CurveArm]:
    """A line of accuracies; the seeds of a curve share their draws at all places."""
    intercept, slope = line
    draws = seed_sd * rng.normal(size=num_seeds)
    return [
        CurveArm(
            x=x,
            arm=ArmScores(
                scores=(
                    rng.random((ITEMS, num_seeds))
                    < np.clip(intercept + slope * x + difficulty[:, None] + draws, 0, 1)
                ).astype(float),
                draw_ids=tuple(f"{name}/{s}" for s in range(num_seeds)),
                item_ids=tuple(f"item-{i}" for i in range(ITEMS)),
            ),
        )
        for x in places
    ]


def _drawn(
    rng: np.random.Generator, easy: tuple[float, float], hard: tuple[float, float], **changes: float
) -> Crossing:
    difficulty = 0.2 * rng.uniform(-1, 1, ITEMS)
    found = find_crossing(
        _curve(rng, "easy", easy, difficulty, **changes),  # type: ignore[arg-type]
        _curve(rng, "hard", hard, difficulty, **changes),  # type: ignore[arg-type]
    )
    assert found is not None
    return found


def _holds(found: Crossing, x: float) -> bool:
    return (
        not found.is_empty
        and (found.low is None or found.low <= x)
        and (found.high is None or x <= found.high)
    )


@pytest.mark.parametrize("seed_sd", [0.0, 0.04])
def test_the_interval_holds_the_true_crossing_as_often_as_it_says(seed_sd: float) -> None:
    rng = np.random.default_rng(11)
    # 0.60 - 0.02 x and 0.72 - 0.08 x are equal at x = 2.
    runs = 150
    drawn = [_drawn(rng, (0.6, -0.02), (0.72, -0.08), seed_sd=seed_sd) for _ in range(runs)]
    covered = np.mean([_holds(found, 2.0) for found in drawn])
    assert covered >= 0.915  # 0.95 less two standard errors of 150 draws
    # The set is no more than it must be: places far off are refused by most draws.
    assert np.mean([_holds(found, 0.0) for found in drawn]) < 0.5
    seen = [found.estimate for found in drawn if found.estimate is not None]
    assert np.median(seen) == pytest.approx(2.0, abs=0.35)


def _flat(name: str, values: dict[float, float], noise: float = 0.01) -> list[CurveArm]:
    """Arms whose means are exactly these, with a little variance over items and seeds."""
    wave = noise * np.where(np.arange(40) % 2, 1.0, -1.0)
    return [
        CurveArm(
            x=x,
            arm=ArmScores(
                scores=np.stack([mean + wave, mean + wave + noise, mean + wave - noise], axis=1),
                draw_ids=tuple(f"{name}/{s}" for s in range(3)),
                item_ids=tuple(f"item-{i}" for i in range(40)),
            ),
        )
        for x, mean in values.items()
    ]


def test_curves_measured_at_different_places_cross_on_their_lines() -> None:
    first = _flat("easy", {0: 0.5, 4: 0.5})
    second = _flat("hard", {1: 0.6, 3: 0.4, 5: 0.2})
    found = find_crossing(first, second)
    assert found is not None and found.low is not None and found.high is not None
    assert found.estimate == pytest.approx(2.0)
    assert (found.start, found.stop) == (1, 4)
    assert found.low < 2.0 < found.high
    # Symmetric in the curves, and the places may come in any order.
    swapped = find_crossing(second[::-1], first)
    assert swapped is not None
    assert swapped.estimate == pytest.approx(2.0)
    assert (swapped.low, swapped.high) == pytest.approx((found.low, found.high), abs=1e-6)
    # Seeds: t with 4 degrees of freedom (2 a curve), SD 0.01 / sqrt(3) a curve, slope 0.1.
    error = np.sqrt(2) * 0.01 / np.sqrt(3)
    assert found.high - 2.0 == pytest.approx(2.776 * error / 0.1, rel=0.05)


def test_curves_that_do_not_cross_have_no_estimate() -> None:
    apart = find_crossing(_flat("easy", {0: 0.5, 1: 0.5}), _flat("hard", {0: 0.9, 1: 0.8}))
    assert apart is not None
    assert apart.is_empty and apart.estimate is None and "do not cross" in apart.reason
    close = find_crossing(_flat("easy", {0: 0.5, 1: 0.5}), _flat("hard", {0: 0.7, 1: 0.505}))
    assert close is not None
    assert close.estimate is None and not close.is_empty
    assert close.high is None and close.low is not None  # it may lie beyond what was measured


def test_a_crossing_needs_two_places_and_a_common_range() -> None:
    line = _flat("easy", {0: 0.5, 1: 0.5})
    assert find_crossing(line, _flat("hard", {0: 0.4})) is None
    assert find_crossing(line, _flat("hard", {2: 0.4, 3: 0.6})) is None
    with pytest.raises(ValueError, match="one arm an x"):
        find_crossing(line, [*line, *line])


def test_a_set_that_goes_on_below_the_range_has_no_lower_end() -> None:
    close = find_crossing(_flat("easy", {0: 0.5, 1: 0.5}), _flat("hard", {0: 0.505, 1: 0.7}))
    assert close is not None and close.high is not None
    assert close.low is None and close.estimate is None
    # The difference at x is 0.005 + 0.195 x: it stays in its interval up to here.
    half_width = 2.776 * np.sqrt(2) * 0.01 / np.sqrt(3)
    assert close.high == pytest.approx((half_width - 0.005) / 0.195, rel=0.05)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_curves_that_meet_at_a_measured_place_cross_there(place: int) -> None:
    flat = _flat("easy", dict.fromkeys(range(3), 0.5))
    meets = find_crossing(flat, _flat("hard", {x: 0.5 + 0.25 * (x - place) for x in range(3)}))
    assert meets is not None
    assert meets.estimate == pytest.approx(place, abs=1e-12)
