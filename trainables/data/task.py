"""A task, loaded, measured and split, for the plan and the workers."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from search_spaces.levels import Level
from trainables.data.draws import CellDraws, Draw, DrawnIds, TestDraw
from trainables.data.items import Item, data_hash, duplicate_key, prompt_key, without_gold
from trainables.data.seeding import draw_ids
from trainables.errors import DataError

NUM_REASONS = 3
"""Skipped rows whose reasons a plan prints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskData:
    """The items of a task, and every model-free measure of them."""

    name: str
    items: tuple[Item, ...]
    """Sorted by id."""
    measures: Mapping[str, Mapping[str, float]]
    """Measure -> item id -> value; an item without a value is absent."""
    data_hash: str
    source: str
    """Where the items come from, for the report (a Hub name with its revision, a folder, ...)."""
    licence: str
    notes: tuple[str, ...] = field(default=())
    """What loading left out or changed, one sentence each, with counts."""
    cuts: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    """Measure -> its standard levels, from easy to hard: what the split is stratified over."""
    is_own_data: bool = False
    """The user's own file: its split keeps pools for the levels that the space trains on; that of a
    shipped task for all standard levels."""
    free_form: bool = False
    """The answer is generated, not chosen: every item has one choice, its gold answer."""
    skipped: tuple[str, ...] = field(default=())
    """Bad rows that were left out on request (`--skip-bad-rows`), one message each."""
    test: frozenset[str] = frozenset()
    """Ids of the data's own test items: these are the test, and all others the pool. Empty: the
    split is made."""
    measured_by: Mapping[str, str] = field(default_factory=dict)
    """Model-based measure -> hash of the ids of the cells that it comes from."""
    reload: Callable[[], tuple[Item, ...]] | None = None
    """Returns the items again, on workers, which then do not receive them; None: they do."""

    @property
    def loading_notes(self) -> tuple[str, ...]:
        """The notes, and the reasons why the first rows were left out.

        The reasons quote the data, so a task whose items stay out of the run folder has none.
        """
        if self.reload is not None:
            return self.notes
        return (*self.notes, *(f"left out: {message}" for message in self.skipped[:NUM_REASONS]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The one frozen split of a task: disjoint ids, the same for all conditions and seeds."""

    test: tuple[str, ...]
    """Sorted."""
    pool: tuple[str, ...]
    """Sorted; what training, unlabelled and validation draws are taken from."""
    split_hash: str
    notes: tuple[str, ...] = field(default=())
    """What was removed (duplicates across test and pool), with counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTask:
    """A task with its split."""

    data: TaskData
    split: Split
    _items: dict[str, Item] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pools: dict[tuple[object, ...], tuple[str, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Cache: a plan of many cells asks for the same few levels."""
    _questions: list[Item] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def questions(self) -> tuple[Item, ...]:
        """All items without their gold, which a method may use besides its labelled items."""
        if not self._questions:
            self._questions.extend(map(without_gold, self.data.items))
        return tuple(self._questions)

    def without_items(self) -> SplitTask:
        """Returns the task as workers receive it: without items that they load themselves."""
        if self.data.reload is None:
            return self
        return replace(self, data=replace(self.data, items=()))

    def with_items(self) -> SplitTask:
        """Returns the task that `without_items` was made from.

        Raises:
            DataError: If the items cannot be loaded, or are others than those of the plan.
        """
        if self.data.reload is None:
            return self
        items = self.data.reload()
        hashed = data_hash(items)
        if hashed != self.data.data_hash:
            raise DataError(
                f"{self.data.name} returns other items on the worker {platform.node()} (data "
                f"{hashed[:12]}, {len(items):,} items) than in the plan "
                f"({self.data.data_hash[:12]}): return the same items at every call and on every "
                "machine, for example from a pinned revision and with seeded draws"
            )
        return replace(self, data=replace(self.data, items=items))

    def by_id(self, ids: Iterable[str]) -> tuple[Item, ...]:
        """Returns the items of these ids, in their order."""
        if not self._items:
            self._items.update((item.id, item) for item in self.data.items)
        return tuple(self._items[id_] for id_ in ids)

    def pool_ids(self, measure: str | None, level: Level | None) -> tuple[str, ...]:
        """Returns the ids of the pool that a draw from this level is taken from."""
        key = (measure, None if level is None else (level.low, level.high))
        if key not in self._pools:
            self._pools[key] = self._of_level(self.split.pool, measure, level)
        return self._pools[key]

    def test_ids(
        self, measure: str, level: Level | None, draw: TestDraw | None = None
    ) -> tuple[str, ...]:
        """Returns the ids of the test items of a level that are scored.

        Args:
            measure: Of the level.
            level: None: all that have the measure.
            draw: Of the axis; None: every test item is scored.
        """
        ids = self._of_level(self.split.test, measure, level)
        if draw is None:
            return ids
        drawn = draw.of_level(ids) if draw.draws_from(level) else set(self.tested_ids(draw))
        return tuple(id_ for id_ in ids if id_ in drawn)

    def tested_ids(self, draw: TestDraw | None) -> tuple[str, ...]:
        """Returns the ids of all test items that a cell is scored on, sorted."""
        if draw is None:
            return self.split.test
        levels = (self._of_level(self.split.test, draw.measure, level) for level in draw.levels)
        return tuple(sorted(frozenset().union(*map(draw.of_level, levels))))

    def drawn_ids(self, draws: CellDraws) -> DrawnIds:
        """Returns the ids of a cell's items, each use in draw order.

        Items with the question of a labelled item, its copies, and items of its group are drawn
        neither for validation nor as unlabelled, because the model was trained on them. Items with
        the question of a validation or test item are not drawn as unlabelled.

        Raises:
            ValueError: If a level's pool holds fewer items than a draw wants.
        """
        labelled = _in_turn([self._draw(draw, frozenset()) for draw in draws.labelled])
        if not draws.validation and not draws.unlabelled:
            return DrawnIds(labelled=labelled)
        taken = self.relatives(labelled) | self._with_questions_of(labelled)
        validation = _in_turn([self._draw(draw, taken) for draw in draws.validation])
        taken |= self.relatives(validation)
        if draws.unlabelled:
            taken |= self._with_questions_of((*validation, *self.split.test))
        unlabelled = []
        for draw in draws.unlabelled:
            ids = self._draw(draw, taken)
            taken |= frozenset(ids)  # a level inside another one is labelled once
            unlabelled.append(ids)
        return DrawnIds(labelled=labelled, validation=validation, unlabelled=tuple(unlabelled))

    def relatives(self, ids: Iterable[str]) -> frozenset[str]:
        """Returns the ids with those of their copies and of their groups."""
        items = self.by_id(ids)
        if not items:
            return frozenset()
        groups = {item.group for item in items} - {None}
        keys = {duplicate_key(item) for item in items}
        return frozenset(
            item.id
            for item in self.data.items
            if item.group in groups or duplicate_key(item) in keys
        )

    def _with_questions_of(self, ids: Iterable[str]) -> frozenset[str]:
        asked = {prompt_key(item) for item in self.by_id(ids)}
        pool = self.by_id(self.split.pool)
        return frozenset(item.id for item in pool if prompt_key(item) in asked)

    def _draw(self, draw: Draw, taken: frozenset[str]) -> tuple[str, ...]:
        free = [id_ for id_ in self.pool_ids(draw.measure, draw.level) if id_ not in taken]
        is_capped = draw.use == "unlabelled" and draw.n is not None
        number = min(draw.n or 0, len(free)) if is_capped else draw.n
        if number is not None and number > len(free):
            where = "the pool" if draw.level is None else f"the pool of level {draw.level.name!r}"
            raise ValueError(
                f"{draw.task}: {number} items for {draw.use} of seed {draw.seed}, but {where} has "
                f"{len(free)} left once labelled items, their groups and what asks the same are "
                "taken out; widen the level or ask for fewer"
            )
        return draw_ids(free, len(free) if number is None else number, *draw.names)

    def _of_level(
        self, ids: Iterable[str], measure: str | None, level: Level | None
    ) -> tuple[str, ...]:
        if measure is None:
            return tuple(ids)
        values = self.data.measures[measure]
        return tuple(
            id_ for id_ in ids if id_ in values and (level is None or level.holds(values[id_]))
        )


def _in_turn(draws: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Returns the draws' ids in turn: the first of each, then the second of each, ..."""
    rounds = zip_longest(*draws)
    return tuple(id_ for ids in rounds for id_ in ids if id_ is not None)
