"""Whether the machines that there are can hold a block: on GPUs, and in their own memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces.base_models import BaseModelRef, EngineName, Footprint
from search_spaces.recipes import FullFineTuning, LoRA, QLoRA, Recipe, ZeroShot
from study.artifacts.costs import StudyCost
from study.cost.jobs import PricedJob, PricingOptions, check_budget, check_memory
from study.cost.memory import ModelShape, host_bytes
from study.cost.pricer import Pricer
from study.cost.prices import read_prices
from study.cost.text import describe_cost
from study.formatting import GIB
from tests.support.fakes import fake_space
from trainables.errors import CostError, InsufficientMemoryError

SHIPPED = PricingOptions(prices=read_prices(), source="study/cost/prices.toml")
SEVENTY = ModelShape(
    num_params=70_000_000_000,
    dtype="float32",
    num_layers=80,
    hidden_size=8192,
    vocab_size=32_000,
)
SEVEN = replace(SEVENTY, num_params=7_000_000_000, num_layers=32, hidden_size=4096)
OFFLOADED = Footprint(engine="zero-3", workers=8, offload=True)


def price(
    recipe: Recipe, shape: ModelShape, footprint: Footprint, pricing: PricingOptions = SHIPPED
) -> StudyCost:
    space = fake_space(models=(BaseModelRef(name="base"),), footprint=footprint, contrasts=())
    jobs = [PricedJob(model="base", recipe=recipe, num_cells=1, flop=1e18)]
    return Pricer(space, {"base": shape}, jobs, pricing, {}).study(jobs)


def test_memory_of_the_machine_by_hand() -> None:
    """Of 7 billion weights in 32 bits, ZeRO-3 with everything in the CPU's memory: weights, their
    copy that is stepped, gradients and two moments, and the weights that are put back at the end,
    6 x 4 bytes; while a checkpoint is written, copy, moments and weights twice more, 8 x 4."""
    found = host_bytes(SEVEN, FullFineTuning(), OFFLOADED, workers=8)
    assert found is not None
    assert found * 0.9 == pytest.approx(7e9 * 4 * (6 + 8) + 8 * 4 * GIB)
    # Workers of the lower stages hold the trained weights whole, each.
    whole = Footprint(engine="zero-2", workers=8, offload=True)
    found = host_bytes(SEVEN, FullFineTuning(), whole, workers=8)
    assert found is not None
    kept, engine, checkpoint = 8, 5, 2 * (3 + 8)
    assert found * 0.9 == pytest.approx(7e9 * 4 * (kept + engine + checkpoint) + 8 * 4 * GIB)


def test_nothing_is_counted_where_nothing_is_offloaded() -> None:
    assert host_bytes(SEVENTY, FullFineTuning(), Footprint(), workers=1) == 0
    assert host_bytes(replace(SEVEN, num_params=None), ZeroShot(), OFFLOADED, workers=8) is None
    only_scored = host_bytes(SEVEN, ZeroShot(), OFFLOADED, workers=8)
    assert only_scored is not None
    assert only_scored * 0.9 == pytest.approx(7e9 * 4 + 8 * 4 * GIB)


def test_70b_in_32_bits_offloaded_to_one_machine_does_not_fit() -> None:
    """Its GPUs would hold it, but everything except a layer and a batch is in CPU memory: 4 TiB."""
    cost = price(FullFineTuning(), SEVENTY, OFFLOADED)
    assert cost.on_demand is None
    assert "of CPU memory for offloaded state" in cost.bases[0].reason
    assert cost.bases[0].memory_gib is not None and cost.bases[0].memory_gib < 80
    with pytest.raises(CostError, match="no type in the price table has that"):
        check_budget(cost, 1e9)
    named = price(FullFineTuning(), SEVENTY, OFFLOADED, replace(SHIPPED, instance="p5.48xlarge"))
    with pytest.raises(
        InsufficientMemoryError, match=r"base model base: .*p5.48xlarge has .*2,048 GiB"
    ):
        check_memory(named)
    fits = price(FullFineTuning(), SEVEN, OFFLOADED, replace(SHIPPED, instance="p5.48xlarge"))
    check_memory(fits)
    assert fits.on_demand is not None


@pytest.mark.parametrize("engine", ["zero-1", "zero-2"])
def test_stages_that_keep_weights_whole_take_more_of_the_machine(engine: EngineName) -> None:
    whole = Footprint(engine=engine, workers=8, offload=True)
    least = host_bytes(SEVEN, FullFineTuning(), OFFLOADED, workers=8) or 0
    assert (host_bytes(SEVEN, FullFineTuning(), whole, workers=8) or 0) > 2 * least
    adapter = host_bytes(SEVEN, LoRA(), whole, workers=8) or 0
    assert adapter < least / 5, "an adapter's state is small, and the base is on the GPUs"


def test_price_is_that_of_a_machine_of_the_cluster() -> None:
    """The cheapest L4 of the table is a g6.xlarge; this cluster has none, and no other cloud's."""
    nf4 = QLoRA()
    anywhere = price(nf4, SEVEN, Footprint())
    assert anywhere.bases[0].instance == "g6.xlarge"
    here = replace(SHIPPED, types=("g5.2xlarge", "g6.12xlarge"))
    assert price(nf4, SEVEN, Footprint(), here).bases[0].instance == "g5.2xlarge"
    assert price(nf4, SEVEN, Footprint(workers=4), here).bases[0].instance == "g6.12xlarge"


