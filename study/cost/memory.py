"""What a worker holds in memory: weights, what is trained, and one batch's states. Pure sums.

Weights, gradients and an optimizer's state have to fit; of a batch an eighth has to, because one
worker (`trainables.cells.run`) and a whole worker group (`trainables.cells.worker`) halve what does
not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.base_models import Footprint
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    PolicyDPO,
    Recipe,
    WeightTraining,
    ZeroShot,
)

GIB = 2**30

UNTRAINED = ZeroShot | InContext | LinearProbe
"""Recipes that leave the base as it is: a probe's own weights are nothing beside it."""

MICRO_BATCH_TOKENS = 8192
"""Of a pass on a GPU, as `trainables.methods.training.loop` makes them."""

STATES_PER_WIDTH = 17
"""Values that one layer keeps a token, in units of the hidden size (arXiv:2205.05198, eq. 1)."""

SCORED_SHARE = 0.25
"""Assumption: tokens that belong to an answer, for which there are logits in 32 bits."""

QUANTIZED_BYTES: Mapping[str, float] = {"nf4": 0.53, "int8": 1.01}
"""A weight with its scales: 4 bits and 0.127 of doubly quantized scales, or 8 bits and a scale a
row. Embeddings, the vocabulary's projection and routed experts stay in 16 bits."""

MOST_UNQUANTIZED = 0.1
"""Share of a quantized base in experts from which a plan says so."""

LEAST_SHARE = 1 / 8
"""Of a usual batch that has to fit; workers halve further, but a GPU would mostly wait then."""

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

ADAPTER_VALUES = 19
"""Values of a layer's adapters in units of rank times hidden size: two matrices on each of seven
linear layers, of which three have an MLP of 2.7 times the width (Llama)."""

ADAPTER_BYTES = 12.0
"""A value of an adapter: itself and Adam's two moments, 32 bits each; its gradient is 4 more."""

CONTEXT_BYTES = GIB
"""CUDA's context and the libraries' workspaces; measured values are 0.4 to 0.9 GiB."""

USABLE_SHARE = 0.95
"""Of a GPU's memory: the rest is lost to fragments and to the difference of GB and GiB."""

WIDTH_PER_LAYER = 128
"""Hidden size over layers where a model does not tell them (Llama-7B: 4096 / 32), with 12 times
the squared hidden size as a layer's weights."""

USUAL_VOCABULARY = 64_000

MASTER_BYTES = 4
"""Of a trained weight, of its gradient and of each of Adam's two moments: 32 bits, whatever is
the base's dtype (`trainables.distributed.mixed_precision`)."""

STEPPED_BYTES = 4
"""Of a trained value: DeepSpeed steps a copy of it in 32 bits (stages 1 and 2 always, stage 3 where
it offloads)."""

CHECKPOINT_COPIES = 2
"""Of a checkpoint in the memory of the CPU while it is written: its tensors, and the file's bytes
(`trainables.methods.training.resume`)."""

PROCESS_BYTES = 4 * GIB
"""Assumption: of a worker's process in the CPU's memory, without weights: Python, torch, CUDA."""

