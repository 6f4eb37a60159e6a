"""Weighted sums of contrasts over points that share items and random draws.

The covariance of such sums follows from the influences of each point, summed by item id and by draw
id: two points on the same items, or with arms trained on the same draw, are not independent.
Points are added one at a time, so memory does not grow with their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.statistics.arms import ArmScores
from study.statistics.influences import Clusters, Contrast, DrawInfluence, influences
from study.statistics.marginal_means import FloatArray
from study.statistics.moments import Component, Moments


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointArms:
    """One point: its arms and its covariate in a trend."""

    arms: Mapping[str, ArmScores]
    """Role ("zero_shot", "easy", ...) -> arm. In all points, equal ids must mean the same item or
    the same random draw."""
    covariate: float = 0.0
    """Such as log10 of the number of parameters, or the difficulty gap."""
    stratum: str = ""
    """Points are compared within their stratum: all strata share the slope, not the intercept."""
    clusters: Clusters | None = None


class PooledSums:
    """Sums over points, with the influence of every item and draw on them.

    The only mutable class of `study.statistics`: a running sum, local to one function.
    """

    def __init__(self, num_sums: int) -> None:
        """Starts at 0.

        Args:
            num_sums: Number of sums kept at once.
        """
        self._values = np.zeros(num_sums)
        self._units = _Ledger(num_sums)
        self._draws = _Ledger(num_sums)
        self._df_units: int | None = None
        self._groups: list[_Group] = []

    def add(self, point: PointArms, contrasts: Sequence[Contrast], weights: FloatArray) -> None:
        """Adds one point.

        Args:
            point: Its arms must have item ids.
            contrasts: The contrasts of this point.
            weights: [contrasts, sums] weight of each contrast in each sum.

        Raises:
            ValueError: If the arms have no item ids, or only one item.
        """
        needed = {name for contrast in contrasts for name in contrast}
        arms = {name: arm for name, arm in point.arms.items() if name in needed}
        parts = influences(arms, contrasts, point.clusters)
        if parts.unit_ids is None:
            raise ValueError("points are joined by item id: their arms must have item_ids")
        if parts.unit_weights is None:
            raise ValueError(f"one item (or cluster) has no variance: {parts.unit_ids}")
        self._values += parts.values @ weights
        self._units.add(parts.unit_ids, parts.unit_weights @ weights)
        df = len(parts.unit_ids) - 1
        self._df_units = df if self._df_units is None else min(self._df_units, df)
        for draw in parts.draws:
            self._draws.add(draw.draw_ids, draw.weights @ weights)
            self._groups = _merged(self._groups, draw)

    def moments(self) -> Moments:
        """The sums and the components of their covariance.

        Returns:
            One component for the items (df of the point with the fewest), and one for each disjoint
            group of draws (df of its arm with the fewest seeds).
        """
        components = []
        if self._df_units is not None:
            units = self._units.weights
            components.append(Component(covariance=units.T @ units, df=self._df_units))
        for group in self._groups:
            rows = self._draws.weights[self._draws.rows(sorted(group.draw_ids))]
            components.append(Component(covariance=rows.T @ rows, df=group.df))
        return Moments(values=self._values.copy(), components=tuple(components))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """Draws linked by arms that share some of them."""

    draw_ids: frozenset[str]
    df: int


def _merged(groups: Sequence[_Group], draw: DrawInfluence) -> list[_Group]:
    """Groups after one more set of linked draws."""
    draw_ids, df, apart = frozenset(draw.draw_ids), draw.df, []
    for group in groups:
        if draw_ids.isdisjoint(group.draw_ids):
            apart.append(group)
        else:
            draw_ids, df = draw_ids | group.draw_ids, min(df, group.df)
    return [*apart, _Group(draw_ids=draw_ids, df=df)]


class _Ledger:
    """Sums of weights by id; grows by doubling."""

    def __init__(self, num_sums: int) -> None:
        """Starts without ids."""
        self._row_of: dict[str, int] = {}
        self._rows_of_ids: dict[tuple[str, ...], NDArray[np.intp]] = {}
        self._table = np.zeros((1024, num_sums))

    @property
    def weights(self) -> FloatArray:
        """Sums of the weights of every id, [ids, sums]."""
        return self._table[: len(self._row_of)]

    def rows(self, ids: Sequence[str]) -> NDArray[np.intp]:
        """Rows of known ids."""
        return np.array([self._row_of[one] for one in ids], dtype=np.intp)

    def add(self, ids: tuple[str, ...], weights: FloatArray) -> None:
        """Adds [ids, sums] weights; ids are distinct."""
        rows = self._rows_of_ids.get(ids)
        if rows is None:
            for one in ids:
                self._row_of.setdefault(one, len(self._row_of))
            rows = self._rows_of_ids[ids] = self.rows(ids)
            while len(self._table) < len(self._row_of):
                self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._table[rows] += weights
