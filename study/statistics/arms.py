"""Arms: the per-item scores of one condition, joined by item id and reduced to means.

An arm is a matrix items x seeds. This module does not know which arm is "easy" and which "hard".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.statistics.marginal_means import ArmMeans, FloatArray, arm_means


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmScores:
    """Scores of one condition on the test items, one column a seed."""

    scores: FloatArray
    """[items, seeds], finite; NaN where the seed has no score of the item. A read-only view, not a
    copy."""
    draw_ids: tuple[str, ...]
    """One id a seed: the random draw (training items, order, prompt) of the column. Arms share an
    id exactly if they share the draw. Empty for a deterministic arm: one column, no seed variance
    ("given this prompt")."""
    item_ids: tuple[str, ...] | None = None
    """One id a row; None if all arms have the same items in the same order."""

    def __post_init__(self) -> None:
        """Checks the shapes and ids.

        Raises:
            ValueError: If scores are infinite or not [items, seeds], or ids repeat or have another
                number than rows or columns.
        """
        scores = np.asarray(self.scores, dtype=np.float64).view()
        if scores.ndim != 2 or 0 in scores.shape:
            raise ValueError(f"scores must be [items, seeds], none of them 0, got {scores.shape}")
        if np.isinf(scores).any():
            raise ValueError("scores must be finite (NaN = missing), got an infinite score")
        scores.flags.writeable = False
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "draw_ids", tuple(self.draw_ids))
        num_columns = len(self.draw_ids) or 1
        if scores.shape[1] != num_columns:
            raise ValueError(
                f"scores need one column a draw id (one column where there is none), got "
                f"{scores.shape[1]} columns for draw_ids={self.draw_ids}"
            )
        _refuse_repeated("draw_ids", self.draw_ids)
        if self.item_ids is not None:
            object.__setattr__(self, "item_ids", tuple(self.item_ids))
            if len(self.item_ids) != scores.shape[0]:
                raise ValueError(
                    f"item_ids must name every row, got {len(self.item_ids)} ids for "
                    f"{scores.shape[0]} rows"
                )
            _refuse_repeated("item_ids", self.item_ids)

    @property
    def num_seeds(self) -> int:
        """Number of random draws; 0 for a deterministic arm."""
        return len(self.draw_ids)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JoinedArms:
    """Arms reduced to the items that all of them have, in one common order."""

    means: Mapping[str, ArmMeans]
    scores: Mapping[str, FloatArray]
    """Arm name -> [items, seeds] scores of the common items; NaN = missing."""
    item_ids: tuple[str, ...] | None
    """Ids of the common items; None where the arms carry none."""
    positions: NDArray[np.intp]
    """[items] row numbers of the common items in the first arm."""
    num_rows: int
    """Rows of the first arm."""
    missing_share: float
    """Share of (item, seed) pairs without a score, over all arms and all items passed in."""

    @property
    def num_items(self) -> int:
        """Number of common items."""
        return len(self.positions)


def join_arms(arms: Mapping[str, ArmScores]) -> JoinedArms:
    """Joins arms by item id and keeps the items that every arm has scored.

    Args:
        arms: Name -> arm, at least one. All have item ids, or none: then row i is the same item.

    Returns:
        The marginal means of each arm over the common items.

    Raises:
        ValueError: If only some arms have ids, arms without ids have different numbers of rows,
            no item is common, or the observed scores cannot be compared (see `arm_means`).
    """
    common = _common_items(arms)
    matrices = {
        name: arm.scores if common.rows[name] is None else arm.scores[common.rows[name]]
        for name, arm in arms.items()
    }
    num_columns = sum(arm.scores.shape[1] for arm in arms.values())
    num_observed = sum(_num_observed(arm.scores) for arm in arms.values())
    item_ids, positions = common.item_ids, common.positions
    # A sum finds NaN without a temporary matrix; nearly all data are complete.
    if any(math.isnan(float(matrix.sum())) for matrix in matrices.values()):
        seen = np.logical_and.reduce([~np.isnan(m).all(axis=1) for m in matrices.values()])
        if not seen.any():
            raise ValueError(f"no item has a score in all of the arms {', '.join(arms)}")
        matrices = {name: matrix[seen] for name, matrix in matrices.items()}
        positions = positions[seen]
        if item_ids is not None:
            item_ids = tuple(i for i, is_seen in zip(item_ids, seen, strict=True) if is_seen)
    return JoinedArms(
        means={n: arm_means(m, draw_ids=arms[n].draw_ids, name=n) for n, m in matrices.items()},
        scores=matrices,
        item_ids=item_ids,
        positions=positions,
        num_rows=next(iter(arms.values())).scores.shape[0],
        missing_share=1.0 - num_observed / (common.num_union * num_columns),
    )


def draw_groups(draw_ids: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Groups arms that share draws, directly or through a third arm.

    Args:
        draw_ids: Arm name -> its draw ids; deterministic arms have none.

    Returns:
        Names of the arms of each group; no group holds a deterministic arm.
    """
    groups: list[tuple[set[str], list[str]]] = []
    for name, ids in draw_ids.items():
        if not ids:
            continue
        draws, members, apart = set(ids), [name], []
        for group in groups:
            if draws.isdisjoint(group[0]):
                apart.append(group)
            else:
                draws, members = group[0] | draws, group[1] + members
        groups = [*apart, (draws, members)]
    return [members for _, members in groups]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _CommonItems:
    """Rows of the common items in each arm."""

    rows: Mapping[str, NDArray[np.intp] | None]
    """Arm name -> [items] row numbers; None for all rows in their order."""
    item_ids: tuple[str, ...] | None
    positions: NDArray[np.intp]
    """[items] row numbers in the first arm."""
    num_union: int
    """Items of at least one arm."""


