"""Out of memory: the cell is run again from its start in smaller batches, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.recipes import LinearProbe, LoRA, ZeroShot
from tests.support.small_cells import FAST, POOL, TEST, inputs_of, load
from trainables.cells.run import CellInputs, run_cell
from trainables.inference.hidden_state_files import StateFiles
from trainables.inference.hidden_states import StateCache
from trainables.methods.training.gradient_checkpointing import needs_checkpointing
from trainables.models.loading import Base
from trainables.models.oom import (
    CONTEXT_BYTES,
    CPU_MESSAGE,
    find_executable_batch_size,
    is_out_of_memory,
    limit_gpu_memory,
)
from trainables.storage.filesystem import open_storage

CPU = torch.device("cpu")
DROPPING = FAST.model_copy(update={"dropout": 0.2})
FULL_CPU = RuntimeError(f"[enforce fail at alloc_cpu.cpp:117] err == 0. {CPU_MESSAGE}: 9 bytes.")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(tmp_path_factory.mktemp("base"))


class Memory:
    """Lets the model take so many tokens at a time, and counts how often it was too many."""

    def __init__(self, base: Base, error: Exception, tokens: int, least: int = 0) -> None:
        self.error, self.tokens, self.least, self.failures = error, tokens, least, 0
        embeddings = base.model.get_input_embeddings()
        self.handle = embeddings.register_forward_pre_hook(self.look)

    def look(self, module: Any, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].numel() > self.tokens:
            self.failures += 1
            raise self.error


def inputs_for(recipe: LoRA | ZeroShot) -> tuple[CellInputs, list[Mapping[str, float]]]:
    rows: list[Mapping[str, float]] = []
    labelled = POOL[:12] if isinstance(recipe, LoRA) else ()
    inputs = inputs_of(recipe, labelled, POOL, log=rows.append)
    return replace(inputs, restart=rows.clear), rows


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), FULL_CPU])
@pytest.mark.parametrize("recipe", [FAST, ZeroShot()], ids=["training", "scoring"])
def test_the_cell_is_run_again_in_smaller_batches(
    base: Base, recipe: LoRA | ZeroShot, error: Exception
) -> None:
    inputs, rows = inputs_for(recipe)
    usual = run_cell(inputs, base)
    curve = list(rows)
    rows.clear()
    memory = Memory(base, error, tokens=300)
    try:
        result = run_cell(inputs, base)
    finally:
        memory.handle.remove()
    assert memory.failures == 2
    assert result.execution == {"class": "B", "token_share": 0.25}
    assert result.notes == (
        "memory ran out: run again with batches of 0.25 of the usual tokens (class B)",
    )
    assert usual.execution == {} and usual.notes == ()
    pairs = zip(result.answers.log_probs or [], usual.answers.log_probs or [], strict=True)
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, atol=1e-3)
    assert [row["step"] for row in rows] == [row["step"] for row in curve]
    np.testing.assert_allclose([r["loss"] for r in rows], [r["loss"] for r in curve], rtol=1e-4)


def test_the_second_try_begins_with_the_same_seeds(base: Base) -> None:
    inputs, rows = inputs_for(DROPPING)
    with_share = replace(
        inputs.context, execution=replace(inputs.context.execution, token_share=0.25)
    )
    expected = run_cell(replace(inputs, context=with_share), base)
    curve = list(rows)
    rows.clear()
    memory = Memory(base, torch.OutOfMemoryError("full"), tokens=300)
    try:
        result = run_cell(inputs, base)
    finally:
        memory.handle.remove()
    assert rows == curve
    for got, wanted in zip(
        result.answers.log_probs or [], expected.answers.log_probs or [], strict=True
    ):
        assert got.tobytes() == wanted.tobytes()


def test_what_no_batch_is_small_enough_for_fails_and_leaves_the_base(base: Base) -> None:
    inputs, _ = inputs_for(FAST)
    modules = [type(module) for module in base.model.modules()]
    memory = Memory(base, torch.OutOfMemoryError("CUDA out of memory."), tokens=0)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            run_cell(inputs, base)
    finally:
        memory.handle.remove()
    assert memory.failures == 7  # 1, 1/2, ... 1/64
    assert [type(module) for module in base.model.modules()] == modules


PROBE = LinearProbe(n_train=20)


def shared_inputs(recipe: LinearProbe | ZeroShot, states: StateCache) -> CellInputs:
    """Returns a cell's inputs as a worker makes them: its states are all cells'."""
    labelled = POOL[:20] if isinstance(recipe, LinearProbe) else ()
    inputs = inputs_of(recipe, labelled, TEST, states=states)
    layers = ("middle", "last")
    return replace(inputs, context=replace(inputs.context, test=TEST, probe_layers=layers))


def bytes_of(inputs: CellInputs, base: Base) -> bytes:
    return np.concatenate(run_cell(inputs, base).answers.log_probs or []).tobytes()


@pytest.mark.parametrize("recipe", [PROBE, ZeroShot()], ids=["probe", "zero-shot"])
def test_the_states_that_cells_share_are_extracted_in_smaller_batches(
    base: Base, recipe: LinearProbe | ZeroShot
) -> None:
    usual = run_cell(shared_inputs(recipe, StateCache()), base)
    memory = Memory(base, torch.OutOfMemoryError("CUDA out of memory."), tokens=300)
    try:
        result = run_cell(shared_inputs(recipe, StateCache()), base)
    finally:
        memory.handle.remove()
    assert memory.failures > 0
    assert result.execution["class"] == "B" and result.execution["token_share"] < 1
    assert "memory ran out" in result.notes[-1]
    pairs = zip(result.answers.log_probs or [], usual.answers.log_probs or [], strict=True)
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("recipe", [PROBE, ZeroShot()], ids=["probe", "zero-shot"])
def test_what_smaller_batches_gave_is_no_other_cells(
    base: Base, tmp_path: Path, recipe: LinearProbe | ZeroShot
) -> None:
    expected = bytes_of(shared_inputs(recipe, StateCache()), base)
    states = StateCache(files=StateFiles(storage=open_storage(str(tmp_path))))
    inputs = shared_inputs(recipe, states)
    # So small a share that the rounding differs.
    execution = replace(inputs.context.execution, token_share=1 / 64)
    halved = replace(inputs.context, execution=execution)
    smaller = bytes_of(replace(inputs, context=halved), base)
    assert smaller != expected
    assert not list(tmp_path.rglob("*.safetensors"))
    assert bytes_of(inputs, base) == expected
    assert list(tmp_path.rglob("*.safetensors"))
    # Nor the other way: the smaller batches' cell takes nothing of the usual ones.
    later = StateCache(files=StateFiles(storage=open_storage(str(tmp_path))))
    other = replace(inputs, context=replace(halved, states=later))
    assert bytes_of(other, base) == smaller


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported"),
        RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cublasLt ran into an error!\n\tshapeA=torch.Size([8192, 8192])"),
        MemoryError(),
        FULL_CPU,
    ],
)
def test_memory_that_ran_out_is_known_by_every_ones_words(error: Exception) -> None:
    shares: list[float] = []

    def work(share: float) -> str:
        shares.append(share)
        if share > 0.25:
            raise error
        return "done"

    assert find_executable_batch_size(work, 1.0, CPU) == ("done", 0.25)
    assert shares == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`"),
        ValueError("CUDA error: out of memory"),
    ],
)
def test_other_faults_of_a_gpu_are_no_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_other_errors_are_raised_at_once(base: Base) -> None:
    shares: list[float] = []

    def work(share: float) -> None:
        shares.append(share)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        find_executable_batch_size(work, 1.0, CPU)
    assert shares == [1.0]
    assert not is_out_of_memory(ValueError(CPU_MESSAGE))


def test_a_worker_that_shares_a_gpu_keeps_to_its_fraction_of_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[float] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 16 * CONTEXT_BYTES))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    for gpus in (0, 1, 2, 0.5, 0.01):
        limit_gpu_memory(gpus)
    assert limits == [0.5 - 1 / 16, 0.0], "whole GPUs have no limit; CUDA's context is outside"


def test_states_are_kept_within_the_fraction_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    total = SimpleNamespace(total_memory=1e12)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: total)
    config = SimpleNamespace(hidden_size=4096, num_hidden_layers=32)
    model = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: config),
        dtype=torch.bfloat16,
        get_memory_footprint=lambda: 10e9,
    )
    base: Any = SimpleNamespace(device=torch.device("cuda"), model=model)
    for fraction, expected in ((1.0, False), (0.05, True)):
        monkeypatch.setattr(
            torch.cuda, "get_per_process_memory_fraction", lambda device, is_=fraction: is_
        )
        assert needs_checkpointing(base, 8192) == expected
