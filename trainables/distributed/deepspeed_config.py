"""DeepSpeed's configuration, and whether DeepSpeed can run on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

NEVER = 10**9
"""Steps between two progress lines of DeepSpeed."""

BUILT = "deepspeed_shm_comm"
"""The extension that DeepSpeed compiles on a CPU."""

LONGEST_BUILD_S = 900.0
"""An older lock belongs to a build that was killed; torch would wait for it forever."""


def zero_config(
    stage: int, *, offload: bool, on_gpu: bool, max_grad_norm: float = 0.0, dtype: str = "float32"
) -> dict[str, Any]:
    """Returns DeepSpeed's configuration of one training, or of a sharded base.

    The optimizer is torch's AdamW in fp32, as on one worker. The caller makes the micro-batches.

    Args:
        stage: 1 shards the optimizer's state, 2 also the gradients, 3 also the weights.
        offload: Whether shards are kept in CPU memory.
        on_gpu: Whether the weights are used on a GPU.
        max_grad_norm: Largest norm of a gradient; 0: no limit.
        dtype: The number format of a sharded base. By default DeepSpeed would cast its shards.
    """
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": on_gpu,
        # Passes without gradients would not handle a parameter that DeepSpeed keeps whole.
        "stage3_param_persistence_threshold": 0,
        # DeepSpeed's linear layer would replace torch's in the whole process.
        "memory_efficient_linear": False,
    }
    if offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
    formats = {"bfloat16": "bf16", "float16": "fp16"}
    return {
        **({formats[dtype]: {"enabled": True}} if dtype in formats else {}),
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "steps_per_print": NEVER,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }


def prepare_process(*, on_gpu: bool) -> None:
    """Sets the environment that DeepSpeed reads on import, and silences its log."""
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    if shutil.which("ninja") is None and importlib.util.find_spec("ninja") is not None:
        import ninja  # its command may be missing from the PATH

        os.environ["PATH"] = f"{ninja.BIN_DIR}{os.pathsep}{os.environ.get('PATH', '')}"
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    for folder in build_folders():
        _drop_dead_lock(folder / "lock")


def build_folders() -> list[Path]:
    """Returns torch's folders of DeepSpeed's compiled extension; they need not exist."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    if given:
        return [Path(given) / BUILT]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"
    python = f"py{sys.version_info.major}{sys.version_info.minor}_*"
    return [folder / BUILT for folder in cache.glob(python)]


def _drop_dead_lock(lock: Path) -> None:
    try:
        if time.time() - lock.stat().st_mtime > LONGEST_BUILD_S:
            lock.unlink()
    except FileNotFoundError:
        return  # no build is running


def find_deepspeed_fault(*, on_gpu: bool) -> str | None:
    """Returns why DeepSpeed cannot run on this machine, and what to do; None if it can.

    On CPUs, its first use compiles its communication in 100 to 200 s; the result is kept in
    `~/.cache/torch_extensions`.
    """
    if importlib.util.find_spec("deepspeed") is None:
        return "deepspeed is not installed: pip install deepspeed"
    if on_gpu:
        return None
    if shutil.which("g++") is None:
        return "DeepSpeed needs a C++ compiler on a CPU: install g++"
    if shutil.which("ninja") is None and importlib.util.find_spec("ninja") is None:
        return "DeepSpeed needs ninja to build on a CPU: pip install ninja"
    return None
