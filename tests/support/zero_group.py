"""One worker of a group that trains together, for test_zero.py.

All scenarios run in one process a worker, because DeepSpeed takes seconds to import.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from search_spaces.base_models import EngineName
from search_spaces.cell import STEP_VERSIONS, Cell
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    QLoRA,
    Reasoning,
    ZeroShot,
)
from search_spaces.supervision import SelfTraining
from tests.support.tiny_models import make_items
from trainables.cells.run import CellInputs, run_cell
from trainables.data.prompts.formats import get_prompt
from trainables.data.seeding import ids_hash
from trainables.distributed.select import choose_engine, load_for_engine
from trainables.distributed.sharded_model import is_shard, whole_weights
from trainables.distributed.worker_group import GroupBrokenError, WorkerGroup, current_worker_group
from trainables.inference import decoding, scoring
from trainables.inference.hidden_states import StateCache
from trainables.methods.base.interface import CellContext, Execution
from trainables.methods.training.loop import TrainingError
from trainables.models.loading import Base
from trainables.models.oom import find_executable_batch_size
from trainables.models.source import ModelSource
from trainables.self_training.rounds import Teacher, UnlabelledPool
from trainables.self_training.unlabelled import strip_label
from trainables.storage.checkpoints import Checkpoint
from trainables.storage.filesystem import open_storage

ITEMS = make_items(40, seed=4)
TEST, POOL = ITEMS[:12], ITEMS[12:]
HALVES = ("zero-shot", "in-context", "probe", "lora")
RESUMED: tuple[tuple[EngineName, str], ...] = (
    ("zero-1", "lora"),
    ("zero-2", "lora"),
    ("zero-3", "lora"),
    ("zero-3", "full"),
)
SMALL_BATCHES = 0.1
"""Of the usual tokens, so that an update has several micro-batches on every worker."""

LORA = LoRA(n_train=12, rank=2, learning_rate=1e-2, epochs=2, batch_size=5, max_grad_norm=0.5)
FULL = FullFineTuning(n_train=12, learning_rate=1e-3, epochs=2, batch_size=5, weight_decay=0.1)
SELF_TRAINING = {
    "self_training": SelfTraining(threshold=0.4, rule="quantile", confidence="chance-normalised"),
    "round": 1,
    "round_version": STEP_VERSIONS["self-training"],
    "unlabelled_hash": ids_hash("cd"),
    "parent": "a" * 32,
}
RECIPES: dict[str, Any] = {
    "lora": LORA,
    # AdamW divides a gradient by its own size, so rounding moves a weight whose first gradients
    # almost cancel. With batches of 5 one does: it differed by 1e-4, and the losses then by 3e-5.
    "nf4": QLoRA(n_train=12, rank=2, learning_rate=1e-2, epochs=2, batch_size=4, max_grad_norm=0.5),
    "reward": LORA.model_copy(update={"head": "scalar"}),
    "full": FULL,
    "zero-shot": ZeroShot(),
    "reasoning": LORA.model_copy(
        update={"loss": "text", "epochs": 6, "reasoning": Reasoning(max_new_tokens=12)}
    ),
    "round": LORA,
    "in-context": InContext(k=2),
    "probe": LinearProbe(n_train=10),
}


def cell_inputs(
    name: str, execution: Execution, curve: list[Any], teacher: Mapping[str, Any] | None = None
) -> CellInputs:
    recipe = RECIPES[name]
    drawn = {"training_hash": ids_hash("ab"), "seed": 0}
    cell = Cell(
        model="m", dtype="float32", task="t", data_hash="d", split_hash="s", prompt="p",
        recipe=recipe, version=1, **({} if isinstance(recipe, ZeroShot) else drawn),
        **({} if teacher is None else SELF_TRAINING),
    )  # fmt: skip
    context = CellContext(
        cell=cell,
        items=ITEMS,
        prompt=get_prompt("micro", "open"),
        states=StateCache(),
        log=curve.append,
        execution=execution,
    )
    number = {"zero-shot": 0, "in-context": 2, "probe": 10}.get(name, 12)
    pool = None
    if teacher is not None:
        pool = UnlabelledPool(
            unlabelled=tuple(strip_label(item, 0, "t", 0) for item in POOL[12:]),
            teacher=Teacher(state=teacher, kept={}, confidence=None),
        )
    return CellInputs(
        context=context, labelled=POOL[:number], test=TEST, pool=pool, keeps_state=True
    )


def run(
    name: str, base: Base, execution: Execution, teacher: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Runs a cell; returns its curve, answers, selection and state."""
    curve: list[Any] = []
    result = run_cell(cell_inputs(name, execution, curve, teacher), base)
    return {
        "curve": [dict(row) for row in curve],
        "scores": [row.tolist() for row in result.answers.log_probs or []],
        "texts": [answer.text for answer in result.answers.generated or []],
        "selected": [] if result.round is None else selected(result.round.rows),
        "state": dict(result.state or {}),
        "notes": list(result.notes),
    }


