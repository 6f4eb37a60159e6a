"""Which planned cells have ended, by what the run folder holds."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.cells.planned import PlannedCell
from trainables.storage import layout
from trainables.storage.filesystem import Storage
from trainables.storage.records import (
    InvalidRecordError,
    Record,
    read_file,
    read_record,
    read_scores,
)


def check_record(storage: Storage, planned: PlannedCell) -> Record:
    """Returns the record of a finished cell whose files are all there and its own.

    Raises:
        FileNotFoundError: If the cell has none, or none with the state that its children need (it
            finished in a study in which it was no parent).
        InvalidRecordError: If something is not what it should be.
    """
    record = read_record(storage, planned.id)
    read_scores(storage, planned.id, record, columns=[])
    for name in record.files:
        read_file(storage, record, name)
    if planned.is_parent and layout.trained(planned.id) not in record.files:
        raise FileNotFoundError(layout.trained(planned.id))
    return record


def cells_without_outcome(storage: Storage, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
    """Returns the cells with neither a record nor a failure, by one listing of the run folder."""
    kept = storage.keys(layout.CELLS)
    return [
        cell
        for cell in cells
        if layout.record(cell.id) not in kept and layout.failure(cell.id) not in kept
    ]


def is_finished(storage: Storage, planned: PlannedCell) -> bool:
    """Says whether the cell has a valid record; an invalid one counts as none."""
    try:
        check_record(storage, planned)
    except (FileNotFoundError, InvalidRecordError):
        return False
    return True
