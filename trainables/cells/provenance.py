"""How a cell was run, for its record: what its bytes depend on beside the cell itself."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from search_spaces.base_models import EngineName
from trainables.storage.process_identity import host_kind

PACKAGES = ("bitsandbytes", "numpy", "peft", "torch", "transformers")
"""Whose versions a record keeps: other versions may sum in another order."""


def execution_facts(
    *,
    quantization: str,
    device: str,
    threads: int,
    engine: EngineName,
    offload: bool,
    workers: int,
) -> dict[str, Any]:
    """Returns the entries of a record's `execution` that are known before the cell begins.

    Args:
        quantization: Of the base model.
        device: That it is on.
        threads: Of torch on the CPU.
        engine: Who holds a training.
        offload: Whether what the engine shares lies in the memory of the CPU.
        workers: That run the cell together.
    """
    # int8 rounds by the batch, and sums over several threads are other sums.
    is_exact = quantization != "int8" and threads == 1
    shared: dict[str, Any] = {}
    if engine != "plain":
        is_exact = False
        shared = {"engine": engine, "offload": offload, "workers": workers}
        shared["deepspeed"] = version("deepspeed")
    return {
        "class": "A" if is_exact else "B",
        "host": host_kind(),
        "device": device,
        "threads": threads,
        "python": platform.python_version(),
        **_versions(),
        **shared,
    }


@cache
def _versions() -> Mapping[str, str]:
    """Returns the packages' versions; each is read from a file, 2 ms a package and cell."""
    return {name: version(name) for name in PACKAGES}
