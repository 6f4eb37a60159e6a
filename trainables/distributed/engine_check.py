"""Which recipes an engine can run: the reasons against a pair of both."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.base_models import Footprint
from search_spaces.recipes import AdapterTraining, FullFineTuning, Recipe


def engine_faults(footprint: Footprint, dtype: str, recipe: Recipe) -> Iterator[str]:
    """Yields why an engine cannot reproduce the numbers of one worker, or cannot run.

    Args:
        footprint: Names the engine.
        dtype: Of the base model's unquantized weights.
        recipe: What it would run.
    """
    if footprint.engine == "plain":
        return
    if recipe.quantization == "int8":
        yield (
            "is int8: LLM.int8 rounding depends on the whole batch, so workers that share a batch "
            "train another model than one worker; use nf4 with zero-1 or zero-2, or none"
        )
    if recipe.quantization == "nf4" and footprint.engine == "zero-3":
        yield (
            "is nf4: ZeRO-3 cannot shard the 4-bit weights of bitsandbytes; use zero-2 (every "
            "worker holds the whole 4-bit base), or quantization none"
        )
    if isinstance(recipe, AdapterTraining) and recipe.dropout > 0 and footprint.workers != 1:
        yield (
            "has dropout: several workers draw different masks than one, so the same cell would "
            "have other numbers; set dropout 0 or workers 1"
        )
    if (
        isinstance(recipe, AdapterTraining)
        and recipe.head == "scalar"
        and footprint.engine == "zero-3"
    ):
        yield (
            "has a scalar head, which is outside the model, where ZeRO-3 gathers no weights; use "
            "zero-2"
        )
    if isinstance(recipe, FullFineTuning) and dtype in ("bfloat16", "float16"):
        yield (
            f"trains weights in {dtype}: only a single worker steps float32 master weights; "
            "use dtype float32, or engine plain"
        )
