"""Rows of a user's table as items: the one schema of all sources of own data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from search_spaces.data_source import AnswerKind, Columns, Ordered
from search_spaces.explain import count, did_you_mean
from trainables.data.items import Item, text_hash
from trainables.data.loading.files import BadRows, Row
from trainables.data.loading.task_spec import (
    check_choices,
    is_finite,
    is_whole,
    json_field,
    text_field,
    usable,
    without_repeats,
    wrong_columns,
)
from trainables.data.prompts.formats import LETTERS
from trainables.data.seeding import draw_ids
from trainables.errors import DataError

PLAIN = Columns(id="id")
"""Columns of a table without a column map; further ones are optional or measures."""

OPTIONAL = ("group", "topic", "reasoning")
"""Columns that such a table may have."""

OWN_FIELDS = frozenset({*(name for _, name in PLAIN.named), *OPTIONAL})
"""Columns of such a table that are no measures."""

YES_NO = ("yes", "no")
"""Choices of an item with a boolean answer."""

TRUTH = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}
"""How tables write a boolean, in lower case -> choice."""

EXPECTED: Mapping[AnswerKind, str] = {
    "index": "an index from 0",
    "number": "a number from 1",
    "letter": "a letter from A",
    "label": "one of the labels",
    "text": "the text of a choice",
    "boolean": "true or false",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    text: str
    place: int
    """Among the columns or in the list, from 0; empty columns count."""
    label: str | None = None


@dataclass(kw_only=True, slots=True)
class _AnswerKinds:
    """How the answers of a table are read, and which kinds would fit every row, for messages."""

    of_texts: AnswerKind | None = None
    """Kind of every answer where all values are texts, as in CSV; None: a whole number is an
    index."""
    fitting: set[AnswerKind] = field(default_factory=lambda: {*EXPECTED} - {"boolean"})
    faults: set[str] = field(default_factory=set)
    """Messages about answers that are none of the choices."""

    def narrow(self, value: Any, choices: Sequence[_Choice]) -> None:
        """Drops the kinds that the answer of a row does not fit."""
        self.fitting = {kind for kind in self.fitting if _place(value, kind, choices) is not None}

    def with_hint(self, message: str) -> str:
        """Returns a message; about an answer, with the kinds that all rows would fit."""
        others = [f"answer_is={kind!r}" for kind in EXPECTED if kind in self.fitting]
        if not others or message not in self.faults:
            return message
        return f"{message}; it would fit {' or '.join(others)} in a column map"


def read_items(
    rows: Iterable[Row],
    columns: Columns | None,
    bad: BadRows,
    *,
    is_text: bool = False,
    orders: Sequence[Ordered] = (),
) -> tuple[list[Item], tuple[str, ...]]:
    """Returns the items of a table, and notes on rows that repeat others.

    Args:
        rows: Of one table.
        columns: The column map; None: `PLAIN`, where every further column is a measure.
        bad: Where unusable rows are reported.
        is_text: Every value is a text, as in CSV.
        orders: Of the measures that are texts, without a column map.

    Raises:
        DataError: If the column map names a column that no row has, or if texts without a column
            map may be read in two ways.
    """
    kinds = _AnswerKinds(of_texts="text" if is_text else None)
    if is_text and columns is None:
        rows = list(rows)
        kinds.of_texts = _kind_of_texts(rows)
    known: dict[str, str] = {}
    plain = cache(partial(_plain_columns, {order.column: order for order in orders}))

    def seen() -> Iterator[Row]:
        for row in rows:
            known.update(dict.fromkeys(row.values, row.where))
            yield row

    def parse(row: Row) -> Item:
        if columns is None:
            return _item(row, kinds, columns=plain(tuple(row.values)), is_typed=not is_text)
        return _item(row, kinds, columns=columns, is_typed=False)

    has_ids = columns is None or columns.id is not None
    items = list(usable(seen(), parse, bad, unique=has_ids))
    bad.messages[:] = map(kinds.with_hint, bad.messages)
    if known:
        _check_named(columns or PLAIN, known, is_plain=columns is None)
    return (items, ()) if has_ids else without_repeats(items)


def _plain_columns(orders: Mapping[str, Ordered], names: Sequence[str]) -> Columns:
    # pandas writes its index to CSV as a column without a name.
    measures = (name for name in names if name and name not in OWN_FIELDS)
    update = {"measures": tuple(orders.get(name, name) for name in measures)}
    return PLAIN.model_copy(update={**{name: name for name in OPTIONAL}, **update})


def _check_named(columns: Columns, known: Mapping[str, str], *, is_plain: bool) -> None:
    """Refuses columns that no row has.

    Args:
        columns: The column map.
        known: Column -> location of the last row that has it.
        is_plain: Whether the columns are those of a table without a column map.
    """
    missing = [(field, name) for field, name in columns.named if name not in known]
    if not missing:
        return
    where = next(iter(known.values())).rpartition(", ")[0]
    have = f"its columns are {', '.join(map(str, known))}"
    if is_plain:
        names = ", ".join(repr(name) for _, name in missing)
        raise DataError(
            f"{where}: no row has the columns {names}, and {have}; name the columns of another "
            "table in a column map, TaskAxis(data=DataSource(columns=Columns(question=..., "
            "choices=..., answer=...)))"
        )
    named = ", ".join(f"{field}={name!r}" for field, name in missing)
    hint = did_you_mean(missing[0][1], known)
    raise DataError(
        f"{where}: the column map names columns that the table does not have: {named}{hint}; {have}"
    )


def _kind_of_texts(rows: Sequence[Row]) -> AnswerKind:
    """Returns the kind of all answers of a table of texts without a column map.

    Digits may be an index or the text of a choice. Rows where an answer is neither are unusable
    and decide nothing.

    Raises:
        DataError: If every answer is both, and they are different choices.
    """
    places = set()
    for row in rows:
        with suppress(DataError):  # reported when the row becomes an item
            choices = _choices(row, PLAIN.choices, is_typed=False)
            if all(choice.label is None for choice in choices):
                value = _answer_value(row, PLAIN)
                places.add((_place(value, "index", choices), _place(value, "text", choices)))
    places.discard((None, None))
    are_indices = all(index is not None for index, _ in places)
    are_texts = all(text is not None for _, text in places)
    if are_indices and are_texts and any(index != text for index, text in places):
        raise DataError(
            f"{rows[0].where.rpartition(', ')[0]}: every answer is both an index from 0 and the "
            "text of a choice; name one in a column map, TaskAxis(data=DataSource(columns="
            "Columns(id='id', answer_is='index'))) or answer_is='text'"
        )
    return "index" if are_indices and not are_texts else "text"


def _item(row: Row, kinds: _AnswerKinds, *, columns: Columns, is_typed: bool) -> Item:
    """Returns the item of a row.

    Args:
        row: The row.
        kinds: Learns which kinds its answer fits.
        columns: Its columns.
        is_typed: Whether its values must have the types of a table without a column map. Otherwise
            digits may be a number, a whole number a text, and an empty text a missing value.
    """
    values = row if is_typed else _untyped(row, columns)
    question = _question(values, columns.question)
    choices = _choices(values, columns.choices, is_typed=is_typed)
    check_choices(tuple(choice.text for choice in choices), 0, row.where)
    if columns.is_answer_among_choices:
        by_text = {choice.text: choice for choice in choices}
        choices = [by_text[text] for text in draw_ids(by_text, len(by_text), "choices", question)]
    texts = tuple(choice.text for choice in choices)
    return Item(
        id=text_hash(question, *texts) if columns.id is None else _id(row, columns.id),
        question=question,
        choices=texts,
        answer=_answer(values, columns, choices, kinds),
        hardness=_hardness(values, columns.measures, is_typed=is_typed),
        group=_optional(values, columns.group),
        topic=_optional(values, columns.topic),
        reasoning=_optional(values, columns.reasoning),
    )


def _untyped(row: Row, columns: Columns) -> Row:
    """Returns the row with texts for whole numbers, except where they are an answer or a measure.

    Empty texts are missing values, except in the question.
    """
    texts = {name for field, name in columns.named if field not in ("answer", "measures")}
    values = dict(row.values)
    for name, value in row.values.items():
        if name in texts:
            values[name] = _as_text(_whole(value))
        if isinstance(value, str) and not value.strip() and name != columns.question:
            values[name] = None
    return replace(row, values=values)


def _whole(value: Any) -> Any:
    """Returns a whole number for a float that is one: a column with missing values has floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_text(value: Any) -> Any:
    return str(value) if is_whole(value) else value


