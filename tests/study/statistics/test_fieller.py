"""The Fieller set against hand-worked and published examples."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.statistics.fieller import FiellerSet, PairCovariance, fieller_set, g_statistic


def _set(x: float, y: float, xx: float, xy: float, yy: float, t: float) -> FiellerSet:
    return fieller_set(x=x, y=y, covariance=PairCovariance(xx=xx, xy=xy, yy=yy), critical=t)


def test_published_example() -> None:
    # DCSTATS (github.com/DCPROGS/DCSTATS, tests/test_fieller.py), after Finney, "Statistical
    # Method in Biological Assay": 14 +/- 3 over 7 +/- 2, r = 0, t = 1.812461 (10 df, 90 %).
    pair = PairCovariance(xx=9.0, xy=0.0, yy=4.0)
    found = fieller_set(x=14.0, y=7.0, covariance=pair, critical=1.8124611228)
    assert g_statistic(y=7.0, covariance=pair, critical=1.8124611228) == pytest.approx(
        0.268164, rel=1e-5
    )
    assert found.kind == "interval"
    assert found.low == pytest.approx(1.051413, rel=1e-6)
    assert found.high == pytest.approx(4.414296, rel=1e-6)


def test_worked_by_hand() -> None:
    # Fieller 1954: (x - theta y)^2 <= t^2 (xx - 2 theta xy + theta^2 yy). x = 1, y = 2, t = 2:
    # xx = yy = 1/4, xy = 0:   3 theta^2 - 4 theta <= 0    -> [0, 4/3]
    # xx = xy = yy = 1/4:      3 theta^2 - 2 theta <= 0    -> [0, 2/3]
    # xx = 1/4, yy = 2:       -4 theta^2 - 4 theta <= 0    -> all but (-1, 0)
    # xx = xy = 1/4, yy = 2:  -4 theta^2 - 2 theta <= 0    -> all but (-1/2, 0)
    # xx = 1, yy = 2:         -4 theta^2 - 4 theta - 3 < 0 -> every theta
    # xx = 1/2, xy = 0, yy = 1:     -4 theta - 1 <= 0      -> [-1/4, inf)
    assert _set(1, 2, 0.25, 0, 0.25, 2) == FiellerSet(
        kind="interval", low=pytest.approx(0.0, abs=1e-15), high=pytest.approx(4 / 3)
    )
    assert _set(1, 2, 0.25, 0.25, 0.25, 2) == FiellerSet(
        kind="interval", low=pytest.approx(0.0, abs=1e-15), high=pytest.approx(2 / 3)
    )
    assert _set(1, 2, 0.25, 0, 2, 2) == FiellerSet(
        kind="exterior", low=pytest.approx(-1.0), high=0.0
    )
    assert _set(1, 2, 0.25, 0.25, 2, 2) == FiellerSet(
        kind="exterior", low=pytest.approx(-0.5), high=0.0
    )
    assert _set(1, 2, 1, 0, 2, 2) == FiellerSet(kind="line", low=None, high=None)
    assert _set(1, 2, 0.5, 0, 1, 2) == FiellerSet(kind="ray up", low=-0.25, high=None)
    assert _set(-1, 2, 0.5, 0, 1, 2) == FiellerSet(kind="ray down", low=None, high=0.25)


def test_without_variance() -> None:
    assert _set(1, 2, 0, 0, 0, 2) == FiellerSet(kind="interval", low=0.5, high=0.5)
    assert _set(1, 0, 0, 0, 0, 2).kind == "empty"
    assert _set(0, 0, 0, 0, 0, 2).kind == "line"
    assert g_statistic(y=0.0, covariance=PairCovariance(xx=1, xy=0, yy=1), critical=2) is None


_COORDINATE = st.just(0.0) | st.floats(1e-6, 1) | st.floats(-1, -1e-6)
_SPREAD = st.floats(1e-4, 1)


@given(
    x=_COORDINATE,
    y=_COORDINATE,
    sx=_SPREAD,
    sy=_SPREAD,
    r=st.floats(-0.99, 0.99),
    t=st.floats(0.5, 12),
    theta=st.floats(-20, 20),
)
def test_set_is_the_inverted_test(
    x: float, y: float, sx: float, sy: float, r: float, t: float, theta: float
) -> None:
    pair = PairCovariance(xx=sx * sx, xy=r * sx * sy, yy=sy * sy)
    found = fieller_set(x=x, y=y, covariance=pair, critical=t)
    statistic = abs(x - theta * y) / math.sqrt(pair.of_residual(theta))
    # At an end the two sides are equal: only there may rounding decide.
    if abs(statistic - t) > 1e-6 * t:
        assert found.contains(theta) == (statistic < t)


@given(
    x=_COORDINATE,
    y=_COORDINATE,
    sx=st.floats(0, 1),
    sy=st.floats(0, 1),
    r=st.floats(-1, 1),
    t=st.floats(0.5, 12),
)
def test_bounded_exactly_where_the_denominator_excludes_zero(
    x: float, y: float, sx: float, sy: float, r: float, t: float
) -> None:
    pair = PairCovariance(xx=sx * sx, xy=r * sx * sy, yy=sy * sy)
    found = fieller_set(x=x, y=y, covariance=pair, critical=t)
    g = g_statistic(y=y, covariance=pair, critical=t)
    half_width = t * math.sqrt(pair.yy)
    excludes_zero = y - half_width > 0 or y + half_width < 0
    assert (found.kind == "interval") == excludes_zero
    assert (g is not None and g < 1) == excludes_zero
    if excludes_zero:
        assert found.low is not None and found.high is not None
        assert found.low <= x / y <= found.high
