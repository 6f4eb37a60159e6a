"""Model-based measures on disk: written by `study.measure`, read where a study is cut by one.

A measure's JSON file contains the ids of its cells and the hash of its values. It is written last,
so it guarantees that the values file is complete.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from search_spaces.explain import count, explain
from search_spaces.frozen import FrozenModel, digest
from search_spaces.hardness import SCORES, ModelHardness, scored_sizes
from search_spaces.space import Space
from study.planning.hardness.values import HardnessSource, HardnessValues, values_hash
from trainables.data.task import TaskData
from trainables.errors import UnavailableError
from trainables.invocation import command_line
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import parquet_bytes

Measures = Mapping[str, Mapping[str, float]]
"""Measure -> item id -> value."""


class HardnessFacts(FrozenModel):
    """Origin of a measure's values, stored next to them."""

    version: Literal[2]
    """Of the scores: in 1, size 0 counted in every `label_probability`."""
    task: str
    data_hash: str
    study_seed: int
    hardness: ModelHardness
    """With its models named."""
    contents: dict[str, str]
    """Model -> its content."""
    cells: dict[str, dict[int, tuple[str, ...]]]
    """Model -> training size -> ids of the cells, one a draw."""
    num_items: int
    num_without: int
    """Items without a value."""
    values_hash: str

    def cells_hash(self, measure: str) -> str:
        """Returns the SHA-256 of the ids of the cells that a measure's score uses."""
        score = measure.split(":")[1]
        return digest(
            sorted(
                id_
                for by_size in self.cells.values()
                for size in scored_sizes(score, by_size)
                for id_ in by_size[size]
            )
        )

    @property
    def note(self) -> str:
        """One sentence for the plan and the report."""
        number = sum(len(ids) for by_size in self.cells.values() for ids in by_size.values())
        return (
            f"{self.hardness.name}: model-based hardness from {count(number, 'cell')} of "
            f"{', '.join(self.contents)}, values {self.values_hash[:12]}; {self.num_without} of "
            f"{self.num_items} items have none (every draw of some size was trained on them)."
        )


def write_hardness(
    storage: Storage, source: HardnessSource, measured: HardnessValues, *, data_hash: str, seed: int
) -> HardnessFacts:
    """Writes the values of a source and their origin; returns the origin.

    Args:
        storage: The run folder.
        source: The task, the hardness and its cells.
        measured: The values.
        data_hash: Of the task's items.
        seed: The study seed, which names the draws.
    """
    facts = HardnessFacts(
        version=2,
        task=source.task,
        data_hash=data_hash,
        study_seed=seed,
        hardness=source.hardness.identity,
        contents=dict(source.contents),
        cells={
            model: {size: tuple(cell.id for cell in cells) for size, cells in by_size.items()}
            for model, by_size in source.cells.items()
        },
        num_items=measured.num_items,
        num_without=measured.num_without,
        values_hash=measured.values_hash,
    )
    ids = list(next(iter(measured.values.values())))
    columns: dict[str, Any] = {
        name: list(by_id.values()) for name, by_id in measured.values.items()
    }
    name = source.hardness.name
    storage.write_bytes(
        layout.measure_values(source.task, name), parquet_bytes(pa.table({"id": ids, **columns}))
    )
    content = (facts.model_dump_json(indent=1) + "\n").encode()
    storage.write_bytes(layout.measure_facts(source.task, name), content)
    return facts


def read_hardness(storage: Storage, task: str, name: str) -> tuple[HardnessFacts, Measures]:
    """Returns the origin of values, and the values.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a file is damaged or of another version.
    """
    path = storage.path(layout.measure_facts(task, name))
    try:
        facts = HardnessFacts.model_validate_json(
            storage.read_bytes(layout.measure_facts(task, name))
        )
        content = storage.read_bytes(layout.measure_values(task, name))
        table = pq.read_table(io.BytesIO(content)).to_pydict()
    except ValidationError as error:
        raise ValueError(
            f"{path} is damaged or of another version of this program: {explain(error)}; "
            f"run `{command_line('measure')}` again"
        ) from error
    except pa.ArrowException as error:
        raise ValueError(
            f"{storage.path(layout.measure_values(task, name))}: {error}; run "
            f"`{command_line('measure')}` again"
        ) from error
    ids = table.pop("id", [])
    values = {measure: dict(zip(ids, column, strict=True)) for measure, column in table.items()}
    if values_hash(values) != facts.values_hash:
        raise ValueError(
            f"{storage.path(layout.measure_values(task, name))} does not match the hash in its "
            f"JSON file; run `{command_line('measure')}` again"
        )
    return facts, values


