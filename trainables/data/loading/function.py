"""Rows from a function of the user's own file, on the driver and on the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.data_source import Columns, DataSource
from search_spaces.explain import short
from search_spaces.user_file import blaming, run_file
from trainables.data.items import Item
from trainables.data.loading.columns import read_items
from trainables.data.loading.files import BadRows, Row
from trainables.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemsFunction:
    """A function that returns a table, with the code of its file: a worker may not have the file.

    Calling it returns the usable items, sorted by id.
    """

    task: str
    """`my_study.py:items`."""
    columns: Columns | None
    path: Path
    code: bytes

    def __call__(self) -> tuple[Item, ...]:
        """Calls the function.

        Raises:
            DataError: If the file or the function fails, or it returns no table.
        """
        items, _ = self.read(BadRows(skip=True))
        return tuple(sorted(items, key=lambda item: item.id))

    def read(self, bad: BadRows) -> tuple[list[Item], tuple[str, ...]]:
        """Returns the items in the order of the table, and notes.

        Raises:
            DataError: If the file or the function fails, or it returns no table.
        """
        return read_items(self._rows(), self.columns, bad)

    def _rows(self) -> Iterator[Row]:
        try:
            module = run_file(self.task, self.path, self.code)
            name = self.task.rpartition(":")[2]
            function = getattr(module, name, None)
            if not callable(function):
                raise ValueError(f"{self.task}: {str(self.path)!r} has no function {name!r}")
            with blaming(self.task, "calling the function"):
                table = function()
            with blaming(self.task, "reading its result"):
                rows = _rows_of(table)
        except ValueError as error:
            raise DataError(str(error)) from error
        for number, values in enumerate(rows, start=1):
            yield Row(where=f"{self.task}, row {number}", values=values)


def items_function(task: str, source: DataSource) -> ItemsFunction:
    """Returns the function that a task names, read from its file but not called.

    Args:
        task: `my_study.py:items`.
        source: Its folder holds the file; None: the working directory.

    Raises:
        DataError: If there is no such file.
    """
    path = Path(source.folder or ".", task.rpartition(":")[0]).absolute()
    if not path.is_file():
        raise DataError(
            f"task {task!r}: no file {str(path)!r}; put it next to the space's file, or name its "
            "folder: data=DataSource(folder=...)"
        )
    return ItemsFunction(task=task, columns=source.columns, path=path, code=path.read_bytes())


def _rows_of(table: Any) -> list[dict[str, Any]]:
    """Returns the rows of a `datasets.Dataset` or a pandas frame; a missing value is None."""
    kinds = [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(table).__mro__]
    rows: list[dict[str, Any]]
    if "pandas.DataFrame" in kinds:
        import pyarrow as pa

        rows = pa.Table.from_pandas(table, preserve_index=False).to_pylist()
    elif "datasets.Dataset" in kinds:
        rows = table.to_list()
    elif "datasets.DatasetDict" in kinds:
        raise TypeError("it returned a DatasetDict; return one table, such as its 'train' split")
    else:
        raise TypeError(f"it returned {short(table)}; return a datasets.Dataset or a pandas frame")
    return rows
