"""Whether a machine's memory holds a group of workers, and the largest setting it holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from search_spaces.base_models import Footprint, gpus_for
from search_spaces.explain import count
from search_spaces.recipes import FullFineTuning, LoRA, QLoRA, Recipe, WeightTraining
from study.cost.jobs import PricedJob
from study.cost.memory import (
    UNTRAINED,
    USABLE_HOST_SHARE,
    Lengths,
    ModelShape,
    cpu_bytes,
    host_bytes,
    shared_bytes,
    worker_bytes,
)
from study.formatting import gib
from trainables.cluster.machine_memory import Machine
from trainables.distributed.engine_check import engine_faults


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to run the cells of a recipe on one machine."""

    model: str
    """Name of the base model."""
    shape: ModelShape
    recipe: Recipe
    footprint: Footprint
    """With its numbers of workers and of GPUs per worker; 0 GPUs: they run on CPUs."""
    lengths: Lengths
    changes: tuple[str, ...] = ()
    """What differs from the requested setting, as a space spells it."""

    @property
    def gpus(self) -> float:
        """GPUs of one worker."""
        return self.footprint.gpus_per_worker or 0.0

    @property
    def workers(self) -> int:
        """Workers that run at once."""
        return self.footprint.workers or 1

    @property
    def cores(self) -> int:
        """CPU cores of all workers."""
        return self.workers * self.footprint.cpus_per_worker

    @property
    def worker_memory(self) -> float | None:
        """Bytes of one worker, on each of its GPUs or in its process; None if unknown."""
        estimate = worker_bytes if self.gpus else cpu_bytes
        return estimate(
            self.shape, self.recipe, self.footprint, workers=self.workers, lengths=self.lengths
        )

    @property
    def gpu_memory(self) -> float:
        """Bytes that a GPU must have for each of its workers to fit; 0 if unknown."""
        return (self.worker_memory or 0.0) / min(self.gpus, 1.0) if self.gpus else 0.0

    @property
    def cpu_memory(self) -> float:
        """Bytes of CPU memory that a machine must have; 0 if unknown."""
        if self.gpus:
            need = host_bytes(self.shape, self.recipe, self.footprint, workers=self.workers)
            return need or 0.0
        worker = self.worker_memory or 0.0
        shared = shared_bytes(self.shape, self.recipe, self.footprint) if worker else 0.0
        return (self.workers * (worker - shared) + shared) / USABLE_HOST_SHARE

    def shortfall(self, machine: Machine, other_bytes: float = 0.0) -> str:
        """Returns the memory that the setting needs and a machine lacks; empty if it fits.

        Args:
            machine: The machine.
            other_bytes: CPU memory of everything else that runs there.
        """
        needed = gpus_for(self.workers, self.gpus)
        if needed > machine.num_gpus:
            return f"{count(needed, 'GPU')}, but {machine.name} has {machine.num_gpus}"
        if self.gpu_memory > machine.gpu_memory:
            how = " with gradient checkpointing" * (not isinstance(self.recipe, UNTRAINED))
            share = f" for its workers, {self.gpus:g} of it each" * (self.gpus < 1)
            return (
                f"a GPU with {gib(self.gpu_memory)}{how}{share}, but that of {machine.name} has "
                f"{gib(machine.gpu_memory)}"
            )
        if self.cpu_memory + other_bytes <= machine.memory:
            return ""
        workers = f"{self.workers} worker{'s at once' * (self.workers > 1)}"
        others = f" next to {gib(other_bytes)} of other processes" * bool(other_bytes)
        return (
            f"{gib(self.cpu_memory)} of CPU memory for "
            f"{'offloaded state' if self.gpus else workers}{others}, but {machine.name} has "
            f"{gib(machine.memory)}"
        )


def settings_of(
    jobs: Iterable[PricedJob], shapes: Mapping[str, ModelShape], footprint: Footprint
) -> tuple[Setting, ...]:
    """Returns the settings of jobs that share a group of workers.

    Args:
        jobs: Of any base models.
        shapes: Dimensions by base model.
        footprint: Of the workers, with their numbers of workers and GPUs.
    """
    return tuple(
        Setting(
            model=job.model,
            shape=shapes[job.model],
            recipe=job.recipe,
            footprint=footprint,
            lengths=job.lengths,
        )
        for job in jobs
    )