USABLE_HOST_SHARE = 0.9
"""Assumption: of a machine's memory; the rest is the system's and Ray's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """What a base model's memory depends on; None where it is not known."""

    num_params: int | None
    dtype: str
    num_layers: int | None = None
    hidden_size: int | None = None
    vocab_size: int | None = None
    num_expert_params: int = 0
    """Of routed experts, which no quantization reaches (`trainables.models.resolve`)."""

    @property
    def width(self) -> int:
        """The hidden size, or what is usual for so many weights."""
        if self.hidden_size is not None:
            return self.hidden_size
        return round(((self.num_params or 0) * WIDTH_PER_LAYER / 12) ** (1 / 3)) or 1

    @property
    def depth(self) -> int:
        """The layers, or what is usual for so many weights."""
        return self.num_layers or max(1, self.width // WIDTH_PER_LAYER)


def weight_bytes(shape: ModelShape, quantization: str) -> float:
    """Returns the bytes of a base's weights as a worker holds them, all of them."""
    number = shape.num_params or 0
    if quantization not in QUANTIZED_BYTES:
        return float(DTYPE_BYTES[shape.dtype] * number)
    embedded = min(2 * (shape.vocab_size or USUAL_VOCABULARY) * shape.width, number / 2)
    kept = min(embedded + shape.num_expert_params, number)
    return 2 * kept + QUANTIZED_BYTES[quantization] * (number - kept)


NF4_CPU_FACTOR = 1.6
"""Of the seconds of an adapter's cells on the lab's smallest base, beside those of LoRA in float32:
1.5 to 1.7, measured side by side, one thread each."""


def quantization_notes(
    shapes: Mapping[str, ModelShape], quantizations: Iterable[str]
) -> tuple[str, ...]:
    """Returns a sentence for each base, by name, that a space's quantization hardly reaches."""
    asked = " and ".join(sorted({name for name in quantizations if name in QUANTIZED_BYTES}))
    return tuple(
        f"{asked} leaves {share:.0%} of {name} in {shape.dtype}: bitsandbytes replaces linear "
        "layers only, not routed experts"
        for name, shape in shapes.items()
        if (share := shape.num_expert_params / (shape.num_params or 1)) > MOST_UNQUANTIZED and asked
    )


def cpu_notes(shapes: Mapping[str, ModelShape], quantizations: Iterable[str]) -> tuple[str, ...]:
    """Returns a sentence for each format of the weights that costs more on a CPU than float32."""
    notes = []
    for dtype in ("bfloat16", "float16"):
        if names := [name for name, shape in shapes.items() if shape.dtype == dtype]:
            notes.append(
                f"on a CPU, {dtype} ({', '.join(names)}) halves the memory of the weights, but is "
                "slower than float32 unless the CPU multiplies 16-bit numbers (AMX, AVX-512 BF16): "
                "give BaseModelRef(dtype='float32') there"
            )
    if "nf4" in quantizations:
        notes.append(
            "on a CPU, NF4 weights are unpacked for every product, and a cell takes about "
            f"{NF4_CPU_FACTOR:g} times as long as in float32: give LoRA() and dtype='float32' there"
        )
    return tuple(notes)


def worker_bytes(
    shape: ModelShape, recipe: Recipe, footprint: Footprint, *, workers: int
) -> float | None:
    """Returns the bytes that a cell takes on each GPU of its block; None for an unknown size.

    Args:
        shape: Of the base model.
        recipe: What is done with it.
        footprint: Its engine decides what workers share, and what lies in the CPU's memory.
        workers: Of the block.
    """
    if shape.num_params is None:
        return None
    weights = weight_bytes(shape, recipe.quantization)
    trained = _trained(shape, recipe)
    share = 0.0 if footprint.offload else 1.0 / workers
    gradients, moments = trained.gradients, trained.moments
    copies = trained.stepped if footprint.engine in ("zero-1", "zero-2") else trained.masters
    moments += copies
    if footprint.engine != "plain" and isinstance(recipe, WeightTraining):
        moments *= share
        gradients *= share if footprint.engine in ("zero-2", "zero-3") else 1.0
    if footprint.engine == "zero-3":
        weights *= share
    return (weights + gradients + moments + _states_bytes(shape, recipe) + CONTEXT_BYTES) / (
        USABLE_SHARE
    )


def host_bytes(
    shape: ModelShape, recipe: Recipe, footprint: Footprint, *, workers: int
) -> float | None:
    """Returns the bytes that a block with offload takes of its machine's memory, GPUs left out.

    Its workers' shares add up to one whole. 0 where nothing is offloaded: such a block is held
    against its GPUs alone. None for an unknown size.

    Args:
        shape: Of the base model.
        recipe: What is done with it.
        footprint: What lies in the CPU's memory.
        workers: Of the block, all on one machine.
    """
    if not footprint.offload:
        return 0.0
    if shape.num_params is None:
        return None
    is_cut = footprint.engine == "zero-3"
    base = weight_bytes(shape, recipe.quantization) if is_cut else 0.0
    trained = _trained(shape, recipe)
    if not isinstance(recipe, WeightTraining):
        return (base + workers * PROCESS_BYTES) / USABLE_HOST_SHARE
    # What a worker holds of the trained weights: kept to put them back, and in its checkpoint.
    held = trained.weights * (1 if is_cut else workers)
    kept = held if isinstance(recipe, FullFineTuning) else 0.0
    engine = trained.stepped + trained.moments + trained.gradients
    if not is_cut:
        engine += trained.weights  # the way of stepped weights back to the GPU
    checkpoint = CHECKPOINT_COPIES * (trained.stepped + trained.moments + held)
    total = base + engine + kept + checkpoint + workers * PROCESS_BYTES
    return total / USABLE_HOST_SHARE


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrainedWeights:
    """Bytes that a training keeps beside the base, over all workers."""

    weights: float = 0.0
    """The trained ones: for full fine-tuning they are the base's."""
    gradients: float = 0.0
    moments: float = 0.0
    """With an adapter's own weights."""
    stepped: float = 0.0
    """DeepSpeed's copy in 32 bits."""
    masters: float = 0.0
    """Without DeepSpeed: the trained weights in 32 bits, where the base holds them otherwise. Of a
    policy also those of its reference: it is trained beside the base, not in its place."""


def _trained(shape: ModelShape, recipe: Recipe) -> _TrainedWeights:
    if isinstance(recipe, UNTRAINED):
        return _TrainedWeights()
    number = shape.num_params or 0
    is_policy = isinstance(recipe, PolicyDPO)
    if isinstance(recipe, FullFineTuning) or recipe.rank is None:
        in_16_bits = DTYPE_BYTES[shape.dtype] < MASTER_BYTES
        copies = 2 if is_policy else int(in_16_bits)
        return _TrainedWeights(
            weights=float(DTYPE_BYTES[shape.dtype] * number),
            gradients=float(MASTER_BYTES * number),
            moments=2.0 * MASTER_BYTES * number,
            stepped=float(STEPPED_BYTES * number),
            masters=float(copies * MASTER_BYTES * number),
        )
    values = ADAPTER_VALUES * recipe.rank * shape.width * shape.depth
    return _TrainedWeights(
        weights=4.0 * values,
        gradients=4.0 * values,
        moments=ADAPTER_BYTES * values,
        stepped=float(STEPPED_BYTES * values),
        masters=float(MASTER_BYTES * number) if is_policy else 0.0,
    )


def _states_bytes(shape: ModelShape, recipe: Recipe) -> float:
    """Returns the bytes of the least micro-batch: with checkpointed layers where it trains."""
    size = DTYPE_BYTES[shape.dtype]
    is_trained = not isinstance(recipe, UNTRAINED)
    kept = STATES_PER_WIDTH + (shape.depth if is_trained else 0)
    tokens = LEAST_SHARE * MICRO_BATCH_TOKENS
    states = tokens * shape.width * size * kept
    logits = tokens * SCORED_SHARE * (shape.vocab_size or USUAL_VOCABULARY) * 4
    return states + logits * (2 if is_trained else 1)
