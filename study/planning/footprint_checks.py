"""Footprints and dtypes that cannot work are refused before anything runs, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.recipes import AdapterTraining, FullFineTuning, TrainedRecipe
from search_spaces.space import Space


def check_footprints(space: Space) -> None:
    """Checks that every base model's engine can run every recipe of the space.

    Raises:
        ValueError: Naming the model, the recipe's method and why the two do not go together.
    """
    for model in space.models:
        footprint = space.footprint_of(model)
        if space.policy is not None and footprint.engine != "plain":
            raise ValueError(
                f"model {model.name!r} has a footprint with engine {footprint.engine}, and the "
                "space trains policies, whose texts are sampled and whose DPO steps one worker "
                "makes; use engine plain, or leave out the policy"
            )
        if space.policy is not None and model.dtype == "float16":
            raise ValueError(
                f"model {model.name!r} has dtype float16, and the space trains policies, whose few "
                "updates float16's loss scale would skip in part; use dtype bfloat16 or float32"
            )
        for axis in space.tasks:
            for recipe in space.recipes(axis):
                for fault in _faults(footprint, model, recipe):
                    raise ValueError(
                        f"model {model.name!r} has a footprint with engine {footprint.engine}, and "
                        f"the space's {recipe.method} {fault}"
                    )


def _faults(footprint: Footprint, model: BaseModelRef, recipe: TrainedRecipe) -> Iterator[str]:
    """Yields why the engine cannot give the numbers that one worker gives, or cannot run at all."""
    if footprint.engine == "plain":
        return
    if recipe.quantization == "int8":
        yield (
            "is int8: LLM.int8 rounds by what else is in the batch, so workers that share a batch "
            "train another model than one worker does; use nf4 with zero-1 or zero-2, or none"
        )
    if recipe.quantization == "nf4" and footprint.engine == "zero-3":
        yield (
            "is nf4: bitsandbytes' 4-bit weights cannot be cut into ZeRO-3's pieces; use zero-2 "
            "(every worker holds the 4-bit base whole), or quantization none"
        )
    if isinstance(recipe, AdapterTraining) and recipe.dropout > 0 and footprint.workers != 1:
        yield (
            "has dropout: several workers draw other masks than one, and the same cell would have "
            "other numbers; set dropout 0 or workers 1"
        )
    if (
        isinstance(recipe, AdapterTraining)
        and recipe.head == "scalar"
        and footprint.engine == "zero-3"
    ):
        yield (
            "has a scalar head, which stands beside the model, where ZeRO-3 gathers no weights; "
            "use zero-2"
        )
    if isinstance(recipe, FullFineTuning) and model.dtype in ("bfloat16", "float16"):
        yield (
            f"trains weights in {model.dtype}: their float32 masters are stepped by one worker "
            "only; use dtype float32, or engine plain"
        )
