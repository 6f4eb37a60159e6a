"""Values: frozen models, their canonical encoding and the hash that is their identity."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

_AS_IT_IS = frozenset({str, int, bool, type(None)})
"""Types whose values are plain already; a plan of 100,000 cells encodes millions of them."""


class Value(BaseModel):
    """Base of everything a space is made of: frozen, keyword-only, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def explain(error: ValidationError) -> str:
    """Returns what pydantic found in one line: where, which rule, which value."""
    findings = []
    for finding in error.errors():
        where = ".".join([error.title, *map(str, finding["loc"])])
        is_whole = isinstance(finding["input"], dict | Value)  # the message says what is wrong
        given = "" if is_whole else f" (got {finding['input']!r})"
        findings.append(f"{where}: {finding['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(findings)


def without_unset(value: Value) -> dict[str, Any]:
    """Returns a value as a plain mapping, without the fields that are None by default and are None.

    So a value keeps its text when its kind learns something new that it does without.
    """
    plain: dict[str, Any] = {}
    for name, field in type(value).model_fields.items():
        part = getattr(value, name)
        if part is None and field.default is None:
            continue
        if type(part) in _AS_IT_IS or isinstance(part, float):
            plain[name] = part
        elif isinstance(part, Value):
            plain[name] = without_unset(part)
        else:
            plain[name] = value.model_dump(mode="json", include={name})[name]
    return plain


_ENCODER = json.JSONEncoder(
    sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":")
)


def canonical_json(value: Any) -> str:
    """Returns the one JSON text of a plain value; `4` and `4.0` give the same text.

    Raises:
        TypeError: If the value holds anything but mappings with text keys, sequences, text,
            numbers, booleans and None: an identity refuses to guess.
        ValueError: If a number is not finite.
    """
    return _ENCODER.encode(_plain(value))


def digest(value: Any, *, length: int = 64) -> str:
    """Returns the first `length` hex digits of the SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def _plain(value: Any) -> Any:
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, str | int):  # a kind of text or number of its own
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [element if type(element) is str else _plain(element) for element in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(element) for key, element in value.items()}
    raise TypeError(
        f"an identity is made of plain values only, got {type(value).__name__}: {value!r}"
    )