def selected(rows: Sequence[Any]) -> list[list[str]]:
    return [[row.item_id, row.trained_on] for row in rows if row.trained_on is not None]


def load(
    folder: Path, engine: EngineName = "plain", quantization: str = "none", dtype: str = "float32"
) -> Base:
    source = ModelSource(
        name=str(folder), content="m", source=str(folder), revision=None, num_params=1
    )
    return load_for_engine(
        engine,
        source,
        dtype=dtype,
        quantization=quantization,
        device="cpu",
        offload=False,
    )


class LostWorkerError(BaseException):
    """The process of a training is gone."""


def resumed(base: Base, engine: EngineName, method: str, out: Path) -> dict[str, Any]:
    """Interrupts a training after three updates, and goes on."""
    checkpoint = Checkpoint(
        storage=open_storage(str(out)),
        cell_id=f"{engine}-{method}",
        execution={"workers": dist.get_world_size()},
        is_due=lambda: True,
    )
    how = Execution(
        engine=choose_engine(engine, offload=False),
        token_share=SMALL_BATCHES,
        checkpoint=checkpoint,
    )

    class Lost(list[Any]):
        def append(self, row: Any) -> None:
            if len(self) == 3:
                raise LostWorkerError
            super().append(row)

    curve: list[Any] = []
    try:
        run_cell(cell_inputs(method, how, Lost()), base)
    except LostWorkerError:
        progress = checkpoint.read_progress()
    run_cell(cell_inputs(method, how, curve), base)
    return {"from": progress.update, "curve": curve}


def failed_on_all(base: Base, worker_group: WorkerGroup) -> dict[str, Any]:
    """Runs a cell whose loss is no number on all workers, then one that is well."""
    how = Execution(engine=choose_engine("zero-3", offload=False), token_share=SMALL_BATCHES)
    inputs = cell_inputs("lora", how, [])
    recipe = inputs.context.cell.recipe.model_copy(update={"learning_rate": 1e30})
    cell = inputs.context.cell.model_copy(update={"recipe": recipe})
    inputs = replace(inputs, context=replace(inputs.context, cell=cell))
    found = {}
    try:
        worker_group.run_together(lambda: run_cell(inputs, base))
    except TrainingError as error:
        found["loss is no number"] = f"{type(error).__name__}: {error}"
    found["afterwards"] = run("lora", base, how)["curve"]
    return found


def failed_on_one(base: Base, worker_group: WorkerGroup) -> str:
    """Runs a cell that fails on the second worker while the first waits for it in a step."""
    worker_group.grace_s = 2.0

    class Failing(list[Any]):
        def append(self, row: Any) -> None:
            super().append(row)
            if len(self) == 2 and worker_group.rank == 1:
                raise OSError("a disk is full")

    how = Execution(engine=choose_engine("zero-2", offload=False), token_share=SMALL_BATCHES)
    try:
        worker_group.run_together(lambda: run_cell(cell_inputs("lora", how, Failing()), base))
    except GroupBrokenError as error:
        return f"GroupBrokenError: {error}"
    return "no error"


@contextmanager
def other_bits(worker_group: WorkerGroup) -> Iterator[None]:
    """Lets the second worker compute other numbers than the first, far beyond rounding."""
    scored, read = scoring.packed_scores, decoding.CachedRows._read
    if worker_group.rank == 1:
        noise = torch.Generator().manual_seed(1)

        def other(found: torch.Tensor) -> torch.Tensor:
            return found + torch.randn(found.shape, generator=noise)

        scoring.packed_scores = lambda *given: other(scored(*given))
        decoding.CachedRows._read = lambda *given: other(read(*given))
    try:
        yield
    finally:
        scoring.packed_scores, decoding.CachedRows._read = scored, read


def not_of_the_plain_engine(
    base: Base, teacher: Mapping[str, Any], worker_group: WorkerGroup
) -> dict[str, Any]:
    """Generation and self-training on a base in pieces, also where workers' numbers differ."""
    engine = choose_engine("zero-3", offload=False)
    how = Execution(engine=engine, token_share=SMALL_BATCHES, worker_group=worker_group)
    found = {
        "zero-3 reasoning": run("reasoning", base, how),
        "zero-3 round": run("round", base, how, teacher),
    }
    with other_bits(worker_group):
        return found | {
            "other bits reasoning": run("reasoning", base, how),
            "other bits round": run("round", base, how, teacher),
        }


