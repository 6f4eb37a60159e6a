"""Local copies of data sets: finds the files of each part and reads their rows one at a time.

Reads JSON, JSON lines, CSV and parquet, gzipped or not. Tasks interpret the rows.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from trainables.data.loading.json_text import fault_in, parse_json
from trainables.errors import DataError, MissingDataError

FORMATS = ".jsonl, .json, .csv or .parquet, each also gzipped (.gz)"
_EXTENSION = r"\.(jsonl|json|csv|parquet)(\.gz)?"
_SHARD = r"(-\d+-of-\d+)?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a data set and its location."""

    where: str
    """File and line (or row), for messages."""
    values: Mapping[str, Any]
    part: str = ""
    """Part of the data set (a subset or split), if it matters."""


class BadRows:
    """Handles rows that cannot be used: stops, or leaves them out and collects their messages."""

    def __init__(self, *, skip: bool) -> None:
        """Starts with no bad row.

        Args:
            skip: Leave bad rows out and collect their messages instead of stopping.
        """
        self.skip = skip
        self.messages: list[str] = []

    def report(self, error: DataError) -> None:
        """Records the row's error, or raises it if rows may not be skipped."""
        if not self.skip:
            raise DataError(f"{error} (--skip-bad-rows leaves such rows out)") from error
        self.messages.append(str(error))


def find_parts(
    folder: Path, parts: Mapping[str, str], *, several: bool = False
) -> dict[str, tuple[Path, ...]]:
    """Returns the files of each part of a data set.

    Args:
        folder: The task's folder under the data root; files may be in subfolders.
        parts: Name of a part -> regular expression of its path under the folder, without shard
            number and extension, in lower case.
        several: A part may be many files (one in each subset's folder).

    Raises:
        MissingDataError: If there is no such folder.
        DataError: If a part is missing or occurs twice.
    """
    if not folder.is_dir():
        raise MissingDataError(
            f"{folder}: no such folder; it must hold {_list_parts(parts)} as {FORMATS}"
        )
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    by_part = {
        part: tuple(path for path in paths if _is_part(path.relative_to(folder), pattern))
        for part, pattern in parts.items()
    }
    missing = {part: parts[part] for part, files in by_part.items() if not files}
    if missing:
        raise DataError(f"{folder} lacks {_list_parts(missing)}; put the file there as {FORMATS}")
    for part, files in by_part.items() if not several else ():
        if len(files) > 1 and not all(re.search(r"-\d+-of-\d+\.", path.name) for path in files):
            raise DataError(
                f"{folder}: {part} occurs more than once "
                f"({', '.join(path.name for path in files)}); keep one copy"
            )
    return by_part


def read_parts(
    folder: Path,
    parts: Mapping[str, str],
    bad: BadRows,
    *,
    columns: Sequence[str] | None = None,
    several: bool = False,
) -> Iterator[Row]:
    """Yields the rows of all parts (see `find_parts`, `read_rows`); `Row.part` is the part's name.

    Raises:
        DataError: If a part is missing or cannot be read.
    """
    for part, paths in find_parts(folder, parts, several=several).items():
        for path in paths:
            for row in read_rows(path, bad, columns=columns):
                yield replace(row, part=part)


