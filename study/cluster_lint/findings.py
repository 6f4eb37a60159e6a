"""Findings of the linter, and safe access to the untyped values of a YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule, or a note for the reader; prints as `key: text`."""

    key: str
    """Place in the file, parts joined by dots; `(file)` for the file as a whole."""
    text: str
    """The rule and the remedy."""
    is_note: bool = False
    """A note does not make the file unusable."""


def parts_at(content: Any, path: str) -> Iterator[Mapping[str, Any]]:
    """Yields the mappings at a dotted path; a list on the way stands for each of its elements.

    Values of any other shape are skipped, so a rule reports the key as missing.
    """
    parts = [content]
    for key in path.split("."):
        values = [part[key] for part in parts if isinstance(part, Mapping) and key in part]
        parts = [e for value in values for e in (value if isinstance(value, list) else [value])]
    yield from (part for part in parts if isinstance(part, Mapping))


def part_at(content: Any, path: str) -> Mapping[str, Any]:
    """Returns the first mapping at a dotted path; an empty one if there is none."""
    return next(parts_at(content, path), {})


def number(value: Any) -> float | None:
    """Returns a finite number; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 2**63 else None
