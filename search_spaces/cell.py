"""Cells: one model + task + method + training draw + recipe + seed, and the id derived from it.

A `Cell` holds exactly what can change its numbers. Names for the reader (condition, level, model
name), paths, devices and workers are fields of the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from search_spaces.explain import explain
from search_spaces.frozen import FrozenModel, canonical_json, digest, without_unset
from search_spaces.recipes import FullFineTuning, LoRA, PolicyDPO, QLoRA, Recipe, ZeroShot
from search_spaces.supervision import Labels, SelfTraining

STEP_VERSIONS: Mapping[str, int] = {
    "zero-shot": 3,
    "in-context": 2,
    "linear probe": 5,
    "lora": 3,
    "qlora": 3,
    "full fine-tuning": 2,
    "dpo": 3,
    "self-training": 3,
    "self-training, noisy validation": 4,
}
"""Version of each step's code: the methods, and the rest of a self-training round. A version is
raised when the same cell would give other numbers. Rounds that calibrate on noisy labels have a
separate version: since 3, validation labels get the same noise as the cell's labels."""

CELL_ID_LENGTH = 16
"""Hex digits of a cell id: 64 bits, so 100,000 cells collide with a probability below 1e-9."""


def step_version(recipe: Recipe, dtype: str) -> int:
    """Returns the version of a method's code for a base in the dtype.

    Training in 16 bits is one version ahead of training in float32, whose numbers did not change:
    since then it steps fp32 master weights, and scales the loss of float16.
    """
    trains_base = isinstance(recipe, FullFineTuning) or (
        isinstance(recipe, PolicyDPO) and recipe.labels != "none"
    )
    is_scaled = isinstance(recipe, LoRA | QLoRA) and dtype == "float16"
    has_masters = trains_base and dtype != "float32"
    return STEP_VERSIONS[recipe.method] + int(is_scaled or has_masters)


class Cell(FrozenModel):
    """The unit of work; its result holds a score for every test item it is scored on."""

    model: str
    """Content of the base model: `files:<sha256>` for a local folder, `hub:<name>@<commit>`."""
    dtype: str
    """Number format of unquantized weights (`float32`, `bfloat16`)."""
    task: str
    data_hash: str
    """Hash of all items of the task (`trainables.data.items.data_hash`)."""
    split_hash: str
    """Hash of the frozen split: which ids are test, which are pool."""
    prompt: str
    """Hash of the prompt's templates."""
    recipe: Recipe
    training_hash: str | None = None
    """Hash of the ids of the labelled items that the cell draws, in their order."""
    labels: Labels = Labels()
    self_training: SelfTraining | None = None
    round: NonNegativeInt = 0
    """Round of self-training; 0: labelled items only."""
    unlabelled_hash: str | None = None
    """Hash of the ids of the unlabelled items, level after level."""
    answer_classes: Literal["texts"] | None = None
    """Of a round: the classes that a class-balanced rule balances. `texts`: the choices' texts,
    shared by all items that any round of the chain may label. None: positions of the choices."""
    round_version: int | None = Field(default=None, ge=1)
    """`STEP_VERSIONS` of self-training when a round was planned; other cells have none."""
    validation_hash: str | None = None
    """Hash of the ids of the labelled items that only calibrate."""
    tested_hash: str | None = None
    """Hash of the ids of the test items that the cell is scored on; None: all of the split."""
    study_seed: int = 0
    seed: int | None = None
    parent: str | None = None
    """Id of the cell whose output this cell starts from."""
    measured_by: str | None = None
    """Hash of the ids of the cells whose answers cut the levels that this cell draws from."""
    version: int = Field(ge=1)
    """`step_version` of the method when the cell was planned."""

    @model_validator(mode="after")
    def _draw_matches_method(self) -> Cell:
        recipe = self.recipe
        is_base = isinstance(recipe, ZeroShot)
        if isinstance(recipe, PolicyDPO):
            is_base = recipe.labels == "none"
            if (recipe.labels == "reward model") != (self.parent is not None):
                raise ValueError(
                    "a policy that a reward model labels for starts from that model's cell, every "
                    f"other one from none; got labels={recipe.labels!r}, parent={self.parent!r}"
                )
        if is_base != (self.training_hash is None) or is_base != (self.seed is None):
            raise ValueError(
                "a zero-shot cell has no training draw and no seed, every other cell has both; got "
                f"method={recipe.method!r}, training_hash={self.training_hash!r}, "
                f"seed={self.seed!r}"
            )
        is_round = self.self_training is not None
        if is_round != (self.round > 0) or is_round != (self.unlabelled_hash is not None):
            raise ValueError(
                "a cell of self-training has a round >= 1 and an unlabelled pool, every other cell "
                f"has neither; got round={self.round}, unlabelled_hash={self.unlabelled_hash!r}"
            )
        if is_round != (self.round_version is not None):
            raise ValueError(
                "a round of self-training has the version of its code, every other cell has none; "
                f"got round={self.round}, round_version={self.round_version}"
            )
        if is_round and self.parent is None:
            raise ValueError("a round of self-training starts from the cell before it: its parent")
        return self


def cell_id(cell: Cell) -> str:
    """Returns the id that is derived from everything in the cell: the hash of `encode_cell`."""
    parts = []
    for name in _FIELDS:
        value = getattr(cell, name)
        if value is not None:  # every field that may be None is None by default
            parts.append(f'"{name}":{_json(value)}')
    return hashlib.sha256(f"{{{','.join(parts)}}}".encode()).hexdigest()[:CELL_ID_LENGTH]


_FIELDS = tuple(sorted(Cell.model_fields))


def _json(value: FrozenModel | str | int) -> str:
    """Returns a field's canonical JSON; ids are made by the hundred thousand."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    return str(value) if isinstance(value, int) else _model_json(value)


@lru_cache(maxsize=4096)
def _model_json(value: FrozenModel) -> str:
    """Encodes a part once for all cells that share it, such as a recipe."""
    return canonical_json(without_unset(value))


def encode_cell(cell: Cell) -> dict[str, Any]:
    """Returns the cell as a plain JSON mapping.

    Unset fields are left out, so that cells keep their ids when a new optional field appears.
    Defaults other than None stay in, so that changing one changes the id.
    """
    return without_unset(cell)


def encoded_id(encoded: Mapping[str, Any]) -> str:
    """Returns the `cell_id` of the cell that `encode_cell` made the mapping from."""
    return digest(encoded, length=CELL_ID_LENGTH)


def decode_cell(encoded: Mapping[str, Any]) -> Cell:
    """Returns the cell that `encode_cell` made the mapping from.

    Raises:
        ValueError: If a key is unknown or missing, or a value has the wrong type.
    """
    try:
        return Cell.model_validate(dict(encoded))
    except ValidationError as error:
        raise ValueError(f"not a cell: {explain(error)}") from error
