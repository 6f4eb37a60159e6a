"""A population of items and seeds with a known true SGR, for tests and power analysis.

Item i has ability b_i ~ N(0, item_sd^2) on the logit scale, arm k a shift, seed s of the arm a
shift u_ks ~ N(0, tau_k^2). Score_iks = 1 with probability 1 / (1 + exp(-(b_i + shift_k + u_ks))).
The zero-shot arm is one such column, drawn once an item. No parameter is fitted to a real model.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from study.statistics.marginal_means import FloatArray

_NUM_NODES = 80
"""Gauss-Hermite nodes: means exact to 1e-6 up to an item SD of 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """True arm means and spreads of one point."""

    gap: float
    """hard - zero_shot, a fraction."""
    sgr: float = 0.8
    """(easy - zero_shot) / gap."""
    zero_shot: float = 0.5
    """Mean of the zero-shot arm."""
    item_sd: float = 1.0
    """Spread of the items on the logit scale; at 3 most items are nearly always right or wrong."""
    seed_sd: float = 0.02
    """Standard deviation of an arm's mean over seeds (fraction), with infinitely many items."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If an arm's mean is not inside (0, 1) or a spread is negative.
        """
        for name, mean in (("zero_shot", self.zero_shot), ("easy", self.easy), ("hard", self.hard)):
            if not 0.0 < mean < 1.0:
                raise ValueError(f"arm means must be in (0, 1), got {name}={mean}")
        if self.item_sd < 0.0 or self.seed_sd < 0.0:
            raise ValueError(
                f"spreads must be >= 0, got item_sd={self.item_sd}, seed_sd={self.seed_sd}"
            )

    @property
    def easy(self) -> float:
        """Mean of the easy arm."""
        return self.zero_shot + self.sgr * self.gap

    @property
    def hard(self) -> float:
        """Mean of the hard arm."""
        return self.zero_shot + self.gap


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmLaw:
    """Distribution of one arm on the logit scale."""

    shift: float
    seed_sd: float
    """Standard deviation of the seed shift, logits."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Quadrature:
    """Nodes and weights for expectations over a standard normal variable."""

    nodes: FloatArray
    weights: FloatArray


@functools.cache
def standard_normal() -> Quadrature:
    """Gauss-Hermite quadrature of the standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NUM_NODES)
    return Quadrature(nodes=nodes, weights=weights / weights.sum())


def success(logits: FloatArray) -> FloatArray:
    """Probability of a right answer."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), dtype=np.float64)


@functools.cache
def arm_law(*, mean: float, item_sd: float, seed_sd: float) -> ArmLaw:
    """Solves for the shift and seed spread that give an arm its mean and its spread over seeds.

    Args:
        mean: Mean score, in (0, 1).
        item_sd: Spread of the items, logits.
        seed_sd: Wanted standard deviation of the mean over seeds, a fraction.

    Returns:
        The distribution; meets both targets to 1e-9.
    """
    q = standard_normal()
    shift, tau = 0.0, 0.0
    for _ in range(60):
        shift = _shift_of_mean(mean, math.hypot(item_sd, tau))
        slope_logits = shift + item_sd * q.nodes
        if seed_sd == 0.0:
            break
        means = success(slope_logits[:, None] + tau * q.nodes).T @ q.weights
        spread = math.sqrt(float(q.weights @ (means - float(q.weights @ means)) ** 2))
        if abs(spread - seed_sd) < 1e-9:
            break
        p = success(slope_logits)
        # The first step divides by the slope of the mean in the shift, later ones rescale. (Testing
        # "spread > 0" would fail: without a seed shift it is a rounding error, and tau stays 0.)
        tau = tau * seed_sd / spread if tau > 0 else seed_sd / float(q.weights @ (p * (1 - p)))
    return ArmLaw(shift=shift, seed_sd=tau)


def _shift_of_mean(mean: float, sd: float) -> float:
    """Shift at which the mean success over N(shift, sd^2) logits is `mean` (bisection)."""
    q = standard_normal()
    low, high = -40.0, 40.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = float(q.weights @ success(middle + sd * q.nodes)) < mean
        low, high = (middle, high) if below else (low, middle)
    return 0.5 * (low + high)
