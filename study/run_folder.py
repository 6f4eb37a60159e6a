"""A study's folder as commands take it: `runs/micro`, `s3://bucket/runs/micro`."""

from __future__ import annotations

from trainables.addresses import fault_of, is_local, split_options
from trainables.storage import Storage, open_storage


def open_run(run: str) -> tuple[Storage, str]:
    """Splits a study's folder into the run folder and the study's name.

    Options of a bucket (`s3://bucket/runs/micro?region=...`) go with the run folder.

    Raises:
        ValueError: If it is no folder inside another one, or cannot be opened.
    """
    fault = None if is_local(run) else fault_of(run)
    if fault is not None:
        raise ValueError(fault)
    folder, mark, options = split_options(run)
    root, _, space = folder.rstrip("/").rpartition("/")
    if root.endswith(":/"):
        raise ValueError(f"RUN is the folder of a study inside a run folder, got {run!r}")
    if not space or space in (".", ".."):
        raise ValueError(f"RUN is the folder of a study, such as runs/micro, got {run!r}")
    return open_storage(f"{root or '.'}{mark}{options}"), space
