"""Parses JSON of data sets, and finds faults that Python's parser accepts or fails on."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting; data sets have a handful, and Python's reader fails near a thousand."""

_MAX_DIGITS = 308
"""Digits of an integer that always fits a 64-bit float."""

_SURROGATE = re.compile("[\ud800-\udfff]")

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class _RepeatedKey(dict[str, Any]):
    """An object that has a key twice."""

    key = ""


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text; an integer beyond a 64-bit float is infinite, as 1e999 is.

    Raises:
        json.JSONDecodeError: If it is not JSON or nests too deeply.
    """

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) == len(pairs):
            return values
        keys = [key for key, _ in pairs]
        repeated = _RepeatedKey(values)
        repeated.key = next(key for key in keys if keys.count(key) > 1)
        return repeated

    try:
        return json.loads(text, parse_int=_integer, object_pairs_hook=as_object)
    except RecursionError:
        message = f"nested more than {MAX_DEPTH} levels deep"
        raise json.JSONDecodeError(message, text, _where_too_deep(text)) from None


def fault_in(value: Any, *, depth: int = 0) -> str | None:
    """Returns the first fault of a parsed value that JSON allows and a data set may not have."""
    if isinstance(value, str):
        surrogate = _SURROGATE.search(value)
        return (
            None if surrogate is None else f"a lone surrogate, {surrogate[0]!a}, in {value!a:.60}"
        )
    if depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} levels deep"
    if isinstance(value, _RepeatedKey):
        return f"the key {value.key!a:.60} occurs twice"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return None
    faults = (fault_in(element, depth=depth + 1) for element in inner)
    return next((fault for fault in faults if fault is not None), None)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _where_too_deep(text: str) -> int:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            return match.start()
    return 0
