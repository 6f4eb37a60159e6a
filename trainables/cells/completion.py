"""Tells from the run folder which planned cells have ended."""

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
    state_names,
)


def checked_record(storage: Storage, planned: PlannedCell) -> Record | InvalidRecordError | None:
    """Returns a cell's record after checking the hashes of all of its files.

    Returns the fault of a corrupt record; None if there is no record.
    """
    try:
        record = read_record(storage, planned.id)
        read_scores(storage, planned.id, record, columns=[])
        for name in record.files:
            read_file(storage, record, name)
    except FileNotFoundError:
        return None
    except InvalidRecordError as error:
        return error
    return record


def lacks_state(planned: PlannedCell, record: Record) -> bool:
    """Returns whether a finished cell lacks the trained state that its study keeps.

    It finished in a study that kept none, or its record comes from an archive.
    """
    return planned.keeps_state and not state_names(planned.id, record)


def cells_without_outcome(storage: Storage, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
    """Returns the cells with neither a record nor a failure, by one listing of the run folder."""
    keys = storage.keys(layout.CELLS)
    return [
        cell
        for cell in cells
        if layout.record(cell.id) not in keys and layout.failure(cell.id) not in keys
    ]
