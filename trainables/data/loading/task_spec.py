"""What a task states about itself, and what all loaders share: fields, checks, items of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.data_source import DataSource
from search_spaces.explain import count
from search_spaces.levels import Level
from trainables.data.items import Item
from trainables.data.loading.files import BadRows, Row
from trainables.data.loading.json_text import fault_in, parse_json
from trainables.data.prompts.formats import LETTERS
from trainables.data.seeding import seed_of
from trainables.errors import DataError, RepeatedChoiceError


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Request to a loader."""

    name: str
    """Full name of the task, as the space has it."""
    data_root: Path | None
    """Folder with local copies; None: the Hub."""
    bad: BadRows
    source: DataSource = field(default_factory=DataSource)
    """Of the user's own data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """Result of a loader."""

    items: Iterable[Item]
    source: str
    notes: tuple[str, ...] = ()
    test: frozenset[str] = frozenset()
    """Ids of the data's own test items; empty if it has none."""
    reload: Callable[[], tuple[Item, ...]] | None = None
    """`TaskData.reload`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """A task: how to load it, its licence and its levels."""

    name: str
    title: str
    """One line for lists."""
    licence: str
    accepts: str
    """File names and schemas that a local copy may have, for messages and the documentation."""
    load: Callable[[Request], Loaded]
    cuts: Mapping[str, Mapping[str, tuple[Level, ...]]] = field(default_factory=dict)
    """Measure -> name of a cut -> levels; the first cut of a measure is its standard one."""
    is_own_data: bool = False
    """The items are the user's own (`TaskData.is_own_data`)."""
    free_form: bool = False


def text_field(row: Row, name: str, *, may_be_empty: bool = False) -> str:
    """Returns a text of the row without white space at its ends.

    Raises:
        DataError: If it is missing, no text, or empty.
    """
    value = row.values.get(name)
    if not isinstance(value, str):
        raise wrong_columns(row, name, "text")
    if not value.strip() and not may_be_empty:
        raise DataError(f"{row.where}: {name} is empty; fill it in or remove the row")
    return value.strip()


def wrong_columns(row: Row, name: str, kind: str) -> DataError:
    """Returns the error of a row that lacks a field or has another kind of value in it."""
    have = ", ".join(sorted(map(str, row.values)))
    if name not in row.values:
        return DataError(f"{row.where}: no field {name!r} ({kind}); the row has: {have}")
    return DataError(f"{row.where}: field {name!r} must be {kind}, got {row.values[name]!r:.80}")


def json_field(row: Row, name: str, kind: str) -> Any:
    """Returns a field that a CSV cell holds as JSON text, or None.

    Raises:
        DataError: If it is a text and no JSON.
    """
    value: Any = row.values.get(name)
    if not isinstance(value, str):
        return value
    try:
        parsed = parse_json(value)
    except json.JSONDecodeError as error:
        raise wrong_columns(row, name, kind) from error
    if fault := fault_in(parsed):
        raise DataError(f"{row.where}: field {name!r}: {fault}; mend or remove the row")
    return parsed


def check_choices(choices: tuple[str, ...], answer: int, where: str) -> None:
    """Refuses choices that cannot be scored.

    Raises:
        DataError: If there are fewer than two or more than there are letters, one is empty or there
            twice but for white space at its ends, or the answer is none.
    """
    if len(choices) < 2:
        raise DataError(f"{where}: an item needs at least two choices, got {len(choices)}")
    if not all(choice.strip() for choice in choices):
        raise DataError(f"{where}: a choice is empty; fill it in or remove the row")
    if len(choices) > len(LETTERS):
        raise DataError(
            f"{where}: an item has at most {len(LETTERS)} choices, one a letter, got "
            f"{len(choices)}; shorten the list or remove the row"
        )
    texts = [choice.strip() for choice in choices]
    repeated = next((text for text in texts if texts.count(text) > 1), None)
    if repeated is not None:
        raise RepeatedChoiceError(
            f"{where}: choice {repeated!r:.80} occurs {texts.count(repeated)} times; "
            "choices must differ: correct or remove the row"
        )
    if not 0 <= answer < len(choices):
        raise DataError(f"{where}: answer {answer} is none of the {len(choices)} choices")


def usable(
    rows: Iterable[Row],
    parse: Callable[[Row], Item | None],
    bad: BadRows,
    *,
    unique: bool = True,
) -> Iterator[Item]:
    """Yields the items of the rows.

    Args:
        rows: The rows of the data set.
        parse: Returns a row's item; None leaves the row out, a `DataError` is reported.
        bad: Where errors are reported.
        unique: Whether a repeated id is an error; otherwise the caller handles it.
    """
    seen: set[str] = set()
    for row in rows:
        try:
            item = parse(row)
            if item is not None and item.id in seen:
                raise DataError(f"{row.where}: id {item.id!r} occurs twice; ids must be unique")
        except DataError as error:
            bad.report(error)
            continue
        if item is not None:
            if unique:
                seen.add(item.id)
            yield item


def leaving_out_repeated_choices(
    parse: Callable[[Row], Item | None], left_out: list[str]
) -> Callable[[Row], Item | None]:
    """Returns a parser of published data that leaves out rows with a repeated choice.

    The reader cannot correct such data; locations of these rows are added to `left_out`.
    """

    def parsed(row: Row) -> Item | None:
        try:
            return parse(row)
        except RepeatedChoiceError:
            left_out.append(row.where)
            return None

    return parsed


def without_repeats(items: Iterable[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """Returns the items of a data set without ids, each content once, and notes.

    The selection does not depend on gold answers: one of several contradicting copies is kept too,
    and the notes count the contents with such copies.
    """
    copies: dict[str, list[Item]] = {}
    num_items = 0
    for item in items:
        num_items += 1
        copies.setdefault(item.id, []).append(item)
    kept = [_one_of(same) for same in copies.values()]
    num_contradicted = sum(len(set(map(_gold_text, same))) > 1 for same in copies.values())
    notes: tuple[str, ...] = ()
    if num_items > len(kept):
        notes += (
            f"{num_items - len(kept):,} of {count(num_items, 'row')} repeat another row; of "
            f"{num_contradicted} contents with contradicting answers one answer was drawn.",
        )
    return kept, notes


def _one_of(copies: list[Item]) -> Item:
    """Returns one of several copies: the first by everything but gold, ties drawn at random.

    The choice depends neither on row order nor on the gold answer.
    """
    first = min(map(_without_gold, copies))
    tied = sorted((item for item in copies if _without_gold(item) == first), key=_gold_text)
    return tied[seed_of("copies", tied[0].id) % len(tied)]


def _without_gold(item: Item) -> tuple[list[tuple[str, float]], str, str]:
    return sorted(item.hardness.items()), item.topic or "", item.reasoning or ""


def _gold_text(item: Item) -> str:
    return item.choices[item.answer]


def number_field(row: Row, name: str) -> float:
    """Returns a finite number of the row.

    Raises:
        DataError: If it is missing or none.
    """
    value: Any = row.values.get(name)
    if not is_finite(value):
        raise wrong_columns(row, name, "a finite number")
    return float(value)


def is_whole(value: object) -> bool:
    """Returns whether a value is a whole number and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Returns whether a value is a number, not a boolean, within the range of a 64-bit float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond 1.8e308
        return False