def _question(row: Row, columns: str | tuple[str, ...]) -> str:
    if isinstance(columns, str):
        return text_field(row, columns)
    texts = [text_field(row, name) for name in columns if row.values.get(name) is not None]
    if not texts:
        raise DataError(f"{row.where}: {', '.join(columns)} are all empty; remove the row")
    return "\n".join(texts)


def _choices(row: Row, columns: str | tuple[str, ...] | None, *, is_typed: bool) -> list[_Choice]:
    if columns is None:
        return [_Choice(text=text, place=place) for place, text in enumerate(YES_NO)]
    if isinstance(columns, tuple):
        return [
            _Choice(text=text_field(row, name), place=place)
            for place, name in enumerate(columns)
            if row.values.get(name) is not None
        ]
    as_json = 'a list of texts as JSON, such as ["red", "green"]'
    value = row.values.get(columns) if is_typed else json_field(row, columns, as_json)
    texts, labels = (value, None) if is_typed else _texts_and_labels(value)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        other = "or name the columns in a column map" if is_typed else "with or without labels"
        raise wrong_columns(row, columns, f"a list of texts, {other}")
    if labels is not None and len(labels) != len(texts):
        raise wrong_columns(row, columns, "as many texts as labels")
    return [
        _Choice(text=text.strip(), place=place, label=None if labels is None else labels[place])
        for place, text in enumerate(texts)
    ]


