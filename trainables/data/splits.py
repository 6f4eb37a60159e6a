"""The frozen split of a task: test items, and the pool that all draws come from.

It is made before any model runs, from model-free measures only. The split of a shipped task does
not depend on which standard levels a space uses, so that a study can add one and keep its test
items; only custom training bands of the space move items between test and pool. The split of a
user's own data keeps pools only for the levels that the space trains on, and leaves the rest to the
test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.explain import count
from search_spaces.frozen import digest
from search_spaces.levels import Level
from trainables.data.items import Item, prompt_key
from trainables.data.seeding import draw_ids
from trainables.data.strata import columns_of
from trainables.data.task import Split, TaskData


def own_split(task: TaskData) -> Split:
    """Returns the data's own test items, and the pool of all others.

    Items with the question or group of a test item are removed from the pool.
    """
    test_items = [item for item in task.items if item.id in task.test]
    others = [item for item in task.items if item.id not in task.test]
    asked = {prompt_key(item) for item in test_items}
    groups = {item.group for item in test_items} - {None}
    pool_items = [
        item for item in others if item.group not in groups and prompt_key(item) not in asked
    ]
    test = tuple(sorted(item.id for item in test_items))
    pool = tuple(sorted(item.id for item in pool_items))
    removed = _removed(len(others) - len(pool), "a test item's prompt or group")
    note = f"The test is the data's own; {removed}"
    hashed = digest({"test": test, "pool": pool})
    return Split(test=test, pool=pool, split_hash=hashed, notes=(note,))


MIN_TEST = 200
"""Test items that every level keeps if it has enough: with fewer, usual gaps are not resolvable."""

POOL_DRAWS = 2
"""The pool of a level holds this many times the largest draw, so that draws differ by seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Strata:
    """Units (groups, or single items) and the levels that the split is stratified by."""

    units: tuple[tuple[Item, ...], ...]
    """In the split's seeded order."""
    names: tuple[str, ...]
    is_band: NDArray[np.bool_]
    """False for single values of a measure, which a space tests on but rarely trains on."""
    is_easiest: NDArray[np.bool_]
    """The easiest level of its measure, which a space trains on but rarely tests on."""
    is_guarded: NDArray[np.bool_]
    """The pool keeps items for it; every other level is only balanced."""
    counts: NDArray[np.int64]
    """Items of each unit in each level: [units, levels]."""


def make_split(
    task: TaskData,
    *,
    n_train: int,
    study_seed: int = 0,
    bands: Mapping[str, tuple[Level, ...]] = {},
) -> Split:
    """Returns the split of a task for draws of up to `n_train` items.

    If the data has test items, these are the test and all others the pool. Otherwise:

    A standard level's pool holds 2 x n_train items if the level has as many; otherwise the easiest
    level of a measure, which may serve training only, holds n_train. A single value's pool holds
    2 x n_train if 200 remain for the test. The pool's share rises only where a level needs it,
    equally over the joint strata of all measures in that level. A user's own data keeps pools for
    the levels in `bands` only; its other levels are balanced. Groups are never separated, nor are
    items with the same question and no group; pool items with the question of a test item in
    another group are removed. Letter case and white space do not distinguish questions.

    Args:
        task: The loaded task.
        n_train: Largest number of labelled items of any draw of the study.
        study_seed: Names the random part of the split.
        bands: Measure -> the space's training levels; each has a pool like a standard level.
            Standard ones change nothing; measures that the task lacks are ignored.

    Raises:
        ValueError: If `n_train` is not positive, or all items have the same question.
    """
    if n_train < 1:
        raise ValueError(f"n_train must be at least 1, got {n_train}")
    if task.test:
        return own_split(task)
    strata = _strata(task, study_seed, bands)
    _refuse_one_question(task, strata)
    minimum = _pool_minimum(strata, n_train)
    keys = [{prompt_key(item) for item in unit} for unit in strata.units]
    drawn = _systematic_draw(strata, _pool_shares(strata, minimum))
    in_pool = _topped_up(strata, drawn, minimum, keys)
    test_keys = set().union(*(keys[i] for i in np.flatnonzero(~in_pool)))
    pool_items = [item for i in np.flatnonzero(in_pool) for item in strata.units[i]]
    pool = sorted(item.id for item in pool_items if prompt_key(item) not in test_keys)
    test = sorted(item.id for i in np.flatnonzero(~in_pool) for item in strata.units[i])
    notes = (
        *_notes(strata, in_pool, n_train, len(pool_items) - len(pool)),
        *((_own_note(strata),) if task.is_own_data else ()),
    )
    hashed = digest({"test": test, "pool": pool})
    return Split(test=tuple(test), pool=tuple(pool), split_hash=hashed, notes=notes)


