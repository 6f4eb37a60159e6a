"""Findings of the linter, and safe access to the untyped values of a YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule, or a note for the reader; prints as `key: text`."""

    key: str
    """Path in the file, joined by dots; `(file)` for the whole file."""
    text: str
    """The rule and the remedy."""
    is_note: bool = False
    """A note does not make the file unusable."""


def parts_at(content: Any, path: str) -> Iterator[Mapping[str, Any]]:
    """Yields the mappings at a dotted path; a list on the way stands for each of its elements.

    Values of any other shape are skipped, so a rule reports the key as missing.
    """
    nodes = [content]
    for key in path.split("."):
        values = [node[key] for node in nodes if isinstance(node, Mapping) and key in node]
        nodes = [e for value in values for e in (value if isinstance(value, list) else [value])]
    yield from (node for node in nodes if isinstance(node, Mapping))


def part_at(content: Any, path: str) -> Mapping[str, Any]:
    """Returns the first mapping at a dotted path; an empty one if the path does not exist."""
    return next(parts_at(content, path), {})


def number(value: Any) -> float | None:
    """Returns a finite number; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 2**63 else None
