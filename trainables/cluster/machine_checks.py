"""Checks of the environment that need torch, bitsandbytes, DeepSpeed or Ray.

Each check imports these itself, so a missing or broken package fails that check alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

NF4_TOLERANCE = 0.35
"""Largest relative error of a product with 4-bit weights of a normal distribution. The rounding
alone gives about 0.1; a kernel that does not work gives 1 or more."""

DEEP_TIMEOUT_S = 400.0
"""For one deep check, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    status: Literal["ok", "warning", "problem"]
    text: str
    advice: str = ""
    """What to do; empty if there is nothing to do."""


def run_check(check: Callable[[], Check]) -> Check:
    """Returns the result of a check; an exception is a problem."""
    try:
        return check()
    except Exception as error:  # a broken package raises anything
        return Check(
            "problem",
            f"the check failed: {type(error).__name__}: {error}",
            "install the environment again (`make` in a fresh checkout)",
        )


def machine_checks(*, is_deep: bool) -> Mapping[str, Callable[[], Check]]:
    """Returns the checks of this module by name.

    Args:
        is_deep: Also train a step with DeepSpeed without a GPU, and start a local Ray.
    """
    checks: dict[str, Callable[[], Check]] = {
        "GPUs": check_gpus,
        "NF4": check_nf4,
        "DeepSpeed": partial(check_deepspeed, is_deep=is_deep),
    }
    return {**checks, "Ray": partial(_in_subprocess, start_ray)} if is_deep else checks


def check_gpus() -> Check:
    """Lists the GPUs that torch sees, or gives torch's own reason why it sees none."""
    import torch

    if torch.cuda.is_available():
        devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        names = [f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices]
        return Check("ok", ", ".join(names))
    try:
        torch.cuda.init()
        reason = "CUDA_VISIBLE_DEVICES hides all GPUs"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
    text = f"torch {torch.__version__} sees none: {reason}"
    if not Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi") is None:
        return Check("warning", text, "enough for the embedded lab; larger models need GPUs")
    advice = "this machine has an NVIDIA driver: install torch's CUDA build"
    if torch.version.cuda is not None:
        advice = (
            f"install an NVIDIA driver for CUDA {torch.version.cuda} (on a cluster: another "
            "image), or torch's build for an older CUDA (cu126 runs on driver 525 or newer)"
        )
    return Check("problem", text, advice)


def check_nf4() -> Check:
    """Runs a 4-bit layer forward and backward, and compares it with the layer in full precision."""
    import torch

    from trainables.models.loading import quiet_bitsandbytes

    quiet_bitsandbytes()
    nn: Any = importlib.import_module("bitsandbytes.nn")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=generator) / 128**0.5
    layer = nn.Linear4bit(128, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.load_state_dict({"weight": weight})
    layer.to(device)  # quantizes
    states = torch.randn(4, 128, generator=generator).to(device).requires_grad_()
    out = layer(states)
    out.sum().backward()
    exact = states.detach() @ weight.to(device).T
    error = float((out.detach() - exact).norm() / exact.norm())
    text = f"4-bit layers on {device} have a relative error of {100 * error:.0f} %"
    if error < NF4_TOLERANCE and states.grad is not None and bool(states.grad.isfinite().all()):
        return Check("ok", text)
    advice = "install a newer bitsandbytes, or use quantization none"
    return Check("problem", text, advice)


def check_deepspeed(*, is_deep: bool) -> Check:
    """Trains a step with DeepSpeed.

    Args:
        is_deep: Also on a machine without GPUs.
    """
    import torch

    if is_deep or torch.cuda.is_available():
        return _in_subprocess(train_with_deepspeed)
    return Check("ok", f"DeepSpeed {version('deepspeed')} is installed", "`--deep` tries it")


def train_with_deepspeed() -> str:
    """Trains one step with ZeRO-2 in this process; returns a summary."""
    import torch
    import torch.distributed as dist

    from search_spaces.recipes import FullFineTuning
    from trainables.distributed.zero import Zero

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1
    )
    model: Any = torch.nn.Linear(8, 8).to(device)
    before = model.weight.detach().clone()
    with Zero(stage=2)(model, list(model.parameters()), FullFineTuning(n_train=1)) as engine:
        engine.backward(model(torch.ones(1, 8, device=device)).sum(), is_last=True)
        engine.step(0.1)
    if torch.equal(before, model.weight.detach()):
        raise RuntimeError("a step of ZeRO-2 changed no weight")
    return f"DeepSpeed {version('deepspeed')} trained a step of ZeRO-2 on {device}"


def start_ray() -> str:
    """Starts a local Ray, runs a task and stops it; returns a summary."""
    import ray

    def answer() -> int:
        return 42

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        if ray.get(ray.remote(answer).remote()) != answer():
            raise RuntimeError("a task returned a wrong result")
    finally:
        ray.shutdown()
    return f"Ray {ray.__version__} ran a task"


def _in_subprocess(function: Callable[[], str]) -> Check:
    """Runs a function of this module in a subprocess, so that it does not affect this process.

    The last line of the process's output is the summary, or the last line of its error.
    """
    code = f"from {__name__} import {function.__name__} as f; print('\\n' + f(), flush=1)"
    command = [sys.executable, "-c", code]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=DEEP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Check("problem", f"no result within {DEEP_TIMEOUT_S:.0f} s", "try an idle machine")
    lines = (process.stderr if process.returncode else process.stdout).strip().splitlines()
    text = lines[-1] if lines else f"exit status {process.returncode}"
    if process.returncode == 0:
        return Check("ok", text)
    return Check("problem", text, f'`{sys.executable} -c "{code}"` prints the whole error')
