"""`python -m study.archive RUN --to FOLDER`: a study's records in few files, and back.

An archive is small enough to publish next to a paper or to commit: FOLDER/<space>/ has plan.json,
items.parquet, records.jsonl (a line a cell: its record and its curve), and for each kind of table
(scores, selection, ...) one parquet file with the rows of all cells. Trained states are left out,
and floating-point numbers are stored in 32 bits, except for `correct`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from search_spaces.cell import cell_id, decode_cell
from search_spaces.data_source import DataSource
from search_spaces.explain import count
from study.artifacts.plan import Plan, read_plan, write_plan
from study.artifacts.study_folder import open_run
from study.cli import options
from study.cli.command import OK, checking_input, command
from trainables.cells.completion import checked_record
from trainables.storage import layout
from trainables.storage.filesystem import Storage, open_storage
from trainables.storage.records import (
    GENERATED_SCHEMA,
    SCHEMA,
    Record,
    parquet_bytes,
    read_curve,
    write_record,
)

RECORDS = "records.jsonl"
SCORES = "scores"
CELL = "cell"
"""Column of an archived table with the id of each row's cell."""

EXACT = "correct"
"""A third in 32 bits would change an accuracy."""

LOCAL_COPY = "a local copy"
"""Source of a task that was read from a folder."""

NOTE = "restored from an archive: log-probabilities and confidences are rounded to 32 bits"


@command(
    examples={
        "runs/micro --to archive": "Write the study's records to a few files in archive/micro.",
        "runs/micro --from archive": "Restore them, for a sweep to continue from.",
    },
)
def main(
    run: options.Run,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FOLDER", help="write the study's records to FOLDER/<space>/"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="restore RUN from FOLDER/<space>/",
        ),
    ] = None,
) -> int:
    """Writes the finished cells of a study to an archive, or restores them from one.

    Restoring adds the cells that the run folder lacks; a sweep then continues from them. A cell
    whose trained state another cell starts from is trained again when that one has to run.

    Exit status: 0 done, 1 the output could not be written, 2 bad input (nothing was written).
    """
    with checking_input():
        if (to is None) == (source is None):
            raise ValueError(
                "give --to FOLDER to write an archive, or --from FOLDER to restore one"
            )
        storage, space = open_run(run)
        other = open_storage(to or source or "")
        if source is None:
            plan = read_plan(storage, space)
            number = archive_study(storage, plan, other)
            where = f"are in {other.path(space)}"
        else:
            plan = read_plan(other, space)
            number = restore_study(other, plan, storage)
            where = f"restored to {storage.root}"
    print(f"{number} of {count(len(plan.cells), 'cell')} of {space} {where}")
    return OK


def archive_study(storage: Storage, plan: Plan, archive: Storage) -> int:
    """Writes the finished cells of a study to an archive; returns their number.

    Args:
        storage: The run folder.
        plan: The study.
        archive: Replaces what it has of this study.
    """
    space, lines = plan.space.name, []
    tables: dict[str, list[pa.Table]] = {}
    for planned in plan.cells:
        record = checked_record(storage, planned)
        if not isinstance(record, Record):
            continue
        lines.append(_line(record, read_curve(storage, planned.id)))
        for key in (layout.scores(planned.id), *_table_keys(planned.id, record)):
            table = pq.read_table(pa.BufferReader(storage.read_bytes(key)))
            tables.setdefault(_name(key), []).append(_narrowed(table, planned.id))
    for name, parts in tables.items():
        table = pa.concat_tables(parts, promote_options="default")
        archive.write_bytes(_table(space, name), _compressed(table))
    archive.write_bytes(f"{space}/{RECORDS}", "".join(lines).encode())
    archive.write_bytes(layout.items(space), storage.read_bytes(layout.items(space)))
    archive.write_bytes(layout.plan(space), _without_paths(plan).model_dump_json().encode())
    return len(lines)


def restore_study(archive: Storage, plan: Plan, storage: Storage) -> int:
    """Adds the archived cells that a run folder lacks; returns their number.

    Args:
        archive: Where the study was archived.
        plan: The study.
        storage: The run folder; its plan and items are replaced.
    """
    space = plan.space.name
    entries = _entries(archive.read_bytes(f"{space}/{RECORDS}"))
    ids = [id_ for id_ in entries if not storage.exists(layout.record(id_))]
    names = {_name(key) for key in archive.list(space) if key.endswith(".parquet")} - {"items"}
    tables = {name: _by_cell(archive.read_bytes(_table(space, name)), ids) for name in names}
    for id_ in ids:
        record, curve = entries[id_]
        files = {
            f"{layout.cell(id_)}/{name}.parquet": parquet_bytes(parts[id_])
            for name, parts in tables.items()
            if name != SCORES and id_ in parts
        }
        schema = SCHEMA if record.unreadable is None else GENERATED_SCHEMA
        write_record(
            storage,
            decode_cell(record.cell),
            tables[SCORES][id_].select(schema.names).cast(schema),
            seconds=record.seconds,
            execution=record.execution,
            peak_memory=record.peak_memory,
            tokens=record.tokens,
            gpu_utilisation=record.gpu_utilisation,
            curve=curve,
            notes=tuple(dict.fromkeys((*record.notes, NOTE))),
            selection=record.selection,
            files=files,
        )
    storage.write_bytes(layout.items(space), archive.read_bytes(layout.items(space)))
    write_plan(storage, plan)
    return len(ids)