def short_of_memory(base: Base, worker_group: WorkerGroup) -> dict[str, Any]:
    """Runs a cell in batches of half as much until the second worker's memory is enough."""

    def attempt(share: float) -> dict[str, Any]:
        engine = choose_engine("zero-2", offload=False)
        found = run("lora", base, Execution(engine=engine, token_share=share, may_halve=False))
        if worker_group.rank == 1 and share > SMALL_BATCHES / 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found

    found, share = find_executable_batch_size(
        lambda share: worker_group.run_together(lambda: attempt(share)), SMALL_BATCHES, base.device
    )
    return {**found, "share": share}


def in_sixteen_bits(folder: Path) -> dict[str, Any]:
    """Cells on a base in pieces of 16 bits, whose adapters are of 32."""
    base = load(folder, "zero-3", dtype="bfloat16")
    how = Execution(engine=choose_engine("zero-3", offload=False), token_share=SMALL_BATCHES)
    formats = {str(p.ds_tensor.dtype) for p in base.model.parameters()}
    found = {f"bfloat16 {name}": run(name, base, how) for name in HALVES}
    return {**found, "formats": sorted(formats)}


def left_on(base: Base) -> set[str]:
    """Returns the names of what the model's parts hold, and how many hooks they have."""
    return {
        f"{path}.{name} {len(value) if 'hooks' in name and isinstance(value, dict) else ''}"
        f"{type(value).__name__ if name == '_parameters' else ''}"
        for path, part in base.model.named_modules()
        for name, value in vars(part).items()
    }


def scenarios(folder: Path, out: Path, worker_group: WorkerGroup) -> dict[str, Any]:
    found: dict[str, Any] = {}
    bases = {engine: load(folder, engine) for engine in ("zero-2", "zero-3")}
    # First, because transformers itself leaves hooks where hidden states are asked for.
    found["zero-3 probe"] = run("probe", bases["zero-3"], Execution())
    before = left_on(bases["zero-3"])
    quantized = load(folder, "zero-2", "nf4")
    for stage in ("zero-1", "zero-2", "zero-3"):
        base = bases["zero-3" if stage == "zero-3" else "zero-2"]
        for offload in (False, True):
            execution = Execution(
                engine=choose_engine(stage, offload=offload), token_share=SMALL_BATCHES
            )
            for method in ("lora", "full"):
                key = f"{stage} {method}{' offload' if offload else ''}"
                print(key, flush=True)
                found[key] = run(method, base, execution)
    execution = Execution(engine=choose_engine("zero-2", offload=False), token_share=SMALL_BATCHES)
    found["zero-2 nf4"] = run("nf4", quantized, execution)
    found["zero-2 reward"] = run("reward", bases["zero-2"], execution)
    execution = Execution(engine=choose_engine("zero-3", offload=False), token_share=SMALL_BATCHES)
    for name in ("zero-shot", "in-context"):
        print(name, flush=True)
        found[f"zero-3 {name}"] = run(name, bases["zero-3"], execution)
    print("generation and self-training", flush=True)
    teacher = found["zero-3 lora"]["state"]
    found |= not_of_the_plain_engine(bases["zero-3"], teacher, worker_group)
    found["short of memory"] = short_of_memory(bases["zero-2"], worker_group)
    found |= in_sixteen_bits(folder)
    base = bases["zero-3"]
    found["pieces"] = {
        "is_sharded": all(map(is_shard, base.model.parameters())),
        "held": sum(p.ds_tensor.numel() for p in base.model.parameters()),
        "visible": sum(p.numel() for p in base.model.parameters()),
    }
    for engine, method in RESUMED:
        base = bases["zero-3" if engine == "zero-3" else "zero-2"]
        found[f"resumed {engine} {method}"] = resumed(base, engine, method, out)
    found |= failed_on_all(bases["zero-3"], worker_group)
    found["base afterwards"] = {"state": whole_weights(dict(base.model.named_parameters()))}
    found["left"] = sorted(left_on(bases["zero-3"]) - before)
    return found


def main() -> None:
    folder, out, rank, world, port = sys.argv[1:]
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=int(world)
    )
    worker_group = current_worker_group()
    found = scenarios(Path(folder), Path(out), worker_group)
    for number, value in enumerate(found.values()):
        state = value.pop("state", {}) if isinstance(value, dict) else {}
        save_file({"none": torch.zeros(1), **state}, Path(out) / f"{number}-{rank}.safetensors")
    file = Path(out) / f"worker-{rank}.json"
    file.write_text(json.dumps({"order": list(found), **found, "broken": ""}))
    if rank == "0":  # ends as a group does that starts anew: the one that waits is killed
        threading.Thread(target=end_when_other_is_gone, args=[Path(out)], daemon=True).start()
    broken = failed_on_one(load(Path(folder)), worker_group)
    file.write_text(json.dumps({"order": list(found), **found, "broken": broken}))
    (Path(out) / "gone").touch()
    os._exit(0)


def end_when_other_is_gone(out: Path) -> None:
    while not (out / "gone").exists():
        time.sleep(0.1)
    os._exit(0)


if __name__ == "__main__":
    main()
