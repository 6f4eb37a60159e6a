"""Memory of a worker: weights, gradients, optimizer state and the activations of one batch. Pure.

On a GPU, weights, gradients and optimizer state have to fit, but only an eighth of a batch: a
single worker (`trainables.cells.run`) and a worker group (`trainables.cells.worker`) halve batches
that do not. On a CPU the whole batch has to fit: the system ends a process that runs out of memory.
docs/reference/performance.md compares the estimates with measured peaks.
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
from study.formatting import GIB

UNTRAINED = ZeroShot | InContext | LinearProbe
"""Recipes that do not train the base model; a probe's weights are negligible."""

MICRO_BATCH_TOKENS = 8192
"""Tokens of a pass on a GPU, as in `trainables.methods.training.loop`."""

CPU_BATCH_TOKENS = 1024
"""The same on a CPU."""

STATES_PER_WIDTH = 32
"""Values that a layer keeps for the gradient per token, in units of the hidden size, as in
`trainables.methods.training.gradient_checkpointing`."""

SCORED_SHARE = 0.25
"""Share of tokens in answers, which have logits in 32 bits; measured on ARC."""

SCORED_COPIES, TRAINED_COPIES = 2, 4
"""Tensors of the logits' size at once, without and with gradients; measured on a vocabulary of
262,144."""

QUANTIZED_BYTES: Mapping[str, float] = {"nf4": 0.53, "int8": 1.01}
"""Bytes per weight with its scales: 4 bits and 0.127 for doubly quantized scales, or 8 bits and one
scale per row. Embeddings, the output projection and routed experts stay in the dtype."""

MOST_UNQUANTIZED = 0.1
"""Share of weights in experts above which the plan notes that quantization barely helps."""

LEAST_SHARE = 1 / 8
"""Share of a usual batch that has to fit; with smaller batches a GPU would mostly wait."""

CPU_SPARE = 1.15
"""Peak of a batch's tensors on a CPU over the sum of their sizes: the allocator's losses. Measured:
0.9 to 1.15."""

CPU_16_BIT_BYTES = 10
"""Bytes per value that a training in 16 bits keeps on a CPU, whose kernels hold copies in 32 bits.
Measured: up to 9.4 with LoRA on SmolLM2-135M."""

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

ADAPTER_VALUES = 19
"""Values of a layer's adapters in units of rank times hidden size: two matrices on each of seven
linear layers, three of which belong to an MLP of 2.7 times the width (Llama)."""

ADAPTER_BYTES = 12.0
"""Bytes per adapter value: itself and Adam's two moments, 32 bits each. Its gradient adds 4."""

CONTEXT_BYTES = GIB
"""CUDA context and library workspaces; measured: 0.4 to 0.9 GiB."""

USABLE_SHARE = 0.97
"""Assumption: share of a GPU's memory that tensors can fill. The driver keeps 0.5 GiB of a card of
80, and the allocator loses some to fragmentation."""

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

CPU_PROCESS_BYTES = 0.65 * GIB
"""A worker process on a CPU, without weights and activations: Python, torch, the task's items.
Measured: 0.6 GiB with a base model of 10 MB."""

PROCESS_BYTES = 4 * GIB
"""Assumption: CPU memory of a worker process without weights (Python, torch, CUDA)."""

USABLE_HOST_SHARE = 0.9
"""Assumption: share of a machine's memory; the rest is for the system and Ray."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Tokens of the texts that a job reads, estimated from their characters; 0: unknown."""

    longest: float = 0.0
    """Of the longest question with all its choices, which share one row."""
    shared: float = 0.0
    """Of the examples in front of every question."""

    def __or__(self, other: Lengths) -> Lengths:
        return Lengths(
            longest=max(self.longest, other.longest), shared=max(self.shared, other.shared)
        )


UNKNOWN_LENGTHS = Lengths()


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
    is_mapped: bool = False
    """Whether the weights have their file's format, so that workers on CPUs share its pages."""

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
    return DTYPE_BYTES[shape.dtype] * kept + QUANTIZED_BYTES[quantization] * (number - kept)


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
    shape: ModelShape,
    recipe: Recipe,
    footprint: Footprint,
    *,
    workers: int,
    lengths: Lengths = UNKNOWN_LENGTHS,
) -> float | None:
    """Returns the bytes that a cell needs on each GPU of its block; None if the size is unknown.

    Args:
        shape: Dimensions of the base model.
        recipe: The cell's recipe.
        footprint: Its engine decides what workers share and what is kept in CPU memory.
        workers: Number of workers of the block.
        lengths: Of the cell's texts.
    """
    if shape.num_params is None:
        return None
    # Training may checkpoint layers: only their inputs are kept.
    kept = STATES_PER_WIDTH + shape.depth
    budget = LEAST_SHARE * MICRO_BATCH_TOKENS
    batch = _batch_bytes(shape, recipe, lengths, budget=budget, kept=kept)
    weights = _weights_bytes(shape, recipe, footprint, workers=workers)
    return (weights + batch + CONTEXT_BYTES) / USABLE_SHARE


