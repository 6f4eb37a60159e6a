"""Checks of the environment that need torch, bitsandbytes, DeepSpeed or Ray.

Nothing of these is imported before its check runs: what is missing or broken is a finding of one
check, not the end of all.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trainables.cluster.cuda_driver import OLDEST_DRIVER, installed_driver, major

Status = Literal["ok", "warning", "problem"]

NF4_TOLERANCE = 0.35
"""Largest relative error of a product with 4-bit weights of a normal distribution. The rounding
alone gives about 0.1; a kernel that does not work gives 1 or more."""

DEEP_TIMEOUT_S = 400.0
"""For one deep check: DeepSpeed's first build takes 100 to 200 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one check found."""

    name: str
    status: Status
    text: str
    """What is there."""
    advice: str = ""
    """What to do; empty where nothing is."""


def run_check(name: str, check: Callable[[], Check]) -> Check:
    """Returns what a check found; one that fails is a problem with its error."""
    try:
        return check()
    except Exception as error:  # a broken package raises anything
        return Check(
            name=name,
            status="problem",
            text=f"the check failed: {type(error).__name__}: {error}",
            advice="install the environment again (`make` in a fresh checkout)",
        )


def model_checks(*, is_deep: bool) -> Iterator[tuple[str, Callable[[], Check]]]:
    """Yields the checks of this module, each with its name.

    Args:
        is_deep: Also what takes minutes: a step with DeepSpeed where it has to be compiled first,
            a Ray that starts.
    """
    if installed_driver() is not None:
        yield "NVIDIA driver", check_driver
    yield "GPUs", check_gpus
    yield "NF4", check_nf4
    yield "DeepSpeed", lambda: check_deepspeed(is_deep=is_deep)
    if is_deep:
        yield "Ray starts", lambda: _in_own_process("Ray starts", "start_ray")


def check_driver() -> Check:
    """Compares the NVIDIA driver with what the installed torch needs."""
    import torch

    installed, cuda = installed_driver() or "none", torch.version.cuda
    oldest = OLDEST_DRIVER.get(major(cuda) or 0) if cuda else None
    if oldest is None:
        target = f"CUDA {cuda}" if cuda else "CPUs"
        text = f"{installed}; torch {torch.__version__} is built for {target}"
        return Check(name="NVIDIA driver", status="ok", text=text)
    text = f"{installed}; torch {torch.__version__} is built for CUDA {cuda}: {oldest} or newer"
    if (major(installed) or 0) >= oldest:
        return Check(name="NVIDIA driver", status="ok", text=text)
    # Libraries of NVIDIA's forward compatibility can make up for an old driver.
    return Check(
        name="NVIDIA driver",
        status="warning" if torch.cuda.is_available() else "problem",
        text=text,
        advice=f"install the driver {oldest} or newer (on a cluster: another "
        "image), or the build of torch for an older CUDA: cu126 runs on 525 or newer",
    )


def check_gpus() -> Check:
    """Says which GPUs torch sees."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        devices = [torch.cuda.get_device_properties(index) for index in range(count)]
        text = ", ".join(f"{d.name} ({d.total_memory / 2**30:.0f} GiB)" for d in devices)
        return Check(name="GPUs", status="ok", text=text)
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        return Check(
            name="GPUs",
            status="problem",
            text=f"this machine has an NVIDIA driver, but torch {torch.__version__} sees no GPU",
            advice="install the CUDA build of torch; where it is, look at the driver, at "
            "`nvidia-smi` and at CUDA_VISIBLE_DEVICES",
        )
    return Check(
        name="GPUs",
        status="warning",
        text=f"none; torch {torch.__version__} runs on the CPU",
        advice="enough for the embedded lab; larger bases need GPUs",
    )


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
    gradient = states.grad
    if gradient is None or not bool(gradient.isfinite().all()) or not error < NF4_TOLERANCE:
        return Check(
            name="NF4",
            status="problem",
            text=f"a 4-bit layer on {device} is off by {100 * error:.0f} %",
            advice="install the bitsandbytes of constraints.txt, or use quantization none",
        )
    return Check(
        name="NF4", status="ok", text=f"runs on {device}, rounding error {100 * error:.0f} %"
    )


def check_deepspeed(*, is_deep: bool) -> Check:
    """Trains a step with DeepSpeed, or says why not: what its engine would say, and what it takes.

    Args:
        is_deep: Also where DeepSpeed has to be compiled first, which takes minutes.
    """
    from importlib.metadata import version

    import torch

    from trainables.distributed.deepspeed_config import find_deepspeed_fault

    if importlib.util.find_spec("deepspeed") is None:
        return Check(
            name="DeepSpeed",
            status="warning",
            text="not installed",
            advice="only spaces that ask for a ZeRO engine need it: `pip install --constraint "
            "constraints.txt deepspeed`",
        )
    found, on_gpu = version("deepspeed"), torch.cuda.is_available()
    fault = find_deepspeed_fault(on_gpu=on_gpu)
    if fault is not None:
        text, _, advice = fault.partition(": ")
        return Check(
            name="DeepSpeed",
            status="problem",
            text=f"{found}, but {text}",
            advice=f"{advice}, on every node (only spaces that ask for a ZeRO engine need it)",
        )
    if not (is_deep or on_gpu or _is_deepspeed_built()):
        text = f"{found}, not tried: its first use compiles for 100 to 200 s"
        return Check(name="DeepSpeed", status="ok", text=text, advice="`--deep` tries it")
    tried = _in_own_process("DeepSpeed", "train_with_deepspeed")
    return replace(tried, text=f"{found}: {tried.text}")


def _is_deepspeed_built() -> bool:
    """Says whether what DeepSpeed compiles on a CPU lies where torch keeps such things.

    A recipe that is newer than the result was written for another compiler or torch.
    """
    from trainables.distributed.deepspeed_config import BUILT, build_folders

    for folder in build_folders():
        recipe, result = folder / "build.ninja", folder / f"{BUILT}.so"
        if recipe.is_file() and result.is_file():
            return result.stat().st_mtime >= recipe.stat().st_mtime
    return False


def train_with_deepspeed() -> str:
    """Trains one step with the engine of ZeRO-2 in this process; returns what was done."""
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
    return f"a step of ZeRO-2 on {device}"


def start_ray() -> str:
    """Starts a local Ray, runs a task and stops it; returns what was done."""
    import ray

    def answer() -> int:
        return 42

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        if ray.get(ray.remote(answer).remote()) != answer():
            raise RuntimeError("a task gave a wrong answer")
    finally:
        ray.shutdown()
    return f"a task ran on Ray {ray.__version__}"


def _in_own_process(name: str, function: str) -> Check:
    """Runs a function of this module where it cannot leave anything behind in this process."""
    code = (
        f"from trainables.cluster.machine_checks import {function}; "
        f"print('done: ' + {function}(), flush=1)"
    )
    try:
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEEP_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        text = f"no end within {DEEP_TIMEOUT_S:.0f} s"
        return Check(name=name, status="problem", text=text, advice="try again on an idle machine")
    done = [line for line in process.stdout.splitlines() if line.startswith("done: ")]
    if process.returncode == 0 and done:
        return Check(name=name, status="ok", text=done[-1].removeprefix("done: "))
    said = process.stderr.strip().splitlines() or ["(nothing said)"]
    return Check(
        name=name,
        status="problem",
        text=f"exit status {process.returncode}: {said[-1]}",
        advice=f'see `python -c "import trainables.cluster.machine_checks as d; d.{function}()"`',
    )
