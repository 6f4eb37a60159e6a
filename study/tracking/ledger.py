"""What a W&B run has been sent, kept in the run folder: a later command repeats none of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from trainables.storage import layout
from trainables.storage.filesystem import Storage

_ENDS = TypeAdapter(dict[str, Annotated[int, Field(ge=0)]])


class RunLedger:
    """The entries of a run in the order of its history, each with the number of rows at its end.

    An entry is written before its rows are logged, so that a process that dies in between leaves
    an entry without rows, which W&B's own row count reveals, and not rows without an entry.
    """

    def __init__(self, storage: Storage, space: str, run_id: str) -> None:
        self._storage = storage
        self._key = layout.wandb_ledger(space, run_id)
        self._ends = _read(storage, self._key)

    def __contains__(self, entry: str) -> bool:
        return entry in self._ends

    @property
    def entries(self) -> tuple[str, ...]:
        """All entries, in the order of their rows."""
        return tuple(self._ends)

    @property
    def num_rows(self) -> int:
        """Rows of the run's history."""
        return max(self._ends.values(), default=0)

    def add(self, entry: str, end: int) -> None:
        """Notes an entry whose rows end at this number of rows; an older one of its name goes."""
        self._ends.pop(entry, None)
        self._ends[entry] = end
        self._storage.write_bytes(self._key, _ENDS.dump_json(self._ends, indent=1))

    def drop_lost(self, num_arrived: int) -> dict[str, int]:
        """Drops the entries of which W&B lacks rows; returns them, each with its first row.

        Args:
            num_arrived: Rows that the run has in W&B.
        """
        lost, start = {}, 0
        for entry, end in self._ends.items():
            if end > num_arrived:
                lost[entry] = start
            start = end
        for entry in lost:
            del self._ends[entry]
        return lost


def _read(storage: Storage, key: str) -> dict[str, int]:
    try:
        return _ENDS.validate_json(storage.read_bytes(key))
    except FileNotFoundError:
        return {}
    except ValidationError:
        # The run's row count in W&B still tells what arrived; offline, the cells are logged again.
        return {}