def test_a_base_that_no_machine_of_the_cluster_holds_is_refused() -> None:
    here = replace(SHIPPED, types=("g5.2xlarge", "g6.12xlarge"))
    huge = replace(SEVENTY, num_params=140_000_000_000)
    cost = price(ZeroShot(), huge, Footprint(), here)
    with pytest.raises(InsufficientMemoryError) as refused:
        check_memory(cost)
    said = str(refused.value)
    assert "base model base: a block needs 1 x " in said and "g5.2xlarge has 1 x 24 GiB" in said
    assert "g6.12xlarge has 4 x 22 GiB" in said
    assert said.endswith("No setting of this model fits: use a smaller model, or a larger machine")
    wanted = r"g6\.12xlarge is BaseModelRef\(dtype='bfloat16'\) with .*'zero-3', offload=True\)$"
    with pytest.raises(InsufficientMemoryError, match=wanted):
        check_memory(price(ZeroShot(), SEVENTY, Footprint(), here))
    wanted = r"needs 8 x .*g6\.12xlarge has 4 x .* g6\.12xlarge is .*workers=4, .* engine='zero-3'"
    with pytest.raises(InsufficientMemoryError, match=wanted):
        check_memory(price(LoRA(), SEVEN, Footprint(workers=8), here))


def test_a_type_of_the_cluster_that_is_too_small_is_noted() -> None:
    """Ray may choose it: one GPU is one GPU to it."""
    here = replace(SHIPPED, types=("g6.2xlarge", "a2-ultragpu-1g", "m7i.4xlarge"))
    cost = price(ZeroShot(), SEVEN, Footprint(), here)
    check_memory(cost)
    text = "\n".join(describe_cost(cost))
    assert (
        "note: base needs 1 x " in text
        and "may place its blocks on g6.2xlarge, which is too small" in text
    )
    assert not price(QLoRA(), SEVEN, Footprint(), here).notes


def test_where_the_machines_are_not_known_the_reason_is_printed_only() -> None:
    cost = price(ZeroShot(), SEVENTY, Footprint())
    check_memory(cost)
    assert "no type in the price table has that" in "\n".join(describe_cost(cost))


def test_a_machine_without_a_price_may_hold_anything() -> None:
    cost = price(ZeroShot(), SEVENTY, Footprint(), replace(SHIPPED, types=("x9.huge",)))
    check_memory(cost)
    assert cost.on_demand is None and "x9.huge has no price" in cost.bases[0].reason


def test_without_gpus_a_known_machine_is_paid_and_memory_is_not_asked_for() -> None:
    here = replace(SHIPPED, types=("m7i.2xlarge",), has_gpus=False)
    cost = price(ZeroShot(), SEVENTY, Footprint(), here)
    check_memory(cost)
    assert cost.bases[0].instance == "m7i.2xlarge" and (cost.on_demand or 0) > 0
