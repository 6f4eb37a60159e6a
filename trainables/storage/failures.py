"""failure.json: why a cell's last run failed. Deleted once the cell succeeds."""

from __future__ import annotations

from pydantic import ValidationError

from search_spaces.frozen import FrozenModel
from trainables.storage import layout
from trainables.storage.filesystem import Storage, UnreadableError


class Failure(FrozenModel):
    """The content of failure.json."""

    reason: str
    details: str = ""
    seconds: float = 0.0
    """Time of the cell's first worker until it failed; 0 if unknown."""
    gpus: float = 0.0
    """GPUs of all workers of the cell; a fraction if they shared one."""


def write_failure(
    storage: Storage,
    id_: str,
    *,
    reason: str,
    details: str,
    seconds: float = 0.0,
    gpus: float = 0.0,
) -> None:
    """Writes why a cell failed, and the time and GPUs that its run used."""
    failure = Failure(reason=reason, details=details, seconds=seconds, gpus=gpus)
    storage.write_bytes(layout.failure(id_), f"{failure.model_dump_json(indent=1)}\n".encode())


def read_failure(storage: Storage, id_: str) -> str | None:
    """Returns the reason why the cell's last run failed; None if it did not."""
    failure = failure_of(storage, id_)
    return None if failure is None else failure.reason


def failure_of(storage: Storage, id_: str) -> Failure | None:
    """Returns the failure of the cell's last run; None if it did not fail."""
    try:
        content = storage.read_bytes(layout.failure(id_))
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        return Failure(reason=str(error))
    try:
        return Failure.model_validate_json(content)
    except ValidationError:
        return Failure(reason=f"{storage.path(layout.failure(id_))} cannot be read")
