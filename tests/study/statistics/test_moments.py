"""Variances of contrasts: degrees of freedom at any scale, and what is rounding alone."""

from __future__ import annotations

import numpy as np
import pytest

from study.statistics.arms import ArmScores
from study.statistics.differences import paired_difference, t_difference
from study.statistics.moments import Component, LinearEstimate, Moments, satterthwaite


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_degrees_of_freedom_have_no_scale(scale: float) -> None:
    parts = [(3.0 * scale, 5), (1.0 * scale, 2)]
    assert satterthwaite(parts) == pytest.approx(16.0 / (9.0 / 5 + 1.0 / 2))


def test_variances_of_zero_have_no_degrees_of_freedom() -> None:
    assert satterthwaite([(0.0, 5), (0.0, 2)]) is None


@pytest.mark.parametrize("weights", [(0.1 + 0.2, -0.3), (-1.1 * 1.1, 1.21), (1.0, -1.0)])
def test_a_variance_that_is_rounding_alone_is_zero(weights: tuple[float, float]) -> None:
    same = Component(covariance=np.ones((2, 2)), df=9)
    found = Moments(values=np.array([0.5, 0.5]), components=(same,)).combine(list(weights))
    assert (found.variance, found.nu) == (0.0, None)


def test_a_difference_without_variance_has_no_interval_whatever_its_degrees_of_freedom() -> None:
    constant = LinearEstimate(estimate=0.25, variance=0.0, nu=None)
    found = t_difference(constant, level=0.95, nu=7.0)
    assert (found.estimate, found.low, found.high, found.p_value) == (0.25, None, None, None)


def test_a_difference_of_one_item_is_its_own() -> None:
    first = ArmScores(scores=np.array([[0.75]]), draw_ids=("a",))
    second = ArmScores(scores=np.array([[0.5]]), draw_ids=("b",))
    found = paired_difference(first, second)
    assert (found.estimate, found.low) == (0.25, None)
