"""The address of a study: its folder inside a run folder."""

from __future__ import annotations

from trainables.storage.addresses import fault_of, is_local, split_options
from trainables.storage.filesystem import Storage, open_storage


def open_run(run: str) -> tuple[Storage, str]:
    """Returns the run folder and the name of the study in a study folder.

    The options of a bucket (`s3://bucket/runs/micro?region=...`) belong to the run folder.

    Raises:
        ValueError: If the path does not name a folder inside another one, or cannot be opened.
    """
    fault = None if is_local(run) else fault_of(run)
    if fault is not None:
        raise ValueError(fault)
    folder, mark, options = split_options(run)
    root, _, space = folder.rstrip("/").rpartition("/")
    if root.endswith(":/"):
        raise ValueError(f"RUN must be the folder of a study inside a run folder, got {run!r}")
    if not space or space in (".", ".."):
        raise ValueError(f"RUN must be the folder of a study, such as runs/micro, got {run!r}")
    return open_storage(f"{root or '.'}{mark}{options}"), space