def _own_note(strata: _Strata) -> str:
    pairs = zip(strata.names, strata.is_guarded, strict=True)
    guarded = [name for name, is_guarded in pairs if is_guarded]
    return (
        "Own data: the split keeps pools for the levels that are trained on "
        f"({', '.join(guarded[1:]) or 'none'}) and balances all others; other training levels, or "
        "an axis by another measure, make another split, and then every cell of this task runs "
        "again."
    )


def _refuse_one_question(task: TaskData, strata: _Strata) -> None:
    if len(task.items) > 1 and len(strata.units) == 1 and task.items[0].group is None:
        raise ValueError(
            f"task {task.name}: all {len(task.items)} items have the question "
            f"{task.items[0].question!r:.80}, and items with one question are never split into "
            "training and test: include what distinguishes the items in their questions"
        )


def paper_split(task: TaskData) -> Split:
    """Returns the paper's split (arXiv:2401.06751): every item may be trained on and tested on.

    For comparison only. Each cell is tested on `untrained_ids`, so the test differs between seeds
    and conditions, and duplicates may be on both sides.
    """
    ids = tuple(sorted(item.id for item in task.items))
    return Split(
        test=ids,
        pool=ids,
        split_hash=digest({"test": ids, "pool": ids}),
        notes=("Paper mode: a seed is tested on all items that it was not trained on.",),
    )


def untrained_ids(test: Iterable[str], labelled: Iterable[str]) -> tuple[str, ...]:
    """Returns the ids that a cell is tested on: its test items without the labelled ones.

    Only in the paper's split does the test contain labelled items.
    """
    trained = set(labelled)
    return tuple(id_ for id_ in test if id_ not in trained)


def _strata(task: TaskData, study_seed: int, bands: Mapping[str, tuple[Level, ...]]) -> _Strata:
    groups: dict[str, list[Item]] = {}
    first: dict[str, str] = {}
    for item in sorted(task.items, key=lambda item: item.id):
        # Without a group, items with one question are one unit; prefixes prevent name clashes.
        alone = None if item.group else first.setdefault(prompt_key(item), item.id)
        key = f"group/{item.group}" if item.group else f"item/{alone}"
        groups.setdefault(key, []).append(item)
    order = draw_ids(groups, len(groups), "split", task.name, study_seed)
    units = tuple(tuple(groups[key]) for key in order)
    unit_of = np.repeat(np.arange(len(units)), [len(unit) for unit in units])
    ids = [item.id for unit in units for item in unit]
    columns = list(columns_of(task, bands))
    inside = [np.ones(len(ids), bool)]
    for column in columns:
        values = task.measures[column.measure]
        value = np.fromiter((values.get(id_, np.nan) for id_ in ids), float, len(ids))
        inside.append((value >= column.level.low) & (value <= column.level.high))
    counts = np.stack(
        [np.bincount(unit_of, weights=column, minlength=len(units)) for column in inside], axis=1
    )
    return _Strata(
        units=units,
        names=("all", *(column.name for column in columns)),
        is_band=np.array([True, *(column.is_band for column in columns)]),
        is_easiest=np.array([True, *(column.is_easiest for column in columns)]),
        is_guarded=np.array([True, *(column.is_guarded for column in columns)]),
        counts=counts.astype(np.int64),
    )


