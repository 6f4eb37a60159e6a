"""Identity: what is in a cell's id, what is not, and that it survives the round trip."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.cell import Cell, cell_id, decode_cell, encode_cell
from search_spaces.frozen import FrozenModel, canonical_json, digest
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    QLoRA,
    Reasoning,
    ZeroShot,
)
from search_spaces.supervision import Labels, SelfTraining

ROUND = {
    "self_training": SelfTraining(),
    "round": 1,
    "unlabelled_hash": "u0",
    "parent": "0123",
    "round_version": 1,
}


def make_cell(**changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "model": "files:abc",
        "dtype": "float32",
        "task": "micro",
        "data_hash": "d0",
        "split_hash": "s0",
        "prompt": "p0",
        "recipe": LoRA(),
        "training_hash": "t0",
        "study_seed": 0,
        "seed": 0,
        "version": 1,
    }
    return Cell(**(fields | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "files:abd"},
        {"dtype": "bfloat16"},
        {"task": "arc"},
        {"data_hash": "d1"},
        {"split_hash": "s1"},
        {"prompt": "p1"},
        {"training_hash": "t1"},
        {"study_seed": 1},
        {"seed": 1},
        {"parent": "0123"},
        {"labels": Labels(kind="noise", rate=0.1)},
        {"labels": Labels(kind="random")},
        ROUND,
        {**ROUND, "round": 2},
        {**ROUND, "unlabelled_hash": "u1"},
        {**ROUND, "answer_classes": "texts"},
        {**ROUND, "round_version": 2},
        {**ROUND, "self_training": SelfTraining(threshold=0.9)},
        {"recipe": LoRA(orders="all")},
        {"recipe": LoRA(scoring="pmi")},
        {"recipe": FullFineTuning()},
        {"version": 2},
        {"recipe": LoRA(rank=8)},
        {"recipe": QLoRA()},
        {"recipe": LinearProbe()},
        {"recipe": InContext()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_cell_id_changes_with_everything_that_changes_numbers(change: dict[str, Any]) -> None:
    assert cell_id(make_cell(**change)) != cell_id(make_cell())


@pytest.mark.parametrize(
    "recipe", [LoRA(learning_rate=2e-4), InContext(k=4), LinearProbe(layers=("last",))]
)
def test_cell_id_survives_json(recipe: Any) -> None:
    cell = make_cell(recipe=recipe)
    assert cell_id(decode_cell(json.loads(json.dumps(encode_cell(cell))))) == cell_id(cell)


def test_what_is_none_by_choice_survives_and_what_is_none_by_default_is_not_written() -> None:
    cell = make_cell(**{**ROUND, "self_training": SelfTraining(rule="softmatch", threshold=None)})
    encoded = encode_cell(cell)
    assert encoded["self_training"]["threshold"] is None
    assert "max_unlabelled" not in encoded["self_training"]
    assert "reasoning" not in encoded["recipe"] and "validation_hash" not in encoded
    assert decode_cell(json.loads(json.dumps(encoded))) == cell


def test_cell_ids_of_all_changes_differ() -> None:
    rounds = [ROUND, {**ROUND, "round": 2}, {**ROUND, "parent": "4567"}]
    rounds += [{**ROUND, "self_training": SelfTraining(targets="oracle")}]
    rounds += [{**ROUND, "round_version": 2}, {**ROUND, "answer_classes": "texts"}]
    assert len({cell_id(make_cell(**change)) for change in rounds}) == len(rounds)


def test_only_rounds_have_a_version_of_self_training() -> None:
    with pytest.raises(ValidationError, match="round=0, round_version=1"):
        make_cell(round_version=1)
    assert "round_version" not in encode_cell(make_cell())


def test_a_round_needs_a_parent_a_pool_and_a_version() -> None:
    for missing in ROUND:
        change = {key: value for key, value in ROUND.items() if key != missing}
        with pytest.raises(ValidationError, match="self-training"):
            make_cell(**change)


@pytest.mark.parametrize("change", [{}, ROUND, {"recipe": InContext(reasoning=Reasoning())}])
def test_cell_id_is_the_hash_of_the_encoded_cell(change: dict[str, Any]) -> None:
    cell = make_cell(**change)
    assert cell_id(cell) == digest(encode_cell(cell), length=16)


def test_cell_id_is_pinned_across_versions_of_this_code() -> None:
    """A change of the encoding would orphan every record on disk: it has to be deliberate."""
    assert cell_id(make_cell()) == "7eec51eb6464e1e5"


def test_integral_float_and_int_are_one_value() -> None:
    encoded = encode_cell(make_cell(recipe=LoRA(alpha=32.0)))
    encoded["recipe"]["alpha"] = 32
    encoded["recipe"]["rank"] = 16.0
    assert cell_id(decode_cell(encoded)) == cell_id(make_cell())
    assert canonical_json({"a": 4}) == canonical_json({"a": 4.0})


def test_unknown_keys_are_refused() -> None:
    encoded = encode_cell(make_cell())
    with pytest.raises(ValueError, match="gpus"):
        decode_cell(encoded | {"gpus": 1})
    encoded["recipe"]["micro_batch"] = 4
    with pytest.raises(ValueError, match="micro_batch"):
        decode_cell(encoded)


def test_zero_shot_has_no_draw_and_others_have_one() -> None:
    with pytest.raises(ValueError, match="no training draw"):
        make_cell(recipe=ZeroShot())
    with pytest.raises(ValueError, match="no training draw"):
        make_cell(training_hash=None)
    make_cell(recipe=ZeroShot(), training_hash=None, seed=None)


def test_cells_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_cell().seed = 3  # type: ignore[misc]


def test_digest_refuses_to_guess() -> None:
    with pytest.raises(TypeError, match="set"):
        digest({"a": {1, 2}})
    with pytest.raises(ValueError, match="JSON compliant"):
        digest(float("nan"))


def _checks(schema: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the Python checks around every number of a schema, from the outermost."""
    if isinstance(schema, list):
        for inner in schema:
            yield from _checks(inner)
    elif isinstance(schema, dict):
        if schema.get("type") == "function-before":
            yield from _checks(schema["schema"], above=(*above, schema["function"]["function"]))
        elif schema.get("type") in ("int", "float"):
            yield above
        else:
            yield from _checks(list(schema.values()))


def test_a_number_is_checked_once_however_deep_its_model_is_nested() -> None:
    class Inner(FrozenModel):
        value: float

    class Outer(FrozenModel):
        inner: tuple[Inner, ...]

    class Outermost(FrozenModel):
        outer: Outer | None

    checks = list(_checks(Outermost.__pydantic_core_schema__))
    assert len(checks) == 1 and len(checks[0]) == 1, checks