def _texts_and_labels(value: Any) -> tuple[Any, list[str] | None]:
    """Returns texts and labels of a column with all choices, whatever its layout."""
    match value:
        case {"text": list(texts), **rest}:
            labels = rest.get("label")
        case dict():
            given = {label: text for label, text in value.items() if text is not None}
            texts, labels = list(given.values()), list(given)
        case [{"text": _, "label": _}, *_] if all(isinstance(choice, dict) for choice in value):
            texts, labels = ([choice.get(name) for choice in value] for name in ("text", "label"))
        case _:
            texts, labels = value, None
    texts = list(map(_as_text, texts)) if isinstance(texts, list) else texts
    return texts, [str(label).strip() for label in labels] if isinstance(labels, list) else None


def _answer(row: Row, columns: Columns, choices: Sequence[_Choice], kinds: _AnswerKinds) -> int:
    value = _answer_value(row, columns)
    kind = columns.answer_is or _kind(value, columns, choices, kinds.of_texts)
    answer = _place(value, kind, choices)
    kinds.narrow(value, choices)
    if answer is not None:
        return answer
    expected = EXPECTED[kind]
    if kind == "label":
        expected += f" {', '.join(str(choice.label) for choice in choices)}"
    elif columns.answer_is is None and columns.choices is not None and kinds.of_texts is None:
        expected = "an index from 0 or one of the choices"
    message = (
        f"{row.where}: answer {value!r:.80} is none of the {count(len(choices), 'choice')}; "
        f"expected {expected}"
    )
    if columns.choices is not None and str(value).lower() in ("true", "false"):
        message += "; true and false are read as yes and no by a column map with choices=None"
    kinds.faults.add(message)
    raise DataError(message)


def _answer_value(row: Row, columns: Columns) -> Any:
    value = _whole(row.values.get(columns.answer))
    return value.strip() if isinstance(value, str) else value


def _kind(
    value: Any, columns: Columns, choices: Sequence[_Choice], of_texts: AnswerKind | None
) -> AnswerKind:
    if columns.choices is None:
        return "boolean"
    if choices[0].label is not None:
        return "label"
    return of_texts or ("index" if is_whole(value) else "text")


def _place(value: Any, kind: AnswerKind, choices: Sequence[_Choice]) -> int | None:
    """Returns the place of an answer of this kind among the choices; None if it is none of them."""
    text = str(value)
    match kind:
        case "text" | "label":
            names = [choice.text if kind == "text" else choice.label for choice in choices]
            is_name = text in names and (isinstance(value, str) or is_whole(value))
            return names.index(text) if is_name else None
        case "boolean":
            names = [choice.text for choice in choices]
            return names.index(TRUTH[text.lower()]) if text.lower() in TRUTH else None
        case "letter":
            number = LETTERS.find(text.upper()) if len(text) == 1 else -1
        case _:
            # pandas writes 1.0 to CSV where other rows have no answer.
            digits = re.fullmatch(r"(\d{1,9})(\.0)?", text)
            number = int(digits[1]) - (kind == "number") if digits else -1
    places = [choice.place for choice in choices]
    return places.index(number) if number in places else None


def _id(row: Row, name: str) -> str:
    value = row.values.get(name)
    return str(value) if is_whole(value) else text_field(row, name)


def _optional(row: Row, name: str | None) -> str | None:
    return None if name is None or row.values.get(name) is None else text_field(row, name)


def _hardness(row: Row, measures: Iterable[str | Ordered], *, is_typed: bool) -> dict[str, float]:
    hardness = {}
    for measure in measures:
        name = measure if isinstance(measure, str) else measure.column
        value = row.values.get(name)
        if value is None:
            continue
        number: Any = _rank(value, measure) if isinstance(measure, Ordered) else value
        if isinstance(number, str) and not is_typed:
            number = _number(number)
        if not is_finite(number):
            raise DataError(
                f"{row.where}: measure {name!r} has {value!r:.60}: neither a finite number (at "
                "most 1.8e308) nor a text of a declared order; correct or remove the row"
            )
        hardness[name] = float(number)
    return hardness


def _rank(value: Any, measure: Ordered) -> int | None:
    text = str(value).strip()
    return measure.values.index(text) + 1 if text in measure.values else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
