"""`python -m study.verify MODEL`: compares a model's zero-shot accuracy with published numbers.

Wrongly converted or heavily quantized weights, another tokenizer and another checkpoint all show as
a difference, before a study spends hours on the model.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from search_spaces.base_models import BaseModelRef
from search_spaces.explain import count
from search_spaces.recipes import Quantization
from study.analysis.published.model_accuracies import (
    Accuracy,
    CheckedAccuracy,
    check,
    measure,
    published_accuracies,
)
from study.cli import options
from study.cli.command import FAILED, OK, checking_input, command
from study.cli.console import show
from study.formatting import Table, clock, percent
from study.running.status_line import LINE_INTERVAL_S, StatusLine
from trainables.data.items import Item
from trainables.data.seeding import draw_ids
from trainables.data.tasks.standard_sets import STANDARD_SETS, load_standard_set
from trainables.models.source import ModelSource

if TYPE_CHECKING:
    from trainables.inference.tokenization import TokenizedItems
    from trainables.models.loading import Base

Questions = Mapping[str, Sequence[Item]]
"""Test set -> its questions."""


@command(
    examples={
        "google/gemma-3-270m": "Score all questions with a model of the Hub.",
        "SmolLM2-135M --path models/smollm2 --items 200": "Score a local copy on 200 questions.",
    },
)
def main(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="model in the table of published numbers, such as google/gemma-3-270m",
        ),
    ],
    path: Annotated[
        Path | None,
        typer.Option("--path", metavar="DIR", help="folder of the model (default: the Hub)"),
    ] = None,
    data_root: options.DataRoot = None,
    items: Annotated[
        int | None,
        typer.Option("--items", metavar="N", min=1, help="score N questions of each test set"),
    ] = None,
    quantization: Annotated[
        Quantization, typer.Option("--quantization", help="of the weights in memory")
    ] = "none",
    published: Annotated[
        Path | None,
        typer.Option(
            "--published",
            metavar="FILE",
            help="table in the format of the shipped model_accuracies.csv (default: that file)",
        ),
    ] = None,
    json_: options.Json = False,
) -> int:
    """Compares a model's zero-shot accuracy on ARC-Easy and ARC-Challenge with published numbers.

    Prompt and metrics are those of lm-evaluation-harness: acc chooses the answer with the largest
    log-probability, acc_norm the one with the largest log-probability per character.

    Exit status: 0 no number differs by more than 3 points and 2 standard errors, 1 one does, or the
    output could not be written, 2 bad input (no question was scored).
    """
    with checking_input():
        numbers = published_accuracies(model, published)
        questions = {name: _load_questions(name, data_root, items) for name in STANDARD_SETS}
        folder = path or (Path(model) if Path(model).is_dir() else None)
        # Another owner's copy has the same published numbers, but its own weights.
        name = model if "/" in model else numbers[0].model
        source, base = _load_base(name, folder, quantization)
        tokenized = _tokenize(base, questions)
    correct, notes = _score(base, questions, tokenized)
    result = VerifiedModel(
        source=source,
        quantization=quantization,
        accuracies={
            name: {metric: measure([scores]) for metric, scores in by_metric.items()}
            for name, by_metric in correct.items()
        },
        num_questions={name: len(items) for name, items in questions.items()},
        checked=tuple(check(number, correct) for number in numbers),
        notes=notes,
    )
    if json_:
        print(json.dumps(result.as_json(), indent=2))
    else:
        show(*result.parts())
    return FAILED if result.flagged else OK


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifiedModel:
    """A model's accuracies next to the published ones."""

    source: ModelSource
    quantization: Quantization
    accuracies: Mapping[str, Mapping[str, Accuracy]]
    """Test set -> metric -> accuracy."""
    num_questions: Mapping[str, int]
    """Test set -> questions scored."""
    checked: tuple[CheckedAccuracy, ...]
    notes: tuple[str, ...]
    """Of loading and scoring."""

    @property
    def flagged(self) -> list[CheckedAccuracy]:
        """The published numbers that differ."""
        return [row for row in self.checked if row.is_flagged]

    def as_json(self) -> dict[str, object]:
        """Returns the fields, with the difference and the flag of each published number."""
        checked = [
            {**asdict(row), "difference": row.difference, "is_flagged": row.is_flagged}
            for row in self.checked
        ]
        return {**asdict(self), "checked": checked}

    def parts(self) -> Iterator[str | Table]:
        """Yields the result for the terminal."""
        source = self.source
        yield f"{source.name}: {source.source}, {source.content}"
        yield f"  zero-shot, {source.dtype}, quantization {self.quantization}"
        yield from (f"  note: {note}" for note in self.notes)
        yield ""
        metrics = list(next(iter(self.accuracies.values())))
        yield Table(
            header=("test set", "questions", *metrics),
            rows=[
                (name, self._size(name), *(_with_error(row[metric]) for metric in metrics))
                for name, row in self.accuracies.items()
            ],
            numbers=("questions", *metrics),
        )
        yield ""
        yield Table(
            header=("published", "metric", "shots", "value", "measured", "difference", "", "from"),
            rows=list(map(_row, self.checked)),
            numbers=("shots", "value", "measured", "difference"),
        )
        yield "Accuracies and differences in %, +/- one standard error."
        if self._is_subset:
            yield "Only a subset was scored; published numbers are of the whole test sets."
        yield self._verdict()

    def _size(self, name: str) -> str:
        size, whole = self.num_questions[name], STANDARD_SETS[name].num_questions
        return f"all {whole:,}" if size == whole else f"{size:,} of {whole:,}"

    @property
    def _is_subset(self) -> bool:
        return any(n != STANDARD_SETS[name].num_questions for name, n in self.num_questions.items())

    def _verdict(self) -> str:
        num_comparable = sum(row.is_comparable for row in self.checked)
        if not self.flagged:
            return (
                f"None of {count(num_comparable, 'comparable published number')} differs by more "
                "than 3 points and 2 standard errors."
            )
        differ = "differs" if len(self.flagged) == 1 else "differ"
        return (
            f"{len(self.flagged)} of {count(num_comparable, 'comparable published number')} "
            f"{differ} by more than 3 points and 2 standard errors: check that weights and "
            "tokenizer are those of the published model, and how they were quantized."
        )


