"""Adjusted p-values against published examples and scipy."""

import numpy as np
import pytest
from scipy import stats

from study.statistics.across_points.multiplicity import false_discovery, holm, simultaneous_level


def test_holm_worked_by_hand() -> None:
    # Ranked .01 .02 .03 .04 -> 4 x .01, 3 x .02, then 2 x .03 and 1 x .04 lifted to .06.
    found = holm({"c": 0.03, "a": 0.01, "missing": None, "d": 0.04, "b": 0.02})
    assert list(found) == ["c", "a", "missing", "d", "b"]
    assert found == pytest.approx({"c": 0.06, "a": 0.04, "missing": None, "d": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize(("dependence", "method"), [("positive", "bh"), ("any", "by")])
def test_false_discovery_agrees_with_scipy(dependence: str, method: str) -> None:
    p_values = np.random.default_rng(0).random(40) ** 2
    found = false_discovery(
        {str(k): float(p) for k, p in enumerate(p_values)},
        dependence=dependence,  # type: ignore[arg-type]
    )
    wanted = stats.false_discovery_control(p_values, method=method)  # type: ignore[arg-type]
    assert list(found.values()) == pytest.approx(list(wanted))
    assert false_discovery({"a": None}) == {"a": None}


def test_simultaneous_level_agrees_with_holm_at_the_first_step() -> None:
    assert simultaneous_level(0.95, 5) == pytest.approx(0.99)
    assert simultaneous_level(0.95, 1) == pytest.approx(0.95)
    p_value = 0.0099
    assert holm({"a": p_value, **{str(k): 0.5 for k in range(4)}})["a"] == pytest.approx(0.0495)
    assert p_value < 1 - simultaneous_level(0.95, 5)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"'a': 1\.2"):
        holm({"a": 1.2})
    with pytest.raises(ValueError, match=r"'a': -0\.5"):
        false_discovery({"a": -0.5})
    with pytest.raises(ValueError, match="num_contrasts"):
        simultaneous_level(0.95, 0)


def test_the_ends_of_the_range_are_p_values() -> None:
    assert holm({"a": 0.0, "b": 1.0}) == {"a": 0.0, "b": 1.0}