def _common_items(arms: Mapping[str, ArmScores]) -> _CommonItems:
    """Finds the items that all arms list, whether scored or not."""
    if not arms:
        raise ValueError("at least one arm is needed, got none")
    first = next(iter(arms.values()))
    same = all(
        arm.item_ids is first.item_ids or arm.item_ids == first.item_ids for arm in arms.values()
    )
    if same:
        num_rows = {name: arm.scores.shape[0] for name, arm in arms.items()}
        if len(set(num_rows.values())) > 1:
            raise ValueError(f"arms without item ids must have the same items, got {num_rows} rows")
        count = first.scores.shape[0]
        return _CommonItems(
            rows=dict.fromkeys(arms),
            item_ids=first.item_ids,
            positions=np.arange(count),
            num_union=count,
        )
    return _join_ids({name: arm.item_ids for name, arm in arms.items()})


def _join_ids(ids_by_arm: Mapping[str, tuple[str, ...] | None]) -> _CommonItems:
    """Joins lists of item ids that differ; the order is that of the first arm."""
    without = [name for name, ids in ids_by_arm.items() if ids is None]
    if without:
        raise ValueError(f"item ids must be given for all arms or none, missing: {without}")
    id_lists = {name: ids for name, ids in ids_by_arm.items() if ids is not None}
    row_of = {name: {item: row for row, item in enumerate(ids)} for name, ids in id_lists.items()}
    common = set.intersection(*(set(rows) for rows in row_of.values()))
    if not common:
        raise ValueError(f"arms {', '.join(id_lists)} have no item id in common")
    first_ids = next(iter(id_lists.values()))
    item_ids = tuple(item for item in first_ids if item in common)
    rows = {name: np.array([table[i] for i in item_ids]) for name, table in row_of.items()}
    return _CommonItems(
        rows=rows,
        item_ids=item_ids,
        positions=next(iter(rows.values())),
        num_union=len(set.union(*(set(table) for table in row_of.values()))),
    )


def _num_observed(scores: FloatArray) -> int:
    """Number of scores that are not missing."""
    if not math.isnan(float(scores.sum())):
        return scores.size
    return int(np.count_nonzero(~np.isnan(scores)))


def _refuse_repeated(name: str, ids: Sequence[str]) -> None:
    """Raises ValueError naming an id that occurs twice."""
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise ValueError(f"{name} must be distinct, got {one!r} twice")
        seen.add(one)
