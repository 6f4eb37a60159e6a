"""Values: frozen models, their canonical encoding and the hash that is their identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

_PLAIN_TYPES = frozenset({str, int, bool, type(None)})
"""Types that need no encoding; a plan of 100,000 cells encodes millions of such values."""


def _without_guessing(schema: Any, *, inside: bool) -> Any:
    """Returns a schema without pydantic's type conversions.

    Booleans and texts are no numbers, only booleans are booleans, and a set, whose order changes
    from run to run, is no tuple.

    Args:
        schema: A core schema or a part of one.
        inside: Whether it is part of a model, so that nested models are done already.
    """
    if isinstance(schema, list):
        return [_without_guessing(inner, inside=inside) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if (kind == "model" and inside) or _is_wrapped(schema):
        return schema
    if kind in ("int", "float"):
        return core_schema.no_info_before_validator_function(_a_number, schema)
    if kind == "bool":
        return {**schema, "strict": True}
    is_inside = inside or kind == "model"
    schema = {
        # Keys of a JSON object are texts, even where they represent numbers.
        key: inner if key == "keys_schema" else _without_guessing(inner, inside=is_inside)
        for key, inner in schema.items()
    }
    is_tuple = kind == "tuple"
    return core_schema.no_info_before_validator_function(_in_order, schema) if is_tuple else schema


def _is_wrapped(schema: Mapping[str, Any]) -> bool:
    """Whether a schema has its check: pydantic builds a model's schema again for each user."""
    return schema.get("type") == "function-before" and schema["function"]["function"] in (
        _a_number,
        _in_order,
    )


def _in_order(given: object) -> object:
    if isinstance(given, str | FrozenModel):
        raise ValueError("expected a tuple: a single element needs a comma behind it, as in (x,)")
    if isinstance(given, set | frozenset):
        raise ValueError("expected a tuple: a set has no order")
    return given


def _a_number(given: object) -> object:
    if isinstance(given, bool | str | bytes):
        raise PydanticCustomError("no_number", "must be a number")
    return given


class FrozenModel(BaseModel):
    """Base of all values of a space: frozen, keyword-only, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Returns the schema of the model without type conversions.

        By default pydantic reads True as 1, "5" as 5 and "yes" as True.
        """
        schema = handler(source)
        definition: dict[str, Any] = handler.resolve_ref_schema(schema)  # type: ignore[assignment]
        definition.update(_without_guessing(definition, inside=False))
        return schema


def without_unset(value: FrozenModel) -> dict[str, Any]:
    """Returns a value as a plain mapping, without unset fields: those that are None by default.

    A value therefore keeps its encoding when its class gets a new optional field.
    """
    plain: dict[str, Any] = {}
    for name, field in type(value).model_fields.items():
        inner = getattr(value, name)
        if inner is None and field.default is None:
            continue
        if type(inner) in _PLAIN_TYPES or isinstance(inner, float):
            plain[name] = inner
        elif isinstance(inner, FrozenModel):
            plain[name] = without_unset(inner)
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
            numbers, booleans and None.
        ValueError: If a number is not finite.
    """
    return _ENCODER.encode(_plain(value))


def digest(value: Any, *, length: int = 64) -> str:
    """Returns the first `length` hex digits of the SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, str | int):  # a subclass, such as an enumeration
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [element if type(element) is str else _plain(element) for element in value]
    if isinstance(value, dict):
        plain = {}
        for key, element in value.items():
            if not isinstance(key, str):
                raise TypeError(f"an identity hashes mappings with text keys only, got {key!r}")
            plain[key] = element if type(element) in _PLAIN_TYPES else _plain(element)
        return plain
    raise TypeError(f"an identity hashes plain values only, got {type(value).__name__}: {value!r}")
