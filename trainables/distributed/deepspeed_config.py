"""DeepSpeed's configuration, and its import."""

from __future__ import annotations

import logging
import os
from typing import Any

NEVER = 10**9
"""Steps between two progress lines of DeepSpeed."""


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
    """Imports DeepSpeed without its log, so that it needs no compiler on a CPU."""
    if not on_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    if not on_gpu:
        # DeepSpeed would compile its own all-reduce for minutes. Gloo's needs no compiler.
        deepspeed.ops.__compatible_ops__ = {}
