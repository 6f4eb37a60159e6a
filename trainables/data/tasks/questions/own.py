"""A user's own questions: files, data sets of the Hub, and functions of the user's file.

A table without a column map has `id`, `question`, `choices` (a list of texts) and `answer` (an
index from 0, or the text of a choice; in CSV, one kind for all rows); `group`, `topic` and
`reasoning` are optional, and every other column is a hardness measure: a number, or a text whose
order is in `NAME.measures.json` next to the file, as in `{"difficulty": ["low", "medium",
"high"]}`. A column map (`search_spaces.data_source.Columns`) names the columns of any other table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from search_spaces.data_source import FILE_KINDS, FUNCTION, HUB, Ordered, kind_of
from trainables.data.loading.columns import read_items
from trainables.data.loading.files import load_json, read_rows
from trainables.data.loading.function import items_function
from trainables.data.loading.hub import COMMIT, HubSource, hub_rows, pinned
from trainables.data.loading.task_spec import Loaded, Request, TaskSpec
from trainables.errors import DataError

ACCEPTS = {
    "jsonl": "DIR/jsonl/NAME.jsonl or .json, also .gz (task jsonl:NAME)",
    "csv": "DIR/csv/NAME.csv, also .gz (task csv:NAME)",
    "parquet": "DIR/parquet/NAME.parquet (task parquet:NAME)",
    HUB: (
        "a data set of the Hub, or its copy in DIR/hub/OWNER/NAME (task hub:OWNER/NAME or "
        "hub:OWNER/NAME:CONFIG)"
    ),
    FUNCTION: (
        "a function of your file that returns a datasets.Dataset or a pandas frame (task "
        "my_study.py:items)"
    ),
}
"""Kind of a task -> where its rows are."""

EXTENSIONS = {"jsonl": "jsonl|json"}
"""Kind of a file -> its extensions; otherwise the kind."""

HUB_TASK = re.compile(r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(:(?P<config>[^:]+))?")


def load_file(request: Request) -> Loaded:
    """Returns the items of a file.

    Raises:
        DataError: If there is no such file, or it cannot be read.
    """
    kind = kind_of(request.name)
    accepts = f"{ACCEPTS[kind]}, and NAME.measures.json for ordered texts"
    if request.data_root is None:
        raise DataError(
            f"task {request.name} is your own data, and --data-root is missing: pass --data-root "
            f"DIR with {accepts}"
        )
    path = _find(request.data_root / kind, request.name, accepts)
    items, notes = read_items(
        read_rows(path, request.bad),
        request.source.columns,
        request.bad,
        is_text=kind == "csv",
        orders=_orders(path),
    )
    return Loaded(items=items, source=str(path), notes=notes)


def load_hub(request: Request) -> Loaded:
    """Returns the items of a data set of the Hub, or of its local copy where there is one.

    Raises:
        MissingDataError: If there is neither a copy nor a network.
        DataError: If the name is none, or the data set cannot be read.
    """
    parts = HUB_TASK.fullmatch(request.name)
    if parts is None or ".." in request.name:
        raise DataError(
            f"task {request.name!r}: a data set of the Hub is named hub:OWNER/NAME or "
            "hub:OWNER/NAME:CONFIG"
        )
    name, config = parts["name"], parts["config"]
    folder = None if request.data_root is None else request.data_root / HUB / name
    source = HubSource(
        name=name,
        revision=request.source.revision,
        config=config,
        splits=request.source.splits,
        folder=folder if folder is not None and folder.is_dir() else None,
    )
    source = pinned(source)
    instead = (
        f"put a copy into DIR/hub/{name} (`hf download {name} --repo-type dataset --local-dir "
        f"DIR/hub/{name}` on a machine that has one) and pass --data-root DIR"
    )
    rows = hub_rows(source, instead)
    items, notes = read_items(rows, request.source.columns, request.bad)
    revision = request.source.revision
    if source.folder is not None and revision is not None:
        notes += (
            f"The local copy in DIR/hub/{name} was read; whether it is of revision "
            f"{revision!r} was not checked.",
        )
    elif source.folder is None and not COMMIT.fullmatch(revision or ""):
        notes += (
            f"{source.label} is not pinned: later commits may change the items; set "
            f"data=DataSource(revision={source.revision!r}).",
        )
    return Loaded(items=items, source=source.label, notes=notes)


def load_function(request: Request) -> Loaded:
    """Returns the items of the table that a function returns.

    Raises:
        DataError: If the file or the function fails, or it returns no table.
    """
    function = items_function(request.name, request.source)
    items, notes = function.read(request.bad)
    return Loaded(items=items, source=request.name, notes=notes, reload=function)


def _find(folder: Path, task: str, accepts: str) -> Path:
    kind, _, name = task.partition(":")
    extensions = EXTENSIONS.get(kind, kind)
    pattern = rf"{re.escape(name) if name else '.+'}\.({extensions})(\.gz)?"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [
        path for path in paths if re.fullmatch(pattern, path.name) and ".measures." not in path.name
    ]
    if len(matches) == 1:
        return matches[0]
    have = ", ".join(path.name for path in matches) or "none"
    raise DataError(
        f"{folder}: task {task!r} needs one file, there is {have}; put {accepts} and name one of "
        f"several as {kind}:NAME"
    )


def _orders(path: Path) -> tuple[Ordered, ...]:
    sidecar = path.parent / f"{path.name.split('.', 1)[0]}.measures.json"
    if not sidecar.exists():
        return ()
    orders = load_json(sidecar)
    if not isinstance(orders, dict) or not all(
        isinstance(order, list) and len(set(map(str, order))) == len(order) > 1
        for order in orders.values()
    ):
        raise DataError(f'{sidecar}: must be {{"measure": ["easiest", ..., "hardest"]}}')
    return tuple(
        Ordered(column=measure, values=tuple(map(str, order))) for measure, order in orders.items()
    )


def _task(kind: str, load: Callable[[Request], Loaded]) -> TaskSpec:
    return TaskSpec(
        name=kind,
        title="your own questions",
        licence="your own",
        accepts=ACCEPTS[kind],
        load=load,
        is_own_data=True,
    )


TASKS = {
    **{kind: _task(kind, load_file) for kind in FILE_KINDS},
    HUB: replace(_task(HUB, load_hub), licence="on the data set's card"),
    FUNCTION: _task(FUNCTION, load_function),
}
