"""Exports of item results: one row per item and arm, as JSON lines or parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.items.results import ItemArm, TaskResults
from study.artifacts.items import MEASURE
from study.reporting.items.texts import TaskTexts
from trainables.storage.addresses import fault_of, is_local, split_options
from trainables.storage.filesystem import Storage, open_storage

ENDINGS = (".jsonl", ".parquet")


def check_export(path: str, *, with_text: bool) -> None:
    """Checks the path of an export.

    Raises:
        ValueError: If its ending is unknown, or it is in a bucket and text may not go there.
    """
    address, _, _ = split_options(path)
    if not address.endswith(ENDINGS):
        raise ValueError(f"--export {path!r} must end with {' or '.join(ENDINGS)}")
    if is_local(path):
        return
    if (fault := fault_of(path)) is not None:
        raise ValueError(fault)
    if not with_text:
        raise ValueError(
            f"--export {path!r} would write question text to a bucket: add --with-text to allow "
            "it, or name a local file"
        )


def export_items(
    path: str, results: Mapping[str, TaskResults], texts: Mapping[str, TaskTexts]
) -> None:
    """Writes one row per item and arm to a `.jsonl` or `.parquet` file.

    Args:
        path: A local path or an address in a bucket.
        results: Task -> results of its test items.
        texts: Task -> its items, with text.
    """
    storage, name = _open(path)
    tables = item_tables(results, texts)
    write = _parquet if name.endswith(".parquet") else _json_lines
    storage.write_bytes(name, write(schema_of(results), tables))


def _open(path: str) -> tuple[Storage, str]:
    """Returns the folder of a path, and the name of the file in it."""
    if is_local(path):
        local = Path(path).expanduser().absolute()
        return open_storage(str(local.parent)), local.name
    address, mark, options = split_options(path)
    folder, _, name = address.rpartition("/")
    return open_storage(f"{folder}{mark}{options}"), name


def schema_of(results: Mapping[str, TaskResults]) -> pa.Schema:
    """Returns the columns of an export: those of the items, their measures, those of the arms."""
    measures = sorted({measure for each in results.values() for measure in each.measures})
    return pa.schema(
        {
            "item_id": pa.string(),
            "task": pa.string(),
            "topic": pa.string(),
            "group": pa.string(),
            "question": pa.string(),
            "choices": pa.list_(pa.string()),
            "gold": pa.int32(),
            **{MEASURE + measure: pa.float64() for measure in measures},
            "measure": pa.string(),
            "level": pa.string(),
            "model": pa.string(),
            "method": pa.string(),
            "condition": pa.string(),
            "kind": pa.string(),
            "train_level": pa.string(),
            "num_seeds": pa.int32(),
            "right": pa.float64(),
            "confidence": pa.float64(),
            "predicted": pa.int32(),
            "agreement": pa.float64(),
        }
    )


def item_tables(
    results: Mapping[str, TaskResults], texts: Mapping[str, TaskTexts]
) -> Iterator[pa.Table]:
    """Yields a table per arm, with one row per item that it was scored on."""
    schema = schema_of(results)
    for task, each in results.items():
        fixed = _item_columns(each, texts[task], schema)
        for place, arm in enumerate(each.arms):
            columns = {**fixed, **_arm_columns(each, arm, place)}
            table = pa.table(
                {name: pa.array(columns[name], schema.field(name).type) for name in schema.names}
            )
            yield table.filter(pa.array(~np.isnan(each.right[place])))


def _item_columns(
    results: TaskResults, texts: TaskTexts, schema: pa.Schema
) -> dict[str, pa.Array | list[object]]:
    table = results.items.table
    ids: list[str] = table["id"].to_pylist()
    items = [texts.items[id_] for id_ in ids]
    measures = {MEASURE + name: _known(values) for name, values in results.measures.items()}
    columns: dict[str, list[object]] = {
        "item_id": [*ids],
        "task": [results.items.task] * len(ids),
        "topic": table["topic"].to_pylist(),
        "group": table["group"].to_pylist(),
        "question": [item.question for item in items],
        "choices": [item.choices for item in items],
        "gold": table["gold"].to_pylist(),
        **{
            name: measures.get(name, [None] * len(ids))
            for name in schema.names
            if name.startswith(MEASURE)
        },
    }
    return {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}


def _arm_columns(results: TaskResults, arm: ItemArm, place: int) -> dict[str, list[object]]:
    """The columns of an arm; `level` is the first level of the item by the arm's measure."""
    number = len(results.items.ids)
    measure = arm.measure or next(iter(results.levels), None)
    levels = [] if measure is None else results.levels[measure]
    constant = {
        "measure": measure,
        "model": arm.model,
        "method": arm.method,
        "condition": arm.condition,
        "kind": arm.kind,
        "train_level": None if arm.train_level is None else arm.train_level.name,
        "num_seeds": len(arm.cells),
    }
    predicted: list[int] = results.predicted[place].tolist()
    return {
        **{name: [value] * number for name, value in constant.items()},
        "level": [names[0] if names else None for names in levels] or [None] * number,
        "right": _known(results.right[place]),
        "confidence": _known(results.confidence[place]),
        "predicted": [choice if choice >= 0 else None for choice in predicted],
        "agreement": _known(results.agreement[place]),
    }


def _known(values: np.ndarray) -> list[object]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def _parquet(schema: pa.Schema, tables: Iterator[pa.Table]) -> bytes:
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return buffer.getvalue()


def _json_lines(_: pa.Schema, tables: Iterator[pa.Table]) -> bytes:
    lines = (json.dumps(row, ensure_ascii=False) for table in tables for row in table.to_pylist())
    return "".join(f"{line}\n" for line in lines).encode()