def read_rows(path: Path, bad: BadRows, *, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Returns the rows of a file, in order, as they are read.

    Args:
        path: A JSON, JSON lines, CSV or parquet file, gzipped or not.
        bad: Where unreadable rows are reported.
        columns: Names of a CSV file's columns where the file has no header.

    Raises:
        DataError: If the file cannot be read, or a row cannot and rows may not be skipped.
    """
    match path.suffixes[-2] if path.suffix == ".gz" else path.suffix:
        case ".parquet":
            return _parquet_rows(path)
        case ".jsonl":
            return _json_lines(path, bad)
        case ".json":
            return _json_rows(path, bad)
        case ".csv":
            return _csv_rows(path, bad, columns)
    raise DataError(f"{path}: unknown kind of file; use {FORMATS}")


def load_json(path: Path) -> Any:
    """Returns the value of a JSON file, gzipped or not.

    Raises:
        DataError: If it cannot be read or is not JSON.
    """
    with _open(path) as stream:
        value = _parse_file(path, stream.read())
    if fault := fault_in(value):
        raise DataError(f"{path}: {fault}; mend it")
    return value


def _is_part(relative: Path, pattern: str) -> bool:
    return (
        re.fullmatch(rf"(.*/)?({pattern}){_SHARD}{_EXTENSION}", relative.as_posix().lower())
        is not None
    )


def _list_parts(parts: Iterable[str]) -> str:
    return ", ".join(parts)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Opens a file after its byte order mark, if it has one; faults are `DataError`s."""
    try:
        with path.open("rb") as file:
            stream = (
                cast(BinaryIO, gzip.open(file))  # noqa: SIM115
                if path.suffix == ".gz"
                else file
            )
            with stream:
                if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                    stream.seek(0)
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is cut short or broken; fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _parse_file(path: Path, content: bytes) -> Any:
    try:
        return parse_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}; mend it") from error


def _json_lines(path: Path, bad: BadRows) -> Iterator[Row]:
    with _open(path) as stream:
        for number, line in enumerate(stream, start=1):
            where = f"{path}, line {number}"
            try:
                text = line.decode("utf-8")
                if text.strip():
                    yield _checked_row(parse_json(text), where)
            except UnicodeDecodeError as error:
                bad.report(
                    DataError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8")
                )
            except json.JSONDecodeError as error:
                bad.report(DataError(f"{where}: not JSON: {error.msg}; mend or remove the line"))
            except DataError as error:
                bad.report(error)


def _json_rows(path: Path, bad: BadRows) -> Iterator[Row]:
    with _open(path) as stream:
        content = stream.read()
    if not content.lstrip().startswith(b"["):
        # Many files named .json hold one object a line.
        yield from _json_lines(path, bad)
        return
    for number, value in enumerate(_parse_file(path, content), start=1):
        where = f"{path}, row {number}"
        try:
            yield _checked_row(value, where)
        except DataError as error:
            bad.report(error)


def _csv_rows(path: Path, bad: BadRows, columns: Sequence[str] | None) -> Iterator[Row]:
    with _open(path) as stream:
        reader = csv.DictReader(_text_lines(path, stream), fieldnames=columns, strict=True)
        try:
            header = list(reader.fieldnames or ())
            if repeated := next((name for name in header if header.count(name) > 1), None):
                raise DataError(f"{path}, line 1: the column {repeated!r} occurs twice; rename one")
            if len(header) == 1:
                raise DataError(
                    f"{path}, line 1: {header[0]!r:.80} is a single column; separate the columns "
                    "by commas"
                )
            for values in reader:
                where = f"{path}, line {reader.line_num}"
                if None in values or None in values.values():
                    bad.report(DataError(f"{where}: not the {len(header)} columns expected"))
                else:
                    yield Row(where=where, values=values)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: not CSV: {error}; mend it") from error


def _text_lines(path: Path, stream: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            # Not skippable: a CSV row may run over several lines.
            raise DataError(
                f"{path}, line {number}: not UTF-8 ({error.reason}); save it as UTF-8"
            ) from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    # Imported here: a study of generated or JSON data must not pay for pyarrow's import.
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with _open(path) as stream:
        try:
            for batch in pq.ParquetFile(stream).iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(where=f"{path}, row {number}", values=values)
        except pa.ArrowException as error:
            raise DataError(f"{path}: not a parquet file: {error}; fetch it again") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, after row {number}: not UTF-8 ({error.reason}); write it again"
            ) from error


def _checked_row(value: Any, where: str) -> Row:
    if fault := fault_in(value):
        raise DataError(f"{where}: {fault}; mend or remove the row")
    if not isinstance(value, dict):
        raise DataError(f"{where}: a row must be an object with named fields, got {value!r:.60}")
    return Row(where=where, values=value)
