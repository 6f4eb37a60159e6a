"""Adjusted p-values against examples worked by hand."""

import pytest

from study.statistics.across_points.multiplicity import false_discovery, holm, simultaneous_level


def test_holm_worked_by_hand() -> None:
    # Ranked .01 .02 .03 .04 -> 4 x .01, 3 x .02, then 2 x .03 and 1 x .04 lifted to .06.
    adjusted = holm([0.03, 0.01, None, 0.04, 0.02])
    assert adjusted == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_false_discovery_worked_by_hand() -> None:
    # Ranked .01 .02 .03 .5 -> 4/1 x .01, 4/2 x .02, 4/3 x .03, 4/4 x .5; none above the next.
    assert false_discovery([0.5, 0.02, None, 0.03, 0.01]) == pytest.approx(
        [0.5, 0.04, None, 0.04, 0.04]
    )
    assert false_discovery([None]) == [None]


def test_simultaneous_level_agrees_with_holm_at_the_first_step() -> None:
    assert simultaneous_level(0.95, 5) == pytest.approx(0.99)
    assert simultaneous_level(0.95, 1) == pytest.approx(0.95)
    p_value = 0.0099
    assert holm([p_value, *[0.5] * 4])[0] == pytest.approx(0.0495)
    assert p_value < 1 - simultaneous_level(0.95, 5)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"got \[1\.2\]"):
        holm([1.2])
    with pytest.raises(ValueError, match=r"got \[-0\.5\]"):
        false_discovery([0.1, -0.5])
    with pytest.raises(ValueError, match="num_contrasts"):
        simultaneous_level(0.95, 0)


def test_the_ends_of_the_range_are_p_values() -> None:
    assert holm([0.0, 1.0]) == [0.0, 1.0]
