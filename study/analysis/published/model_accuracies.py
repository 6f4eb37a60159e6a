"""Published accuracies of base models on standard test sets, and how a measured one compares.

One row of the CSV is one published number; its columns are the fields of `PublishedAccuracy`.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from study.analysis.names import last_part
from trainables.data.tasks.standard_sets import STANDARD_SETS

FILE = "model_accuracies.csv"
"""The shipped table, in this package."""

MAX_POINTS = 0.03
MAX_ERRORS = 2.0
"""A difference is flagged if it exceeds both: a share, and a number of standard errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedAccuracy:
    """One published accuracy of a model."""

    model: str
    """Name on the Hub."""
    test_sets: str
    """A test set, or several joined by `+`: the mean of their accuracies."""
    metric: Literal["acc", "acc_norm"]
    """As in lm-evaluation-harness."""
    value: Annotated[float, Field(ge=0, le=1)]
    """A fraction."""
    shots: NonNegativeInt
    harness: str
    source: str
    """Who published it."""
    link: str
    remark: str = ""

    @property
    def sets(self) -> tuple[str, ...]:
        """The test sets."""
        return tuple(self.test_sets.split("+"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """A measured accuracy."""

    value: float
    """A fraction."""
    standard_error: float
    """Of the share over questions; of the Agresti-Coull estimate (two right and two wrong answers
    added), which is above 0 where every answer is right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedAccuracy:
    """A published accuracy next to the measured one."""

    published: PublishedAccuracy
    measured: Accuracy

    @property
    def difference(self) -> float:
        """Measured minus published."""
        return self.measured.value - self.published.value

    @property
    def is_comparable(self) -> bool:
        """Whether it was published for zero shots, as the measured one is."""
        return self.published.shots == 0

    @property
    def is_flagged(self) -> bool:
        """Whether it differs by more than 3 points and by more than 2 standard errors."""
        limit = max(MAX_POINTS, MAX_ERRORS * self.measured.standard_error)
        return self.is_comparable and abs(self.difference) > limit


def published_accuracies(model: str, path: Path | None = None) -> tuple[PublishedAccuracy, ...]:
    """Returns the published accuracies of a model, in the order of the table.

    Args:
        model: Name on the Hub; its owner and upper and lower case are ignored.
        path: The table; None: the shipped one.

    Raises:
        ValueError: If the table cannot be used or has no number of this model.
        OSError: If it cannot be read.
    """
    rows = _read(path)
    found = tuple(row for row in rows if last_part(row.model) == last_part(model))
    if not found:
        known = ", ".join(dict.fromkeys(row.model for row in rows))
        raise ValueError(
            f"model {model!r} has no published accuracy in {path or FILE}, which has {known}: name "
            "one of them (and its folder with --path), or give a table with --published"
        )
    return found


def published_models() -> Mapping[str, int]:
    """Returns how many published accuracies the shipped table has of each model, by its name."""
    return Counter(row.model for row in _read(None))


def measure(correct: Sequence[Sequence[float]]) -> Accuracy:
    """Returns the accuracy over a test set, or the mean of the accuracies over several.

    Args:
        correct: Per test set, the score of each question, in [0, 1].
    """
    errors = [_standard_error(scores) for scores in correct]
    return Accuracy(
        value=float(np.mean([np.mean(scores) for scores in correct])),
        standard_error=math.hypot(*errors) / len(errors),
    )


def check(
    published: PublishedAccuracy, correct: Mapping[str, Mapping[str, Sequence[float]]]
) -> CheckedAccuracy:
    """Returns a published accuracy with the measured one.

    Args:
        published: The number.
        correct: Test set -> metric -> score of each question.
    """
    scores = [correct[name][published.metric] for name in published.sets]
    return CheckedAccuracy(published=published, measured=measure(scores))


def _standard_error(scores: Sequence[float]) -> float:
    """Source: Agresti & Coull 1998, The American Statistician 52, 119-126."""
    size = len(scores) + 4
    share = (sum(scores) + 2) / size
    return math.sqrt(share * (1 - share) / size)


_ROW = TypeAdapter(PublishedAccuracy)


def _read(path: Path | None) -> list[PublishedAccuracy]:
    table = resources.files(__package__) / FILE if path is None else path
    try:
        text = table.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    rows = _parsed(text, str(path or FILE))
    if not rows:
        raise ValueError(f"{path}: no published accuracy; add a row for each below the header")
    return rows


def _parsed(text: str, where: str) -> list[PublishedAccuracy]:
    rows = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        try:
            parsed = _ROW.validate_python({name: text for name, text in row.items() if text})
        except ValidationError as error:
            first = error.errors()[0]
            column = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}, row {number}: {column}: {first['msg']}") from error
        if unknown := set(parsed.sets) - set(STANDARD_SETS):
            raise ValueError(
                f"{where}, row {number}: test_sets has {', '.join(sorted(unknown))}; the known "
                f"ones are {', '.join(STANDARD_SETS)}, joined by + for their mean"
            )
        rows.append(parsed)
    return rows
