"""Memory of a worker: weights, gradients, optimizer state and the activations of one batch. Pure.

Weights, gradients and optimizer state have to fit, but only an eighth of a batch: a single worker
(`trainables.cells.run`) and a worker group (`trainables.cells.worker`) halve batches that do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.base_models import Footprint
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    Recipe,
    WeightTraining,
    ZeroShot,
)

GIB = 2**30

UNTRAINED = ZeroShot | InContext | LinearProbe
"""Recipes that do not train the base model; a probe's weights are negligible."""

MICRO_BATCH_TOKENS = 8192
"""Tokens of a pass on a GPU, as in `trainables.methods.training.loop`."""

STATES_PER_WIDTH = 17
"""Values that one layer keeps per token, in units of the hidden size (arXiv:2205.05198, eq. 1)."""

SCORED_SHARE = 0.25
"""Assumption: share of tokens in answers, which have logits in 32 bits."""

QUANTIZED_BYTES: Mapping[str, float] = {"nf4": 0.53, "int8": 1.01}
"""Bytes per weight with its scales: 4 bits and 0.127 for doubly quantized scales, or 8 bits and one
scale per row. Embeddings, the output projection and routed experts stay in 16 bits."""

MOST_UNQUANTIZED = 0.1
"""Share of weights in experts above which the plan notes that quantization barely helps."""

LEAST_SHARE = 1 / 8
"""Share of a usual batch that has to fit; with smaller batches a GPU would mostly wait."""

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

ADAPTER_VALUES = 19
"""Values of a layer's adapters in units of rank times hidden size: two matrices on each of seven
linear layers, three of which belong to an MLP of 2.7 times the width (Llama)."""

ADAPTER_BYTES = 12.0
"""Bytes per adapter value: itself and Adam's two moments, 32 bits each. Its gradient adds 4."""

CONTEXT_BYTES = GIB
"""CUDA context and library workspaces; measured: 0.4 to 0.9 GiB."""

USABLE_SHARE = 0.95
"""Share of a GPU's memory; the rest is lost to fragmentation and to GB versus GiB."""

WIDTH_PER_LAYER = 128
"""Hidden size over number of layers, assumed if a model's shape is unknown (Llama-7B: 4096 / 32),
with 12 times the squared hidden size as the weights of a layer."""

USUAL_VOCABULARY = 64_000

MASTER_BYTES = 4
"""Bytes of a trained weight, of its gradient and of each of Adam's two moments: 32 bits for any
dtype of the base model (`trainables.distributed.mixed_precision`)."""

STEPPED_BYTES = 4
"""Bytes per trained value of DeepSpeed's 32-bit copy (stages 1 and 2; stage 3 with offload)."""

CHECKPOINT_COPIES = 2
"""Copies of a checkpoint in CPU memory while it is written: its tensors and the file's bytes
(`trainables.methods.training.resume`)."""

PROCESS_BYTES = 4 * GIB
"""Assumption: CPU memory of a worker process without weights (Python, torch, CUDA)."""

