"""Values: frozen models, their canonical encoding and the hash that is their identity."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

_AS_IT_IS = frozenset({str, int, bool, type(None)})
"""Types whose values are plain already; a plan of 100,000 cells encodes millions of them."""


def _without_guessing(schema: Any, *, inside: bool) -> Any:
    """Returns a schema that refuses booleans and texts for numbers, and all but booleans for them.

    Nor is a set, whose order changes from run to run, a tuple.

    Args:
        schema: A core schema or a part of one.
        inside: Whether it is part of a model, so that the models in it are done already.
    """
    if isinstance(schema, list):
        return [_without_guessing(part, inside=inside) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind == "model" and inside:
        return schema
    if kind in ("int", "float"):
        return core_schema.no_info_before_validator_function(_a_number, schema)
    if kind == "bool":
        return {**schema, "strict": True}
    is_inside = inside or kind == "model"
    schema = {
        # A key of a JSON object is a text, also where it stands for a number.
        key: part if key == "keys_schema" else _without_guessing(part, inside=is_inside)
        for key, part in schema.items()
    }
    is_tuple = kind == "tuple"
    return core_schema.no_info_before_validator_function(_in_order, schema) if is_tuple else schema


def _in_order(given: object) -> object:
    if isinstance(given, str | FrozenModel):
        raise ValueError("a tuple is wanted: one element needs a comma behind it, as in (x,)")
    if isinstance(given, set | frozenset):
        raise ValueError("a tuple is wanted: a set has no order")
    return given


def _a_number(given: object) -> object:
    if isinstance(given, bool | str | bytes):
        raise PydanticCustomError("no_number", "must be a number")
    return given


class FrozenModel(BaseModel):
    """Base of everything a space is made of: frozen, keyword-only, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Returns the schema with every number and truth value of the model's own taken as given.

        Pydantic alone reads True as 1, "5" as 5 and "yes" as True.
        """
        schema = handler(source)
        definition: dict[str, Any] = handler.resolve_ref_schema(schema)  # type: ignore[assignment]
        definition.update(_without_guessing(definition, inside=False))
        return schema


def without_unset(value: FrozenModel) -> dict[str, Any]:
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
        elif isinstance(part, FrozenModel):
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