def find_misfit(settings: Iterable[Setting], machine: Machine, other_bytes: float = 0.0) -> str:
    """Returns why a machine cannot hold the largest of some settings; empty if it holds all.

    The message names the base model, the memory that it needs and the machine has, and the largest
    setting that fits.

    Args:
        settings: The machine runs one of them at a time.
        machine: The machine.
        other_bytes: CPU memory of everything else that runs there.
    """
    largest_first = sorted(settings, key=lambda s: (s.gpu_memory, s.cpu_memory), reverse=True)
    for wanted in largest_first:
        if shortfall := wanted.shortfall(machine, other_bytes):
            advice = largest_setting(wanted, [machine], other_bytes)
            return f"base model {wanted.model}: {wanted.recipe.method} needs {shortfall}. {advice}"
    return ""


def largest_setting(wanted: Setting, machines: Sequence[Machine], other_bytes: float = 0.0) -> str:
    """Returns a sentence: what to change in a space for one of the machines to hold it.

    Workers and engines change no number of a study, so they are tried before other formats of the
    weights, and those from the largest to the smallest. Offload pays where the optimizer's state is
    large; a frozen base is offloaded only if no format of it fits, because nf4 is faster.
    """
    for is_last, formatted in product((False, True), _formats(wanted)):
        may_offload = is_last or isinstance(formatted.recipe, FullFineTuning)
        for machine in machines:
            for setting in _placements(formatted, machine, may_offload=may_offload):
                if setting.changes and not setting.shortfall(machine, other_bytes):
                    changes = " with ".join(setting.changes)
                    return f"The largest setting that fits {machine.name} is {changes}"
    return "No setting of this model fits: use a smaller model, or a larger machine"


def _formats(wanted: Setting) -> Iterator[Setting]:
    """Yields the setting in each dtype, full fine-tuning also as LoRA, then each in nf4.

    Training needs less memory in float32 than in 16 bits on a CPU, whose kernels copy 16-bit
    values, and where all weights are trained, which keeps 32-bit copies of them.
    """
    dtype = "bfloat16" if wanted.shape.dtype == "float32" else "float32"
    shape = replace(wanted.shape, dtype=dtype, is_mapped=False)
    dtypes = (wanted, replace(wanted, shape=shape, changes=(f"BaseModelRef(dtype={dtype!r})",)))
    yield from dtypes
    recipe = wanted.recipe
    if recipe.quantization == "nf4" or not isinstance(recipe, WeightTraining | UNTRAINED):
        return
    if isinstance(recipe, FullFineTuning):
        recipe = LoRA(n_train=recipe.n_train)
        for each in dtypes:
            yield replace(each, recipe=recipe, changes=(*each.changes, "LoRA()"))
    nf4: Any = recipe.model_copy(update={"quantization": "nf4"})
    change = "quantization='nf4'"
    if isinstance(recipe, WeightTraining):
        nf4 = QLoRA(**recipe.model_dump(exclude={"method", "quantization"}))
        change = "QLoRA()"
    for each in dtypes:
        yield replace(each, recipe=nf4, changes=(*each.changes, change))


def _placements(wanted: Setting, machine: Machine, *, may_offload: bool) -> Iterator[Setting]:
    """Yields the setting with each footprint that its engine can run."""
    for footprint in _footprints(wanted, machine, may_offload=may_offload):
        setting = wanted
        if footprint != wanted.footprint:
            changes = (*wanted.changes, _as_code(footprint))
            setting = replace(wanted, footprint=footprint, changes=changes)
        if not any(engine_faults(footprint, setting.shape.dtype, setting.recipe)):
            yield setting


def _footprints(wanted: Setting, machine: Machine, *, may_offload: bool) -> Iterator[Footprint]:
    """Yields the footprint, then with fewer workers, a larger share of a GPU, or ZeRO."""
    asked = wanted.footprint
    yield asked
    if asked.engine == "plain":
        for number in range(wanted.workers - 1, 0, -1):
            yield asked.model_copy(update={"workers": number})
    for share in (0.5, 1.0):
        if 0 < wanted.gpus < share:
            yield asked.model_copy(update={"gpus_per_worker": share})
    if not wanted.gpus or not isinstance(wanted.recipe, WeightTraining | UNTRAINED):
        return
    for is_offloaded in (False, True) if may_offload else (False,):
        for engine in ("zero-2", "zero-3"):
            if machine.num_gpus > 1 or is_offloaded:
                yield Footprint(
                    engine=engine, workers=machine.num_gpus, gpus_per_worker=1, offload=is_offloaded
                )


def _as_code(footprint: Footprint) -> str:
    fields = footprint.model_dump(exclude_defaults=True)
    if not footprint.gpus_per_worker:
        fields.pop("gpus_per_worker", None)
    return f"Footprint({', '.join(f'{name}={value!r}' for name, value in fields.items())})"