USABLE_HOST_SHARE = 0.9
"""Assumption: share of a machine's memory; the rest is for the system and Ray."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The dimensions of a base model that its memory depends on; None if unknown."""

    num_params: int | None
    dtype: str
    num_layers: int | None = None
    hidden_size: int | None = None
    vocab_size: int | None = None
    num_expert_params: int = 0
    """Weights of routed experts, which are never quantized (`trainables.models.resolve`)."""

    @property
    def width(self) -> int:
        """The hidden size, or an estimate from the number of weights."""
        if self.hidden_size is not None:
            return self.hidden_size
        return round(((self.num_params or 0) * WIDTH_PER_LAYER / 12) ** (1 / 3)) or 1

    @property
    def depth(self) -> int:
        """The number of layers, or an estimate from the number of weights."""
        return self.num_layers or max(1, self.width // WIDTH_PER_LAYER)


def weight_bytes(shape: ModelShape, quantization: str) -> float:
    """Returns the bytes of all of a base model's weights in a worker's memory."""
    number = shape.num_params or 0
    if quantization not in QUANTIZED_BYTES:
        return float(DTYPE_BYTES[shape.dtype] * number)
    embedded = min(2 * (shape.vocab_size or USUAL_VOCABULARY) * shape.width, number / 2)
    kept = min(embedded + shape.num_expert_params, number)
    return 2 * kept + QUANTIZED_BYTES[quantization] * (number - kept)


NF4_CPU_FACTOR = 1.6
"""Seconds of NF4 cells over those of LoRA cells in float32 on the lab's smallest model: 1.5 to 1.7,
measured at the same time with one thread each."""


def quantization_notes(
    shapes: Mapping[str, ModelShape], quantizations: Iterable[str]
) -> tuple[str, ...]:
    """Returns a note for each base model that the space's quantization barely shrinks."""
    asked = " and ".join(sorted({name for name in quantizations if name in QUANTIZED_BYTES}))
    return tuple(
        f"{asked} leaves {share:.0%} of {name} in {shape.dtype}: bitsandbytes replaces linear "
        "layers only, not routed experts"
        for name, shape in shapes.items()
        if (share := shape.num_expert_params / (shape.num_params or 1)) > MOST_UNQUANTIZED and asked
    )


def cpu_notes(shapes: Mapping[str, ModelShape], quantizations: Iterable[str]) -> tuple[str, ...]:
    """Returns a note for each weight format that is slower on a CPU than float32."""
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
    """Returns the bytes that a cell needs on each GPU of its block; None if the size is unknown.

    Args:
        shape: Dimensions of the base model.
        recipe: The cell's recipe.
        footprint: Its engine decides what workers share and what is kept in CPU memory.
        workers: Number of workers of the block.
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
    """Returns the bytes of CPU memory that a block with offload needs on its machine.

    The workers' shares add up to one whole. 0 without offload: only GPU memory is checked then.
    None if the size is unknown.

    Args:
        shape: Dimensions of the base model.
        recipe: The cell's recipe.
        footprint: Decides what is kept in CPU memory.
        workers: Number of workers of the block, all on one machine.
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
    # A worker keeps the original weights to restore them, and the trained ones in its checkpoint.
    weights = trained.weights * (1 if is_cut else workers)
    originals = weights if isinstance(recipe, FullFineTuning) else 0.0
    engine = trained.stepped + trained.moments + trained.gradients
    if not is_cut:
        engine += trained.weights  # a buffer for updated weights on their way to the GPU
    checkpoint = CHECKPOINT_COPIES * (trained.stepped + trained.moments + weights)
    total = base + engine + originals + checkpoint + workers * PROCESS_BYTES
    return total / USABLE_HOST_SHARE


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrainedWeights:
    """Bytes that a training adds to the base model, over all workers."""

    weights: float = 0.0
    """The trained weights; in full fine-tuning they are the base model's."""
    gradients: float = 0.0
    moments: float = 0.0
    """Adam's moments; for adapters including their weights."""
    stepped: float = 0.0
    """DeepSpeed's 32-bit copy."""
    masters: float = 0.0
    """Without DeepSpeed: 32-bit copies of the trained weights if the base model is in 16 bits."""


def _trained(shape: ModelShape, recipe: Recipe) -> _TrainedWeights:
    if isinstance(recipe, UNTRAINED):
        return _TrainedWeights()
    number = shape.num_params or 0
    if isinstance(recipe, FullFineTuning) or recipe.rank is None:
        in_16_bits = DTYPE_BYTES[shape.dtype] < MASTER_BYTES
        return _TrainedWeights(
            weights=float(DTYPE_BYTES[shape.dtype] * number),
            gradients=float(MASTER_BYTES * number),
            moments=2.0 * MASTER_BYTES * number,
            stepped=float(STEPPED_BYTES * number),
            masters=float(in_16_bits * MASTER_BYTES * number),
        )
    values = ADAPTER_VALUES * recipe.rank * shape.width * shape.depth
    return _TrainedWeights(
        weights=4.0 * values,
        gradients=4.0 * values,
        moments=ADAPTER_BYTES * values,
        stepped=float(STEPPED_BYTES * values),
    )


def _states_bytes(shape: ModelShape, recipe: Recipe) -> float:
    """Returns the bytes of the smallest micro-batch; training uses checkpointed layers."""
    size = DTYPE_BYTES[shape.dtype]
    is_trained = not isinstance(recipe, UNTRAINED)
    kept = STATES_PER_WIDTH + (shape.depth if is_trained else 0)
    tokens = LEAST_SHARE * MICRO_BATCH_TOKENS
    states = tokens * shape.width * size * kept
    logits = tokens * SCORED_SHARE * (shape.vocab_size or USUAL_VOCABULARY) * 4
    return states + logits * (2 if is_trained else 1)
