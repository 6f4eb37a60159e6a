"""LLMBar: 419 pairs with an objectively better response, natural or made to mislead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trainables.data.items import Item
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.fetch import RemoteFile, fetched
from trainables.data.loading.files import Row, find_parts, read_parts, read_rows
from trainables.data.loading.preference_pairs import Pair, pair_item
from trainables.data.loading.task_spec import (
    Loaded,
    Request,
    TaskSpec,
    text_field,
    usable,
    without_repeats,
    wrong_columns,
)
from trainables.errors import DataError

_URL = (
    "https://raw.githubusercontent.com/princeton-nlp/LLMBar/"
    "900616bff90b6c6c8e1681f7d079250637c55992/Dataset/LLMBar"
)
_BLOBS = {
    "Natural": "618394ab1ddef21e7cbba6b9a8fe99b6dbe7f505",
    "Adversarial/Neighbor": "ea8b9d619bf4d784154006396bb2237a570f78dc",
    "Adversarial/GPTInst": "d5bed053596e492cc82efec7ca4dcb51da8d9178",
    "Adversarial/GPTOut": "73036e5cce7098195def4b1b55a43a2f14178e53",
    "Adversarial/Manual": "519fe616b1c0e1179beea86837bc6eff43cab979",
}
FILES = {
    subset: RemoteFile(
        url=f"{_URL}/{subset}/dataset.json",
        digest=f"git:{blob}",
        name=f"llmbar-{subset.replace('/', '-').lower()}.json",
    )
    for subset, blob in _BLOBS.items()
}

ACCEPTS = (
    "DIR/llmbar/llmbar.jsonl (subset, input, output_1, output_2, label; also .json, .csv, "
    ".parquet, .gz) or DIR/llmbar/LLMBar/{Natural,Adversarial/*}/dataset.json"
)


def load(request: Request) -> Loaded:
    """Returns the pairs of the five subsets; `adversarial` is 0 for Natural, else 1.

    Raises:
        DataError: If a file is missing or broken.
    """
    rows, source = _fetched_rows(request), _URL
    if request.data_root is not None:
        rows, source = _local_rows(request), str(request.data_root / "llmbar")
    items, notes = without_repeats(usable(rows, parse_row, request.bad, unique=False))
    return Loaded(items=items, source=source, notes=notes)


def parse_row(row: Row) -> Item:
    """Returns the item of a row.

    Raises:
        DataError: If a field is missing or wrong.
    """
    subset = str(row.values.get("subset") or row.part).removeprefix("LLMBar/")
    if subset not in _BLOBS:
        raise DataError(f"{row.where}: subset {subset!r} is none of {', '.join(_BLOBS)}")
    outputs = [text_field(row, name, may_be_empty=True) for name in ("output_1", "output_2")]
    label: Any = row.values.get("label")
    if str(label) not in ("1", "2"):
        raise wrong_columns(row, "label", "1 or 2")
    pair = Pair(
        prompt=text_field(row, "input"),
        chosen=outputs[int(label) - 1],
        rejected=outputs[2 - int(label)],
        topic=subset,
        hardness={"adversarial": float(subset != "Natural")},
    )
    return pair_item(pair, row.where)


def _local_rows(request: Request) -> Iterator[Row]:
    assert request.data_root is not None
    folder = request.data_root / "llmbar"
    one_file = {"llmbar": "llmbar"}
    try:
        find_parts(folder, one_file)
    except DataError as error:
        per_subset = {subset: f"{subset.lower()}/dataset" for subset in _BLOBS}
        try:
            find_parts(folder, per_subset)
        except DataError:
            # A folder that is not there is data that is not here: the kind of error is kept.
            raise type(error)(f"{error} (put {ACCEPTS})") from error
        return read_parts(folder, per_subset, request.bad)
    return read_parts(folder, one_file, request.bad)


def _fetched_rows(request: Request) -> Iterator[Row]:
    for subset, file in FILES.items():
        path = fetched(file, f"put {ACCEPTS} and pass --data-root DIR")
        for row in read_rows(path, request.bad):
            yield replace(row, part=subset)


TASK = TaskSpec(
    name="llmbar",
    title="419 instruction-following pairs, natural and adversarial",
    licence="MIT",
    accepts=ACCEPTS,
    load=load,
    cuts={"adversarial": {"subsets": fixed_cut({"easy": (0, 0), "hard": (1, 1)})}},
)