def _row(row: CheckedAccuracy) -> tuple[str, ...]:
    number = row.published
    verdict = "DIFFERS" if row.is_flagged else "agrees"
    return (
        number.test_sets,
        number.metric,
        str(number.shots),
        percent(number.value),
        _with_error(row.measured),
        percent(row.difference, sign=True),
        verdict if row.is_comparable else "not zero-shot",
        ", ".join(filter(None, (number.harness, number.source, number.remark, number.link))),
    )


def _with_error(accuracy: Accuracy) -> str:
    return f"{percent(accuracy.value)} +/- {percent(accuracy.standard_error)}"


def _load_questions(name: str, data_root: Path | None, num_items: int | None) -> Sequence[Item]:
    """Returns a test set, or a draw from it that depends on the questions' ids only."""
    items = load_standard_set(name, data_root)
    if num_items is None:
        return items
    drawn = set(draw_ids((item.id for item in items), min(num_items, len(items)), "verify", name))
    return [item for item in items if item.id in drawn]


def _load_base(
    name: str, folder: Path | None, quantization: Quantization
) -> tuple[ModelSource, Base]:
    from trainables.models.loading import load_base, local_devices  # with torch
    from trainables.models.resolve import resolve_model

    ref = BaseModelRef(name=name, path=None if folder is None else str(folder))
    source = resolve_model(ref)
    return source, load_base(source, source.dtype, quantization, local_devices()[0])


def _tokenize(base: Base, questions: Questions) -> Mapping[str, TokenizedItems]:
    from trainables.methods.base.answering import tokenize_questions  # with torch

    return {
        name: tokenize_questions(base, items, STANDARD_SETS[name].prompt)
        for name, items in questions.items()
    }


def _score(
    base: Base, questions: Questions, tokenized: Mapping[str, TokenizedItems]
) -> tuple[Mapping[str, Mapping[str, Sequence[float]]], tuple[str, ...]]:
    """Returns test set -> metric -> score of each question, and notes."""
    from trainables.methods.standard_accuracy import scored_parts  # with torch

    progress = _Progress(sum(map(len, questions.values())), sys.stderr)
    correct: dict[str, dict[str, list[float]]] = {}
    notes = dict.fromkeys(base.notes)
    for name, items in questions.items():
        by_metric = correct.setdefault(name, defaultdict(list))
        for part in scored_parts(base, items, tokenized[name]):
            notes.update(dict.fromkeys(part.notes))
            for metric, scores in part.correct.items():
                by_metric[metric] += scores
            progress.add(part.num_questions)
    return correct, tuple(notes)


class _Progress:
    """Prints how many questions are scored, and the time that the rest will take."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._line = StatusLine(stream)
        self._done = 0
        self._started = self._last = time.monotonic()

    def add(self, number: int) -> None:
        self._done += number
        now, is_last = time.monotonic(), self._done == self._total
        if not (is_last or self._line.is_terminal or now - self._last >= LINE_INTERVAL_S):
            return
        self._last = now
        elapsed = now - self._started
        eta = clock(elapsed / self._done * (self._total - self._done))
        text = f"{clock(elapsed)}  {self._done:,}/{self._total:,} questions, ETA {eta}"
        self._line.write(text, overwrite=not is_last)


if __name__ == "__main__":
    sys.exit(main())
