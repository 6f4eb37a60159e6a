"""A user's own data: where its rows are, and which columns make an item, as pure values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from search_spaces.frozen import FrozenModel

FUNCTION = "function"
"""Kind of a task whose items come from a function, as in `my_study.py:items`."""

FILE_KINDS = ("jsonl", "csv", "parquet")
"""Kinds of tasks that are a file: `csv:NAME` is `DIR/csv/NAME.csv`."""

HUB = "hub"
"""Kind of `hub:owner/name` and `hub:owner/name:config`."""

OWN_KINDS = frozenset({*FILE_KINDS, HUB, FUNCTION})

AnswerKind = Literal["index", "number", "letter", "label", "text", "boolean"]
"""`index`: the place among the choices, from 0. `number`: the place, from 1. `letter`: A is the
first choice. `label`: a label of the choices column. `text`: the text of a choice. `boolean`: yes
or no."""


def kind_of(task: str) -> str:
    """Returns the kind of a task: one of `OWN_KINDS`, or the name of a shipped task."""
    kind = task.split(":", 1)[0]
    return FUNCTION if kind.endswith(".py") else kind


class Ordered(FrozenModel):
    """A hardness column whose values are texts; the first value counts 1, the second 2, ..."""

    column: str
    values: tuple[str, ...] = Field(min_length=2)
    """From easy to hard."""

    @model_validator(mode="after")
    def _values_differ(self) -> Ordered:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"the values of {self.column!r} must differ, got {self.values}")
        return self


class Columns(FrozenModel):
    """Which columns of a table make an item; other columns are not used.

    Only the resulting items enter a cell's identity, not the names of their columns.
    """

    question: str | tuple[str, ...] = "question"
    """Several columns (a passage and its question) are joined by line breaks; empty ones are left
    out."""
    choices: str | tuple[str, ...] | None = "choices"
    """One column with a list of texts, with texts and labels (`{"text": [...], "label": [...]}` as
    in ARC, or a list of `{"text": ..., "label": ...}`), or with a text for each label (`{"A": ...,
    "B": ...}`); or one column for each choice. None: yes or no."""
    answer: str = "answer"
    """May be one of the columns of `choices`, as in SciQ. The choices of each item are then put in
    a random order that depends on their texts alone, because the right one is always in the same
    column."""
    answer_is: AnswerKind | None = None
    """None: a label if the choices have labels, an index if it is a whole number, else a text."""
    id: str | None = None
    """None: made from the content; of rows with the same content one is kept."""
    group: str | None = None
    """Rows of one group are never separated by the split."""
    topic: str | None = None
    reasoning: str | None = None
    """A worked solution."""
    measures: tuple[str | Ordered, ...] = ()
    """Hardness columns: numbers, or texts with an order."""

    @model_validator(mode="after")
    def _answer_fits_the_choices(self) -> Columns:
        if isinstance(self.choices, tuple) and len(self.choices) < 2:
            raise ValueError(
                f"choices={self.choices} has fewer than two columns; a column that holds all "
                "choices is named as a text, as in choices='choices'"
            )
        if self.choices is None and self.answer_is not in (None, "boolean"):
            raise ValueError(
                f"answer_is={self.answer_is!r} needs choices; choices=None is for boolean answers"
            )
        if self.choices is not None and self.answer_is == "boolean":
            raise ValueError("boolean answers are yes or no: set choices=None")
        if self.is_answer_among_choices and self.answer_is not in (None, "text"):
            raise ValueError(
                f"answer={self.answer!r} is a column of the choices, so it is a text; leave "
                "answer_is out"
            )
        return self

    @model_validator(mode="after")
    def _measures_once(self) -> Columns:
        names = [_column(measure) for measure in self.measures]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"measures names {repeated!r} twice")
        return self

    @property
    def is_answer_among_choices(self) -> bool:
        """Whether the right choice is the same column in every row."""
        return isinstance(self.choices, tuple) and self.answer in self.choices

    @property
    def named(self) -> Iterator[tuple[str, str]]:
        """Yields every column with the field that names it."""
        for field in type(self).model_fields:
            value = getattr(self, field)
            if field == "answer_is" or value is None:
                continue
            for column in value if isinstance(value, tuple) else (value,):
                yield field, _column(column)


class DataSource(FrozenModel):
    """Where a task's rows are, beyond its name, and their columns."""

    columns: Columns | None = None
    """None: `id`, `question`, `choices` (a list) and `answer` (index or text); optional `group`,
    `topic` and `reasoning`; every other column is a hardness measure."""
    splits: tuple[str, ...] = ()
    """Splits of a Hub data set that are used, such as `("train", "validation")`; the study makes
    its own split of their items. Empty: all."""
    revision: str | None = None
    """Commit of a Hub data set; None: the current one, which the plan prints."""
    folder: str | None = None
    """Folder of the file of a function; None: that of the space's file."""


def check_source(task: str, source: DataSource | None) -> None:
    """Refuses a source that a task has no use for, and a name of a task that is a path.

    Raises:
        ValueError: If the task is a shipped one, or has no splits, revisions or folder.
    """
    kind = kind_of(task)
    if kind == FUNCTION and not re.fullmatch(r"[^/\\:]+\.py:[^\W\d]\w*", task):
        raise ValueError(
            f"task {task!r}: name the file without its folder, as in 'my_study.py:items'; the file "
            "is looked up next to the space's file (another folder: data=DataSource(folder=...))"
        )
    if source is None:
        return
    if kind not in OWN_KINDS:
        raise ValueError(
            f"task {task!r} is a shipped one, whose columns are known: leave data out; it is for "
            "hub:..., jsonl:..., csv:..., parquet:... and functions"
        )
    if kind != HUB and (source.splits or source.revision is not None):
        raise ValueError(f"task {task!r} has no splits or revision: only a data set of the Hub has")
    if kind != FUNCTION and source.folder is not None:
        raise ValueError(f"task {task!r}: folder is for functions; pass --data-root DIR instead")


def _column(measure: str | Ordered) -> str:
    return measure if isinstance(measure, str) else measure.column
