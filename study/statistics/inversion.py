"""Confidence sets by inverting a test: every value that the test does not reject.

Where the critical value depends on the tested value, the ends of the set have no closed form. They
are found by search instead.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from study.statistics.fieller import FiellerSet, SetKind

_STEPS = 100
"""Even number of grid steps between minus and plus infinity."""


def invert_test(
    p_value: Callable[[float], float], *, level: float, centre: float, scale: float
) -> FiellerSet:
    """All values whose p-value is at least 1 - level.

    The search runs over centre + scale tan(angle), so it reaches both infinities: a set is
    unbounded exactly if the test does not reject values of any size.

    Args:
        p_value: p-value of the null "the parameter is this value", continuous, with one limit at
            both infinities.
        level: Coverage of the set, in (0, 1).
        centre: A value that is not rejected, such as the estimate.
        scale: Its standard error, > 0.

    Returns:
        The set. Gaps inside a bounded set are filled; of several gaps in an unbounded set only the
        longest remains. Both are conservative.
    """

    def value(angle: float) -> float:
        return centre + scale * math.tan(angle)

    def excess(angle: float) -> float:
        return p_value(value(angle)) - (1.0 - level)

    angles = np.linspace(-math.pi / 2, math.pi / 2, _STEPS + 1)
    angles[_STEPS // 2] = 0.0
    holds = np.array([excess(angle) >= 0.0 for angle in angles.tolist()])

    def end(left: int) -> float:
        """The value at which the test's decision changes between two grid points."""
        return value(float(brentq(excess, angles[left], angles[left + 1], xtol=1e-14)))

    inside = np.flatnonzero(holds)
    if not len(inside):
        return FiellerSet(kind="empty", low=None, high=None)
    first, last = int(inside[0]), int(inside[-1])
    if first > 0 or last < _STEPS:
        low = end(first - 1) if first > 0 else None
        high = end(last) if last < _STEPS else None
        kind: SetKind = "interval"
        if low is None or high is None:
            kind = "ray down" if low is None else "ray up"
        return FiellerSet(kind=kind, low=low, high=high)
    # Each pair of neighbours in the set that is more than one step apart encloses a gap.
    widths = np.diff(inside)
    if widths.max(initial=1) == 1:
        return FiellerSet(kind="line", low=None, high=None)
    gap = int(widths.argmax())
    return FiellerSet(
        kind="exterior", low=end(int(inside[gap])), high=end(int(inside[gap + 1]) - 1)
    )
