"""Whether a machine holds a setting, and the largest setting it holds otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces.base_models import Footprint
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    QLoRA,
    Recipe,
    WeightTraining,
    ZeroShot,
)
from study.cost.fitting import Setting, find_misfit, largest_setting
from study.cost.memory import (
    STATES_PER_WIDTH,
    USABLE_HOST_SHARE,
    Lengths,
    ModelShape,
    cpu_bytes,
    worker_bytes,
)
from study.formatting import GIB
from trainables.cluster.machine_memory import Machine
from trainables.methods.training import gradient_checkpointing, loop

EIGHT = ModelShape(
    num_params=8_030_000_000,
    dtype="bfloat16",
    num_layers=32,
    hidden_size=4096,
    vocab_size=128_256,
)
ONE = ModelShape(
    num_params=1_240_000_000,
    dtype="float32",
    num_layers=16,
    hidden_size=2048,
    vocab_size=128_256,
)
CARD = Machine(memory=64 * GIB, num_gpus=1, gpu_memory=24 * GIB)
ON_GPU = Footprint(workers=1, gpus_per_worker=1)
ON_CPU = Footprint(workers=4, gpus_per_worker=0)
FITS = "The largest setting that fits this machine is"


def setting(
    shape: ModelShape, recipe: Recipe, footprint: Footprint = ON_GPU, **lengths: float
) -> Setting:
    return Setting(
        model="base", shape=shape, recipe=recipe, footprint=footprint, lengths=Lengths(**lengths)
    )


def test_an_8b_model_on_one_card_is_trained_in_nf4() -> None:
    assert not setting(EIGHT, ZeroShot()).shortfall(CARD)
    assert not setting(EIGHT, QLoRA()).shortfall(CARD)
    message = find_misfit([setting(EIGHT, ZeroShot()), setting(EIGHT, FullFineTuning())], CARD)
    assert message.startswith("base model base: full fine-tuning needs a GPU with 1")
    assert "with gradient checkpointing, but that of this machine has 24.0 GiB" in message
    assert message.endswith("The largest setting that fits this machine is LoRA()")
    small = replace(CARD, gpu_memory=16 * GIB)
    assert largest_setting(setting(EIGHT, LoRA()), [small]) == f"{FITS} QLoRA()"
    assert largest_setting(setting(EIGHT, InContext()), [small]) == f"{FITS} quantization='nf4'"


def test_the_largest_setting_is_that_of_the_largest_machine() -> None:
    names = [replace(CARD, name="small", gpu_memory=16 * GIB), replace(CARD, name="card")]
    wanted = setting(EIGHT, FullFineTuning())
    advice = "The largest setting that fits card is LoRA()"
    assert largest_setting(wanted, names) == advice
    assert largest_setting(wanted, names[::-1]) == advice


def test_training_on_cpus_takes_less_memory_in_float32_than_in_16_bits() -> None:
    half = setting(replace(ONE, dtype="bfloat16"), LoRA(), Footprint(gpus_per_worker=0))
    machine = Machine(memory=16 * GIB)
    assert largest_setting(half, [machine]) == f"{FITS} BaseModelRef(dtype='float32')"


def test_several_cards_share_a_training_with_zero() -> None:
    cards = replace(CARD, num_gpus=8, memory=512 * GIB)
    wanted = setting(replace(EIGHT, dtype="float32"), FullFineTuning())
    assert "zero" not in largest_setting(wanted, [CARD])
    advice = largest_setting(wanted, [replace(cards, gpu_memory=40 * GIB)])
    assert advice == f"{FITS} Footprint(workers=8, gpus_per_worker=1.0, engine='zero-3')"
    dropping_out = setting(replace(EIGHT, dtype="float32"), LoRA(dropout=0.1))
    assert "zero" not in largest_setting(dropping_out, [cards]), "its masks would differ"
    four = [replace(CARD, num_gpus=4, gpu_memory=10 * GIB)]
    advice = f"{FITS} Footprint(workers=4, gpus_per_worker=1.0, engine='zero-3')"
    for recipe in (ZeroShot(), InContext(), LinearProbe()):
        assert largest_setting(setting(EIGHT, recipe), four) == advice, recipe.method


@pytest.mark.parametrize(
    ("recipe", "gpu_gib", "engine"),
    [
        (ZeroShot(), 8, "zero-3"),
        (InContext(), 8, "zero-3"),
        (LoRA(), 10, "zero-3"),
        (QLoRA(), 10, "zero-2"),
    ],
)
def test_a_frozen_base_is_offloaded_where_no_format_of_it_fits(
    recipe: Recipe, gpu_gib: int, engine: str
) -> None:
    card = replace(CARD, gpu_memory=gpu_gib * GIB)
    advice = f"Footprint(workers=1, gpus_per_worker=1.0, engine='{engine}', offload=True)"
    assert largest_setting(setting(EIGHT, recipe), [card]) == f"{FITS} {advice}"
    short_of_host = replace(card, memory=4 * GIB)
    assert "No setting" in largest_setting(setting(EIGHT, recipe), [short_of_host])


def test_workers_of_one_machine_share_its_memory() -> None:
    machine = Machine(memory=24 * GIB)
    one = setting(ONE, ZeroShot(), Footprint(workers=1, gpus_per_worker=0))
    assert not one.shortfall(machine)
    message = find_misfit([setting(ONE, ZeroShot(), ON_CPU)], machine)
    assert "4 workers at once, but this machine has 24.0 GiB" in message
    assert message.endswith(f"{FITS} Footprint(workers=3)")
    busy = find_misfit([setting(ONE, ZeroShot(), ON_CPU)], machine, 10 * GIB)
    assert "next to 10.0 GiB of other processes" in busy and "workers=2" in busy
    assert "No setting" in find_misfit([one], Machine(memory=GIB))


def test_workers_share_the_pages_of_weights_in_their_file_s_format() -> None:
    four = setting(replace(ONE, is_mapped=True), ZeroShot(), ON_CPU)
    whole = setting(ONE, ZeroShot(), ON_CPU).cpu_memory
    assert whole - four.cpu_memory == pytest.approx(3 * 4 * 1.24e9 / USABLE_HOST_SHARE)
    for recipe in (FullFineTuning(), QLoRA()):  # these copy the weights
        alone, shared = (setting(s, recipe, ON_CPU).cpu_memory for s in (ONE, four.shape))
        assert alone == shared


def test_small_batches_of_short_texts_take_less_memory_than_large_ones() -> None:
    def need(batch_size: int, longest: float) -> float:
        recipe = LoRA(batch_size=batch_size)
        return setting(ONE, recipe, ON_CPU, longest=longest).worker_memory or 0.0

    assert need(2, 100) < need(4, 100) < need(32, 100)
    assert need(16, 100) == need(32, 100), "larger batches are split"
    scoring = setting(ONE, ZeroShot(), ON_CPU, longest=10).worker_memory or 0.0
    assert need(1, 10) >= scoring, "a trained model is scored"


def test_workers_that_share_a_gpu_get_a_larger_share_of_it() -> None:
    shared = Footprint(workers=1, gpus_per_worker=0.2)
    fifth = setting(replace(ONE, dtype="bfloat16"), ZeroShot(), shared)
    each = "for its workers, 0.2 of it each, but that of this machine has 24.0 GiB"
    assert each in fifth.shortfall(CARD)
    training = setting(ONE, LoRA(), shared).shortfall(CARD)
    assert f"with gradient checkpointing {each}" in training
    assert largest_setting(fifth, [CARD]) == f"{FITS} Footprint(workers=1, gpus_per_worker=0.5)"


def test_a_model_of_unknown_size_is_not_refused() -> None:
    unknown = replace(EIGHT, num_params=None)
    assert not find_misfit([setting(unknown, FullFineTuning())], CARD)
    assert not find_misfit([setting(unknown, LoRA(), ON_CPU)], Machine(memory=GIB))


@pytest.mark.parametrize("recipe", [ZeroShot(), InContext(k=8), LinearProbe(), LoRA(), QLoRA()])
def test_long_texts_take_more_memory(recipe: Recipe) -> None:
    for estimate in (worker_bytes, cpu_bytes):
        short, long, shared = (
            estimate(ONE, recipe, ON_GPU, workers=1, lengths=lengths) or 0.0
            for lengths in (
                Lengths(longest=500),
                Lengths(longest=8000),
                Lengths(longest=500, shared=4000),
            )
        )
        each = 8000 * 2048 * 4 * (ONE.num_layers or 0) * isinstance(recipe, WeightTraining)
        assert long - short > each, "inputs of all layers, at least, where weights are trained"
        assert shared > short


def test_rows_are_those_of_the_loop_and_states_those_of_its_checkpointing() -> None:
    from study.cost.memory import CPU_BATCH_TOKENS, MICRO_BATCH_TOKENS

    assert STATES_PER_WIDTH == gradient_checkpointing.STATES_PER_WIDTH
    assert loop.MICRO_BATCH_TOKENS["cpu"] == CPU_BATCH_TOKENS
    assert MICRO_BATCH_TOKENS == loop.DEFAULT_MICRO_BATCH_TOKENS


MEASURED = {
    "SmolLM2-135M": (134_515_008, 30, 576, 49_152, {ZeroShot(): 1250, LoRA(): 3294}),
    "Gemma-3-270M": (268_098_176, 18, 640, 262_144, {ZeroShot(): 2230, LoRA(): 4367}),
}
"""Weights, layers, hidden size, vocabulary; peaks in MiB on ARC (docs/reference/performance.md)."""


@pytest.mark.parametrize("name", MEASURED)
def test_estimates_are_a_little_above_measured_peaks(name: str) -> None:
    number, layers, width, vocabulary, peaks = MEASURED[name]
    shape = ModelShape(
        num_params=number,
        dtype="float32",
        num_layers=layers,
        hidden_size=width,
        vocab_size=vocabulary,
    )
    for recipe, peak in peaks.items():
        estimate = cpu_bytes(shape, recipe, ON_CPU, workers=1, lengths=Lengths(longest=250))
        assert 1.0 <= (estimate or 0.0) / 2**20 / peak < 1.25, recipe.method