def cpu_bytes(
    shape: ModelShape,
    recipe: Recipe,
    footprint: Footprint,
    *,
    workers: int,
    lengths: Lengths = UNKNOWN_LENGTHS,
) -> float | None:
    """Returns the bytes of a worker's process on a CPU; None if the size is unknown.

    Workers of one machine share a part of it (`shared_bytes`).

    Args:
        shape: Dimensions of the base model.
        recipe: The cell's recipe.
        footprint: Its engine decides what workers share.
        workers: Number of workers of the block.
        lengths: Of the cell's texts.
    """
    if shape.num_params is None:
        return None
    size = DTYPE_BYTES[shape.dtype]
    kept = STATES_PER_WIDTH * shape.depth * (1 if size == MASTER_BYTES else CPU_16_BIT_BYTES / size)
    batch = _batch_bytes(shape, recipe, lengths, budget=CPU_BATCH_TOKENS, kept=kept)
    originals = _trained(shape, recipe).weights if isinstance(recipe, FullFineTuning) else 0.0
    weights = _weights_bytes(shape, recipe, footprint, workers=workers)
    return weights + originals + CPU_SPARE * batch + CPU_PROCESS_BYTES


def shared_bytes(shape: ModelShape, recipe: Recipe, footprint: Footprint) -> float:
    """Returns the bytes that workers of one machine hold once: the pages of the weights' file.

    Measured: two scoring workers with SmolLM2-135M in float32 together took 1.2 GB, where each had
    1.0 GB resident.

    Args:
        shape: Dimensions of the base model.
        recipe: Full fine-tuning and quantization make copies of the weights.
        footprint: So do engines that exchange weights.
    """
    if isinstance(recipe, FullFineTuning) or footprint.engine != "plain":
        return 0.0
    is_shared = shape.is_mapped and recipe.quantization == "none"
    return weight_bytes(shape, "none") if is_shared else 0.0


def _weights_bytes(
    shape: ModelShape, recipe: Recipe, footprint: Footprint, *, workers: int
) -> float:
    """Returns the bytes of a worker's weights, gradients and optimizer state on its device."""
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
    return weights + gradients + moments


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


def _batch_bytes(
    shape: ModelShape, recipe: Recipe, lengths: Lengths, *, budget: float, kept: float
) -> float:
    """Returns the bytes of the largest batch of a cell, in scoring or in training.

    Args:
        shape: Dimensions of the base model.
        recipe: The cell's recipe.
        lengths: Of the cell's texts.
        budget: Tokens of a batch at most, unless a single text is longer.
        kept: Values per token that training keeps, in units of the hidden size.
    """
    tokens = max(budget, lengths.longest)
    scored = _states_bytes(
        shape, lengths, tokens=tokens, kept=STATES_PER_WIDTH, copies=SCORED_COPIES
    )
    if isinstance(recipe, UNTRAINED):
        return scored
    if lengths.longest and isinstance(recipe, WeightTraining):
        tokens = min(tokens, recipe.batch_size * lengths.longest)
    trained = _states_bytes(shape, lengths, tokens=tokens, kept=kept, copies=TRAINED_COPIES)
    return max(scored, trained)


def _states_bytes(
    shape: ModelShape, lengths: Lengths, *, tokens: float, kept: float, copies: int
) -> float:
    """Returns the bytes of a micro-batch: states, logits, masks and the keys of shared examples.

    Args:
        shape: Dimensions of the base model.
        lengths: Of the cell's texts.
        tokens: Of the micro-batch.
        kept: Values kept per token, in units of the hidden size.
        copies: Tensors of the logits' size at once.
    """
    size, vocabulary = DTYPE_BYTES[shape.dtype], shape.vocab_size or USUAL_VOCABULARY
    logits = copies * tokens * SCORED_SHARE * vocabulary * 4
    # Logits are computed in 32 bits, from a copy of the output projection.
    head = vocabulary * shape.width * 4 if size < 4 else 0
    mask = tokens * (lengths.longest + lengths.shared) * size
    shared = 2 * lengths.shared * shape.width * shape.depth * size
    return tokens * shape.width * size * kept + logits + head + mask + shared
