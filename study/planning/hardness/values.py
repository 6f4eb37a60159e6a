"""Computes a model-based measure of every item from the records of its cells.

An item's probability comes only from cells trained neither on the item, nor on a copy of it, nor on
an item of its group. A measure needs the values of all models and sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from search_spaces.explain import count
from search_spaces.frozen import digest
from search_spaces.hardness import SCORES, ModelHardness
from study.planning.hardness.mdl import MdlScores, label_probability_mdl, prequential_mdl
from trainables.cells.planned import PlannedCell
from trainables.data.draws import CellDraws
from trainables.data.splits import untrained_ids
from trainables.data.task import SplitTask
from trainables.storage.failures import read_failure
from trainables.storage.filesystem import Storage
from trainables.storage.records import InvalidRecordError, read_record, read_scores

SHOWN = 5
"""Most cells without scores that a message names."""


class NotMeasuredError(ValueError):
    """A measure cannot be computed; the message names the cells without scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HardnessSource:
    """The cells that one task's model-based measures come from."""

    task: str
    hardness: ModelHardness
    """With its models named."""
    contents: Mapping[str, str]
    """Model -> its content."""
    cells: Mapping[str, Mapping[int, tuple[PlannedCell, ...]]]
    """Model -> training size -> a cell a draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HardnessValues:
    """Model-based measures of a task."""

    values: Mapping[str, Mapping[str, float]]
    """Measure -> item id -> value; all measures have the same items."""
    num_items: int
    """Of the task."""

    @property
    def num_without(self) -> int:
        """Items without a value, because every draw of some size is trained on them."""
        return self.num_items - len(next(iter(self.values.values())))

    @property
    def values_hash(self) -> str:
        """SHA-256 of the values."""
        return values_hash(self.values)


def values_hash(values: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the SHA-256 of measures by item id."""
    return digest({name: dict(by_id) for name, by_id in values.items()})


def hardness_values(storage: Storage, task: SplitTask, source: HardnessSource) -> HardnessValues:
    """Returns every measure of the source, for items with a held-out score of each size.

    The mean over draws is of probabilities for `label_probability`, of bits for `prequential`,
    whose stream is the whole task: its sum estimates the codelength of the task's answers.

    Raises:
        NotMeasuredError: If a cell has no valid record, or no item is left.
    """
    reader = _AnswerReader(storage, task)
    means = {
        model: {size: reader.mean(cells) for size, cells in by_size.items()}
        for model, by_size in source.cells.items()
    }
    if reader.missing:
        shown = "; ".join(reader.missing[:SHOWN])
        rest = len(reader.missing) - SHOWN
        raise NotMeasuredError(
            f"{count(len(reader.missing), 'cell has', 'cells have')} no scores: {shown}"
            + (f"; and {rest} more" if rest > 0 else "")
        )
    held_out = np.logical_and.reduce(
        [mean.num_draws > 0 for by_size in means.values() for mean in by_size.values()]
    )
    if not held_out.any():
        raise NotMeasuredError("every item is trained on in all draws of some size: draw fewer")
    ids = np.array(reader.ids)[held_out].tolist()

    def of_ids(values: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(ids, values[held_out].tolist(), strict=True))

    scores = (
        label_probability_mdl(
            {m: {n: of_ids(mean.probability) for n, mean in s.items()} for m, s in means.items()}
        ),
        prequential_mdl(
            {m: {n: of_ids(mean.bits) for n, mean in s.items()} for m, s in means.items()},
            num_items=len(reader.ids),
        ),
    )
    return HardnessValues(values=_named(source.hardness, scores), num_items=len(reader.ids))


def _named(
    hardness: ModelHardness, scores: tuple[MdlScores, MdlScores]
) -> dict[str, Mapping[str, float]]:
    named: dict[str, Mapping[str, float]] = {}
    for score, values in zip(SCORES, scores, strict=True):
        named[f"{hardness.name}:{score}"] = values.mean
        for model, by_id in values.by_model.items():
            named[f"{hardness.name}:{score}:{model}"] = by_id
    return {measure: named[measure] for measure in hardness.measures}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Mean:
    """Means over the draws without an item, in the order of the task's ids."""

    probability: NDArray[np.float64]
    bits: NDArray[np.float64]
    num_draws: NDArray[np.int64]
    """0: the means are 0 as well, and undefined."""


class _AnswerReader:
    """Reads cells of one task, and collects those without scores."""

    def __init__(self, storage: Storage, task: SplitTask) -> None:
        self.ids = [item.id for item in task.data.items]
        self.missing: list[str] = []
        self._storage, self._task = storage, task
        self._row = {id_: row for row, id_ in enumerate(self.ids)}
        self._gold = {item.id: item.answer for item in task.data.items}
        self._known: dict[CellDraws, tuple[frozenset[str], frozenset[str]]] = {}

    def mean(self, cells: tuple[PlannedCell, ...]) -> _Mean:
        """Returns the means over the cells of one model and size."""
        bits, probability = np.zeros(len(self.ids)), np.zeros(len(self.ids))
        count = np.zeros(len(self.ids), dtype=np.int64)
        for cell in cells:
            try:
                rows, cell_bits = self._bits(cell)
            except FileNotFoundError:
                reason = read_failure(self._storage, cell.id) or "not run"
                self.missing.append(f"{cell.label} ({reason})")
                continue
            except InvalidRecordError as error:
                self.missing.append(f"{cell.label} ({error})")
                continue
            bits[rows] += cell_bits
            probability[rows] += np.exp2(-cell_bits)
            count[rows] += 1
        divisor = np.maximum(count, 1)
        return _Mean(probability=probability / divisor, bits=bits / divisor, num_draws=count)

    def _bits(self, cell: PlannedCell) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Returns the rows of the items held out from the cell, and their codelengths."""
        record = read_record(self._storage, cell.id)
        table = read_scores(self._storage, cell.id, record, ("item_id", "log_probs"))
        trained, relatives = self._trained(cell.draws)
        ids = table["item_id"].to_pylist()
        tested = sorted(untrained_ids(self._task.split.test, trained))
        if sorted(ids) != tested:
            raise InvalidRecordError(
                f"its {len(ids)} scored items are not the {len(tested)} held-out ones: remove its "
                "folder and run it again"
            )
        pairs = [
            (self._row[id_], _codelength(np.array(values), self._gold[id_]))
            for id_, values in zip(ids, table["log_probs"].to_pylist(), strict=True)
            if id_ not in relatives
        ]
        rows, bits = zip(*pairs, strict=True) if pairs else ((), ())
        return np.array(rows, dtype=np.intp), np.array(bits, dtype=np.float64)

    def _trained(self, draws: CellDraws | None) -> tuple[frozenset[str], frozenset[str]]:
        """Returns the ids that a cell was trained on, and those with their copies and groups."""
        if draws is None:
            return frozenset(), frozenset()
        if draws not in self._known:
            labelled = self._task.drawn_ids(draws).labelled
            self._known[draws] = (frozenset(labelled), self._task.relatives(labelled))
        return self._known[draws]


def _codelength(log_probs: NDArray[np.float64], gold: int) -> float:
    """Returns -log2 of the softmax probability of the gold choice: never below 0."""
    above = log_probs - log_probs[gold]
    return max(float(np.logaddexp.reduce(above)) / log(2.0), 0.0)
