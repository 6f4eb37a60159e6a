"""Wording of messages: validation errors without pydantic's terms, counts, near misses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from search_spaces.frozen import FrozenModel

NUM_FAULTS = 3
"""Faults that a message lists; further ones are counted."""

_MAX_CHARS = 60
"""Longest quotation of a value or of a user's message."""

_RULES: Mapping[str, str] = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number of at most 1.8e308",
    "finite_number": "must be a finite number",
    "bool_type": "must be True or False",
    "string_type": "must be a text",
    "string_too_short": "may not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} element",
    "tuple_type": "must be a tuple, as in (x, y) or (x,)",
    "frozen_instance": "cannot be changed: make another with model_copy(update=...)",
}
"""Pydantic's name of a fault -> the broken rule."""

_MAPPINGS = (dict, Mapping)

_HIDDEN_VALUE = frozenset({"missing", "extra_forbidden"})


def explain(error: ValidationError) -> str:
    """Returns what is wrong with a value in one line: which field, which rule, which value."""
    faults = list(_faults(error))
    shown = "; ".join(faults[:NUM_FAULTS])
    return shown + (f"; and {len(faults) - NUM_FAULTS} more" if len(faults) > NUM_FAULTS else "")


def short(value: object) -> str:
    """Returns a value for a message: one line, not too long."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, FrozenModel):
        return f"{type(value).__name__}(...)"
    try:
        text = repr(value)
    except Exception:  # an integer of more than 4,300 digits, or an object with a broken __repr__
        text = f"a value of type {type(value).__name__}"
    return one_line(text, _MAX_CHARS)


def one_line(text: str, max_chars: int) -> str:
    """Returns a text on one line, shortened to the limit."""
    line = " ".join(text.split())
    return line if len(line) <= max_chars else f"{line[: max_chars - 3]}..."


def count(number_of: float, noun: str, plural: str = "") -> str:
    """Returns a number with its noun: `1 point`, `2 points`.

    Args:
        number_of: How many there are.
        noun: For one of them.
        plural: For several; empty: the noun with an s.
    """
    return f"{number_of:,.15g} {noun if number_of == 1 else plural or f'{noun}s'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'arc'?)` after an unknown name; empty if no known name is close.

    Args:
        name: What the user gave.
        known: What would have been right.
    """
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=2)
    names = " or ".join(repr(by_lower[each]) for each in near)
    return f" (did you mean {names}?)" if names else ""


def _faults(error: ValidationError) -> Iterator[str]:
    root = next((kind for kind in _kinds(FrozenModel) if kind.__name__ == error.title), None)
    rules: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    # An unknown field comes first: it is probably misspelt, and the cause of the other faults.
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    for finding in findings:
        if _follows_from_another(finding, findings):
            continue
        place, kinds = _place(error.title, root, finding)
        rule = _rule(finding, kinds)
        if rule not in rules.setdefault(place, []):
            rules[place].append(rule)
        is_whole = (
            isinstance(finding["input"], dict | FrozenModel) and finding["type"] == "value_error"
        )
        if finding["type"] not in _HIDDEN_VALUE and not is_whole:
            given[place] = f" (got {short(finding['input'])})"
    for place, broken in rules.items():
        yield f"{place}: {', or '.join(broken)}{given.get(place, '')}"


def _follows_from_another(finding: ErrorDetails, findings: Sequence[ErrorDetails]) -> bool:
    """Returns whether a tuple is too short only because its elements are invalid."""
    at = finding["loc"]
    return finding["type"] == "too_short" and any(
        len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in findings
    )


def _place(
    title: str, root: type[FrozenModel] | None, finding: ErrorDetails
) -> tuple[str, list[type[FrozenModel]]]:
    """Returns the path of a fault as the user writes it, and the classes allowed there.

    Pydantic's path also names the members of a union that it tried: those are left out.
    """
    place, kinds = title, [] if root is None else [root]
    is_mapping = root is None
    for key in finding["loc"]:
        fields = [kind.model_fields[str(key)] for kind in kinds if key in kind.model_fields]
        if isinstance(key, int):
            place += f"[{key}]"
        elif fields:
            place += f".{key}"
            kinds = [kind for field in fields for kind in _named(field.annotation)]
            is_mapping = any(get_origin(field.annotation) in _MAPPINGS for field in fields)
        elif is_mapping:
            place += f".{key}"
        else:
            kinds = [kind for kind in kinds if _method(kind) == key] or kinds
    if finding["type"] == "extra_forbidden" and root is not None:
        place += f".{finding['loc'][-1]}"
    return place, kinds


def _rule(finding: ErrorDetails, kinds: Sequence[type[FrozenModel]]) -> str:
    match finding["type"]:
        case "union_tag_invalid" | "union_tag_not_found" if isinstance(finding["input"], dict):
            return "method must be " + " or ".join(repr(_method(kind)) for kind in kinds)
        case "union_tag_invalid" | "union_tag_not_found" | "model_type" | "model_attributes_type":
            return "must be " + " or ".join(f"{kind.__name__}(...)" for kind in kinds)
        case "extra_forbidden":
            return f"there is no such field{_nearest(str(finding['loc'][-1]), kinds)}"
        case "value_error":
            return finding["msg"].removeprefix("Value error, ")
        case kind if kind in _RULES:
            return _RULES[kind].format(**finding.get("ctx", {}))
    return finding["msg"]


def _nearest(name: str, kinds: Sequence[type[FrozenModel]]) -> str:
    fields = [field for kind in kinds for field in kind.model_fields]
    return did_you_mean(name, fields) or f"; the fields are {', '.join(fields)}"


def _named(annotation: Any) -> list[type[FrozenModel]]:
    """Returns the model classes that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, FrozenModel):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in _named(argument)]


def _method(kind: type[FrozenModel]) -> object:
    field = kind.model_fields.get("method")
    return None if field is None else field.default


def _kinds(kind: type[FrozenModel]) -> Iterator[type[FrozenModel]]:
    for child in kind.__subclasses__():
        yield child
        yield from _kinds(child)
