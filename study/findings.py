"""What a check of a cluster file found: one wording for all rules."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from search_spaces.values import Value


class Finding(Value):
    """One thing that is not right, or that the reader should know."""

    key: str
    """Where in the file, parts joined by dots."""
    rule: str
    """What has to hold."""
    advice: str
    """What to do."""
    kind: Literal["problem", "note"] = "problem"

    @property
    def text(self) -> str:
        """The finding as it is printed."""
        return f"{self.key}: {self.rule}\n    {self.advice}"


def problem(key: str, rule: str, advice: str) -> Finding:
    """Returns a finding that makes the file unusable."""
    return Finding(key=key, rule=rule, advice=advice)


def note(key: str, rule: str, advice: str) -> Finding:
    """Returns a finding that the reader has to know, and that is no fault of the file."""
    return Finding(key=key, rule=rule, advice=advice, kind="note")


def did_you_mean(word: str, names: Sequence[str]) -> str:
    """Returns advice for a word that is none of the names."""
    last = word.rpartition(".")[2]
    close = difflib.get_close_matches(last, names, n=1)
    return f"did you mean {close[0]}?" if close else f"it may be one of {', '.join(names)}"


def mapping(value: Any) -> Mapping[str, Any]:
    """Returns a mapping, or an empty one where the file holds something else.

    Ray's schema, or the rule that wants the key, says that it is wrong; the other rules go on.
    """
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """Returns a finite number, or None where the file holds something else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of more than 308 digits
        return None