def _entries(content: bytes) -> dict[str, tuple[Record, list[Mapping[str, float]]]]:
    """Returns the record and the curve of each archived cell, by id."""
    entries = {}
    for line in content.splitlines():
        entry = json.loads(line)
        record = Record.model_validate(entry["record"])
        entries[cell_id(decode_cell(record.cell))] = (record, entry["curve"])
    return entries


def _line(record: Record, curve: Sequence[Mapping[str, float]]) -> str:
    entry = {"record": record.model_dump(mode="json"), "curve": list(curve)}
    return json.dumps(entry, sort_keys=True) + "\n"


def _table_keys(id_: str, record: Record) -> list[str]:
    """Returns a cell's tables besides its scores; everything else is trained state."""
    return [key for key in record.files if key == f"{layout.cell(id_)}/{_name(key)}.parquet"]


def _name(key: str) -> str:
    return Path(key).stem


def _table(space: str, name: str) -> str:
    return f"{space}/{name}.parquet"


def _narrowed(table: pa.Table, id_: str) -> pa.Table:
    """Returns a cell's table with the cell's id, its numbers in 32 bits."""
    narrow = table.cast(_with_floats(table.schema, pa.float64(), pa.float32()))
    ids = pa.array([id_] * table.num_rows).dictionary_encode()
    return narrow.append_column(CELL, ids)


def _with_floats(schema: pa.Schema, old: pa.DataType, new: pa.DataType) -> pa.Schema:
    """Returns a schema with floats, and lists of floats, of another width."""
    fields = []
    for field in schema:
        is_list = pa.types.is_list(field.type)
        if field.name != EXACT and (field.type.value_type if is_list else field.type) == old:
            field = field.with_type(
                pa.list_(field.type.value_field.with_type(new)) if is_list else new
            )
        fields.append(field)
    return pa.schema(fields)


def _compressed(table: pa.Table) -> bytes:
    """Returns a table as parquet, its floats split into streams of bytes, which compress better."""
    floats = {
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if pa.types.is_floating(kind) or _is_list_of_floats(kind)
    }
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=12,
        use_dictionary=[name for name in _leaves(table) if name.split(".")[0] not in floats],
        use_byte_stream_split=[name for name in _leaves(table) if name.split(".")[0] in floats],
    )
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _is_list_of_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))


def _leaves(table: pa.Table) -> list[str]:
    """Returns the paths of a table's columns in parquet."""
    return [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in table.schema
    ]


def _by_cell(content: bytes, ids: Sequence[str]) -> dict[str, pa.Table]:
    """Returns the rows of each cell that an archived table has, numbers in 64 bits again."""
    table = pq.read_table(pa.BufferReader(content))
    cells = table[CELL].cast(pa.string())
    table = table.drop_columns([CELL])
    table = table.cast(_with_floats(table.schema, pa.float32(), pa.float64()))
    parts = {id_: table.filter(pc.equal(cells, id_)) for id_ in ids}
    return {id_: part for id_, part in parts.items() if part.num_rows}


def _without_paths(plan: Plan) -> Plan:
    """Returns the plan without the folders of its models and data, which are no part of a result.

    They belong to one machine, and a path may hold the name of a user or of a project.
    """
    space = plan.space
    models = tuple(model.model_copy(update={"path": None}) for model in space.models)
    axes = tuple(axis.model_copy(update={"data": _anywhere(axis.data)}) for axis in space.tasks)
    tasks = tuple(
        task.model_copy(update={"source": _without_folders(task.source)}) for task in plan.tasks
    )
    space = space.model_copy(update={"models": models, "tasks": axes})
    return plan.model_copy(update={"space": space, "tasks": tasks})


def _anywhere(data: DataSource | None) -> DataSource | None:
    return data if data is None else data.model_copy(update={"folder": None})


def _without_folders(source: str) -> str:
    """Returns a task's source, which lists several with semicolons, without local folders."""
    parts = (LOCAL_COPY if _is_local(part) else part for part in source.split("; "))
    return "; ".join(dict.fromkeys(parts))


def _is_local(source: str) -> bool:
    """Returns whether a source is a path, rather than a Hub name, a URL or a function."""
    return "/" in source and "://" not in source and not source.startswith("Hub ")


if __name__ == "__main__":
    sys.exit(main())