def forget_hardness(storage: Storage, source: HardnessSource) -> None:
    """Removes the values of a source, if there are any."""
    storage.delete(layout.measure_facts(source.task, source.hardness.name))
    storage.delete(layout.measure_values(source.task, source.hardness.name))


def hardness_means(storage: Storage, task: TaskData) -> dict[str, Mapping[str, float]]:
    """Returns all existing model-based measures of a task, as means over their models.

    Raises:
        ValueError: If a measure is damaged, or was made from other data.
    """
    means: dict[str, Mapping[str, float]] = {}
    for file in storage.list(layout.measures_of(task.name)):
        name, dot, kind = file.rpartition(".")
        if not dot or kind != "json":
            continue
        facts, values = read_hardness(storage, task.name, name)
        if facts.data_hash != task.data_hash:
            raise ValueError(
                f"{storage.path(layout.measure_facts(task.name, name))} was made of other data "
                f"({facts.data_hash[:12]}) than {task.name} is now ({task.data_hash[:12]})"
            )
        means |= {f"{name}:{score}": values[f"{name}:{score}"] for score in SCORES}
    return means


def with_hardness(space: Space, task: TaskData, storage: Storage | None) -> TaskData:
    """Returns the task with the model-based measures that the space's axes name.

    They only cut levels; the split is made from the task without them.

    Args:
        space: Its `hardness` defines the model-based measures.
        task: The loaded task.
        storage: The run folder; None: there is none, and no such measure.

    Raises:
        UnavailableError: If a measure was not made yet.
        ValueError: If a measure was made from other data, or for other models, sizes or draws.
    """
    measures: dict[str, Mapping[str, float]] = {}
    measured_by: dict[str, str] = {}
    notes: list[str] = []
    for hardness in space.hardness:
        names = [
            axis.measure
            for axis in space.tasks
            if axis.task == task.name and hardness.makes(axis.measure)
        ]
        if names:
            facts, values = _checked(
                space, hardness.by_models(space.models).identity, task, storage
            )
            measures |= {name: values[name] for name in names}
            measured_by |= {name: facts.cells_hash(name) for name in names}
            notes.append(facts.note)
    taken = sorted(measures.keys() & task.measures.keys())
    if taken:
        raise ValueError(
            f"task {task.name} already has a measure {taken[0]!r}: give the hardness another name"
        )
    if not measures:
        return task
    return replace(
        task,
        measures={**task.measures, **measures},
        measured_by=measured_by,
        notes=(*task.notes, *notes),
    )


def _checked(
    space: Space, hardness: ModelHardness, task: TaskData, storage: Storage | None
) -> tuple[HardnessFacts, Measures]:
    command = f"`{command_line('measure')}`, with the same SPACE, --out and --data-root, makes it"
    if storage is None:
        raise UnavailableError(f"{task.name} by {hardness.name}: no run folder; {command}")
    path = storage.path(layout.measure_facts(task.name, hardness.name))
    try:
        facts, values = read_hardness(storage, task.name, hardness.name)
    except FileNotFoundError as error:
        raise UnavailableError(
            f"the model-based measure {hardness.name} of {task.name} does not exist ({path}): "
            f"{command}"
        ) from error
    made = (facts.data_hash, facts.study_seed, facts.hardness)
    if made != (task.data_hash, space.study_seed, hardness):
        raise ValueError(
            f"{path} was made from other data or draws, or by other models, sizes or recipes, than "
            f"those of space {space.name!r}: {command} again; or give the hardness another name"
        )
    return facts, values