def _pool_minimum(strata: _Strata, n_train: int) -> NDArray[np.int64]:
    """Returns how many pool items each level must have."""
    sizes = strata.counts.sum(axis=0)
    wanted = POOL_DRAWS * n_train
    one_draw = np.where(strata.is_easiest & (sizes >= n_train), n_train, 0)
    band = np.where(sizes >= wanted, wanted, one_draw)
    single = np.where(sizes >= wanted + MIN_TEST, wanted, 0)
    return np.where(strata.is_guarded, np.where(strata.is_band, band, single), 0)


def _pool_shares(strata: _Strata, minimum: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns each unit's share of the pool: the same for all units of a joint stratum."""
    counts = strata.counts
    sizes = counts.sum(axis=0)
    share = np.zeros(len(counts))
    # The level that needs the largest share of itself comes first; it raises the others too.
    for level in np.argsort(-minimum / np.maximum(sizes, 1), kind="stable").tolist():
        missing = minimum[level] - share @ counts[:, level]
        if missing > 0:
            free = (1.0 - share) @ counts[:, level]
            inside = counts[:, level] > 0
            share[inside] += (1.0 - share[inside]) * (missing / free)
    return np.minimum(share, 1.0)


def _systematic_draw(strata: _Strata, share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns which units are drawn: each joint stratum's share of units, rounded in turn."""
    # Sorting is stable, so units of one stratum stay in the split's seeded order.
    order = np.lexsort(strata.counts.T[::-1])
    steps = np.floor(np.cumsum(share[order]) + 0.5)
    drawn = np.zeros(len(order), bool)
    drawn[order] = np.diff(steps, prepend=0.0) > 0
    return drawn


def _topped_up(
    strata: _Strata,
    in_pool: NDArray[np.bool_],
    minimum: NDArray[np.int64],
    keys: list[set[str]],
) -> NDArray[np.bool_]:
    """Returns the pool with test units added to levels that rounding or removals left short."""
    in_pool = in_pool.copy()
    by_question: dict[str, list[int]] = {}
    for unit, unit_keys in enumerate(keys):
        for key in unit_keys:
            by_question.setdefault(key, []).append(unit)
    repeated = {unit for units in by_question.values() if len(units) > 1 for unit in units}
    usable = _usable_counts(strata, in_pool, keys, repeated)
    for level in np.flatnonzero(usable < minimum).tolist():
        for unit in np.flatnonzero(~in_pool & (strata.counts[:, level] > 0)).tolist():
            if usable[level] >= minimum[level]:
                break
            if unit not in repeated:
                in_pool[unit] = True
                usable += strata.counts[unit]
    return in_pool


def _usable_counts(
    strata: _Strata,
    in_pool: NDArray[np.bool_],
    keys: list[set[str]],
    repeated: set[int],
) -> NDArray[np.int64]:
    """Returns pool items per level, without units that may lose an item to the test."""
    test_keys = set().union(*(keys[unit] for unit in repeated if not in_pool[unit]))
    lost = [unit for unit in repeated if in_pool[unit] and keys[unit] & test_keys]
    counts: NDArray[np.int64] = strata.counts[in_pool].sum(axis=0)
    counts -= strata.counts[lost].sum(axis=0)
    return counts


def _removed(number: int, shared: str) -> str:
    verb = "was" if number == 1 else "were"
    return f"{count(number, 'item')} with {shared} {verb} removed from the pool."


def _notes(
    strata: _Strata, in_pool: NDArray[np.bool_], n_train: int, num_removed: int
) -> tuple[str, ...]:
    notes = []
    if num_removed:
        notes.append(_removed(num_removed, "the question of a test item"))
    in_test = strata.counts[~in_pool].sum(axis=0)
    sizes = strata.counts.sum(axis=0)
    few = []
    for level, (name, size) in enumerate(zip(strata.names, sizes.tolist(), strict=True)):
        if not strata.is_guarded[level]:
            continue
        if strata.is_band[level] and size < n_train:
            notes.append(f"{name}: {count(size, 'item')}, fewer than n_train = {n_train}.")
        elif in_test[level] < MIN_TEST and (strata.is_band[level] or size >= MIN_TEST):
            few.append(f"{name} ({in_test[level]} of {size})")
    if few:
        notes.append(f"Levels with fewer than {MIN_TEST} test items: {', '.join(few)}.")
    return tuple(notes)
