"""The human hardness annotations of ARC: fetched once, or local; checked by content either way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.frozen import digest
from trainables.data.loading.fetch import RemoteFile, fetched
from trainables.data.loading.files import BadRows, find_parts, load_json, read_rows
from trainables.errors import DataError

URL = (
    "https://raw.githubusercontent.com/allenai/easy-to-hard-generalization/"
    "ad8358e42904da169e8a3e3f70b64290d739b37a/data/arc-challenge-easy-annotations.json"
)
FILE = RemoteFile(
    url=URL,
    digest="sha256:eee0a3ef77cbc6a68c5be9501433ffe304b4dbf0119ec4752d7a7da92eeff1f7",
    name="arc-challenge-easy-annotations.json",
)
"""695,933 bytes; its lines end in CR LF."""

CONTENT_HASH = "2a7d553619b035d94231f842f2ad2a5d638080b0d5f3d33185172cfb79b8441f"
"""`content_hash` of the annotations, whatever file they come from."""

FIELDS = ("grade", "bloom", "depth_of_knowledge", "difficulty")

COUNTS: Mapping[str, Mapping[str, int]] = {
    "grade": {
        "Grade 03": 194,
        "Grade 04": 277,
        "Grade 05": 963,
        "Grade 06": 263,
        "Grade 07": 792,
        "Grade 08": 2032,
        "Biology": 408,
        "Earth and Space Sciences": 191,
    },
    "bloom": {
        "Remembering": 1180,
        "Understanding": 1417,
        "Applying": 1453,
        "Analyzing": 836,
        "Evaluating": 234,
    },
    "depth_of_knowledge": {"I": 2593, "II": 2289, "III": 238},
    "difficulty": {"Low": 1118, "Medium": 3324, "High": 678},
}
"""Counts of the 5,120 annotations, in the order from easy to hard."""

SCALES: Mapping[str, Mapping[str, float]] = {
    "grade": {name: float(name[-2:]) for name in COUNTS["grade"] if name.startswith("Grade")},
    **{
        field: {name: float(rank) for rank, name in enumerate(COUNTS[field], start=1)}
        for field in ("bloom", "depth_of_knowledge", "difficulty")
    },
}
"""Field -> label -> value. The two subject names in `grade` have none: the paper drops them."""

Annotations = Mapping[str, Mapping[str, str]]
"""`ARCEZ_` or `ARCCH_` + question id -> field -> label."""


def local_annotations(folder: Path) -> Annotations:
    """Returns the annotations from a task folder (JSON object by key, or one row a line).

    Raises:
        DataError: If there is no such file or its content is not the known one.
    """
    parts = {"annotations": r"annotations|arc-challenge-easy-annotations"}
    path = find_parts(folder, parts)["annotations"][0]
    return _read(path)


def fetched_annotations() -> Annotations:
    """Returns the annotations from the paper's repository; fetched once, then from the cache.

    Raises:
        DataError: If they cannot be fetched or are not the known file.
    """
    return _read(fetched(FILE, _INSTEAD))


def content_hash(annotations: Annotations) -> str:
    """Returns the hash of the annotations, independent of file format and order."""
    return digest({key: {name: row[name] for name in FIELDS} for key, row in annotations.items()})


def hardness(annotation: Mapping[str, str]) -> dict[str, float]:
    """Returns measure -> value; a label without a place on its scale has none."""
    return {
        field: scale[annotation[field]]
        for field, scale in SCALES.items()
        if annotation[field] in scale
    }


def _read(path: Path) -> Annotations:
    is_lines = ".jsonl" in path.suffixes or path.suffix in {".csv", ".parquet"}
    rows: Any
    if is_lines:
        found = [row.values for row in read_rows(path, BadRows(skip=False))]
        rows = {str(values.get("key")): values for values in found}
        if len(rows) < len(found):
            raise DataError(f"{path}: a key occurs twice; {_REMEDY}")
    else:
        rows = load_json(path)
    return _checked(rows, path)


def _checked(rows: Any, path: Path) -> Annotations:
    if not isinstance(rows, dict) or not all(
        isinstance(row, dict) and all(isinstance(row.get(name), str) for name in FIELDS)
        for row in rows.values()
    ):
        raise DataError(f"{path}: not key -> {{{', '.join(FIELDS)}}}; {_REMEDY}")
    if len(rows) != 5120:
        raise DataError(f"{path}: {len(rows)} annotations, not 5120; {_REMEDY}")
    for name, expected in COUNTS.items():
        counts = Counter(row[name] for row in rows.values())
        if counts != expected:
            raise DataError(f"{path}: {name} counts are {dict(counts)}, not {expected}; {_REMEDY}")
    if content_hash(rows) != CONTENT_HASH:
        raise DataError(f"{path}: the counts are right, the content is not; {_REMEDY}")
    return rows


_REMEDY = f"use the unchanged file {URL}"
_INSTEAD = (
    "put that file and the ARC files into DIR/arc (as annotations.json) and pass --data-root DIR"
)
