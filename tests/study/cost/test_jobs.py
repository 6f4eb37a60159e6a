"""The price of a plan: memory, node types, seconds and dollars, against manual sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.cell import Cell
from search_spaces.recipes import FullFineTuning, LinearProbe, PolicyDPO, QLoRA, Recipe, ZeroShot
from search_spaces.registry import find_space
from search_spaces.space import Space
from study.artifacts.costs import StudyCost
from study.cost.devices import DEVICES, useful_flop_per_second
from study.cost.flops import CPU_FLOP_PER_SECOND
from study.cost.jobs import PricedJob, PricingOptions, Timings, check_budget, check_memory, jobs_of
from study.cost.memory import (
    LEAST_SHARE,
    MICRO_BATCH_TOKENS,
    USABLE_SHARE,
    ModelShape,
    quantization_notes,
    weight_bytes,
    worker_bytes,
)
from study.cost.model_sizes import MODELS
from study.cost.pricer import NODE_SECONDS, Pricer, shapes_of
from study.cost.prices import read_prices
from study.formatting import GIB
from study.planning.planner import make_plan
from tests.support.fakes import fake_space
from tests.support.small_study import SmallStudy
from trainables.cells.planned import Block, PlannedCell, Unit
from trainables.errors import CostError, InsufficientMemoryError
from trainables.models.resolve import count_expert_params
from trainables.storage.records import Record

PRICES = """
[clouds.mine]
region = "cellar"
date = "2026-01-31"
source = "the electricity bill"
spot_share = 0.5

[instances.big]
cloud = "mine"
gpu = "H100"
gpus = 4
gpu_memory_gib = 80
vcpus = 32
memory_gib = 1152
on_demand = 40.0

[instances.small]
cloud = "mine"
gpu = "L4"
gpus = 1
gpu_memory_gib = 24
vcpus = 8
on_demand = 3.6

[instances.head]
cloud = "mine"
gpus = 0
vcpus = 4
on_demand = 0.36
"""

SEVEN = ModelShape(
    num_params=6_740_000_000,
    dtype="bfloat16",
    num_layers=32,
    hidden_size=4096,
    vocab_size=32_000,
)
PLAIN = Footprint()
NF4 = QLoRA()


@pytest.fixture
def pricing(tmp_path: Path) -> PricingOptions:
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    return PricingOptions(prices=read_prices(file), source="mine")


def need(recipe: object, footprint: Footprint = PLAIN, workers: int = 1) -> float:
    found = worker_bytes(SEVEN, recipe, footprint, workers=workers)  # type: ignore[arg-type]
    assert found is not None
    return found / GIB


def price(
    pricing: PricingOptions,
    jobs: list[PricedJob],
    *,
    footprint: Footprint = PLAIN,
    shape: ModelShape = SEVEN,
    rates: dict[tuple[str, str], float] | None = None,
) -> StudyCost:
    names = list(dict.fromkeys(job.model for job in jobs))
    models = tuple(BaseModelRef(name=name) for name in names)
    space = fake_space(models=models, footprint=footprint, contrasts=())
    return Pricer(space, dict.fromkeys(names, shape), jobs, pricing, rates or {}).study(jobs)


def job(recipe: object = NF4, flop: float = 1e18, model: str = "a") -> PricedJob:
    return PricedJob(model=model, recipe=recipe, num_cells=3, flop=flop)  # type: ignore[arg-type]


def test_memory_of_known_cases() -> None:
    """LoRA of a 7B fits a 24 GiB card (arXiv:2305.14314 trains it on 5 GiB of weights), full
    fine-tuning takes 16 bytes a weight and activations: no card of 80 GiB."""
    assert 5 < need(NF4) < 10
    assert 13 < need(ZeroShot()) < 20  # 12.6 GiB of weights in 16 bits
    full = replace(SEVEN, dtype="float32")
    assert (worker_bytes(full, FullFineTuning(), PLAIN, workers=1) or 0) / GIB > 100


@pytest.mark.parametrize(
    ("recipe", "dtype", "bytes_a_weight"),
    [
        (FullFineTuning(), "float32", 4 + 4 + 8),
        (FullFineTuning(), "bfloat16", 2 + 4 + 4 + 8),
        (FullFineTuning(), "float16", 2 + 4 + 4 + 8),
        (PolicyDPO(), "bfloat16", 2 + 4 + 4 + 8),  # the base is its own reference, scored first
    ],
)
def test_masters_and_their_moments_are_counted_in_32_bits(
    recipe: Recipe, dtype: str, bytes_a_weight: int
) -> None:
    """Weight, master, gradient and two moments; 1,024 tokens are an eighth of a batch."""
    shape = replace(SEVEN, dtype=dtype)
    size = 4 if dtype == "float32" else 2
    batch = 1024 * 4096 * size * (32 + 32) + 4 * 1024 / 4 * 32_000 * 4
    batch += 32_000 * 4096 * 4 * (size == 2)  # the projection to logits, in 32 bits
    wanted = (6.74e9 * bytes_a_weight + batch + GIB) / USABLE_SHARE
    assert worker_bytes(shape, recipe, PLAIN, workers=1) == pytest.approx(wanted)


def test_experts_stay_in_16_bits_and_the_plan_says_so() -> None:
    """Mixtral by its config.json: 32 layers of 8 experts of three 4,096 x 14,336 matrices."""
    config = {
        "num_hidden_layers": 32,
        "num_local_experts": 8,
        "hidden_size": 4096,
        "intermediate_size": 14336,
    }
    experts = count_expert_params(config)
    assert experts == 45_097_156_608
    size = MODELS["mistralai/Mixtral-8x7B-v0.1"]
    assert size.num_expert == pytest.approx(experts, rel=1e-3)
    mixtral = replace(SEVEN, num_params=size.num_params, num_expert_params=experts)
    # 1.3 of the other 1.6 billion weights are attention's, in 8 bits and their scales.
    embedded = 2 * 32_000 * 4096
    rest = size.num_params - experts - embedded
    wanted = 2 * (experts + embedded) + 1.01 * rest
    assert weight_bytes(mixtral, "int8") == pytest.approx(wanted)
    assert weight_bytes(mixtral, "none") == 2 * size.num_params
    shapes = {"dense": SEVEN, "mixture": mixtral}
    (note,) = quantization_notes(shapes, ["int8", "none"])
    assert "int8 leaves 97% of mixture in bfloat16" in note
    assert not quantization_notes(shapes, ["none"])


def test_zero_shares_what_its_stage_shares() -> None:
    engines = {
        stage: need(FullFineTuning(), Footprint(engine=stage, workers=4), 4)
        for stage in ("plain", "zero-1", "zero-2", "zero-3")
    }
    sizes = list(engines.values())
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    weights = weight_bytes(SEVEN, "none") / GIB
    assert engines["zero-2"] - engines["zero-3"] == pytest.approx(weights * 3 / 4 / USABLE_SHARE)
    offloaded = need(FullFineTuning(), Footprint(engine="zero-3", workers=4, offload=True), 4)
    assert offloaded < engines["zero-3"] / 2


@pytest.mark.parametrize("recipe", [FullFineTuning(), ZeroShot()], ids=["training", "scoring"])
@pytest.mark.parametrize("workers", [1, 4])
def test_an_eighth_of_a_batch_has_to_fit_because_teams_halve_too(
    recipe: Recipe, workers: int
) -> None:
    """7 billion weights in 16 bits with ZeRO-2, summed manually."""
    kept = 32 + (32 if isinstance(recipe, FullFineTuning) else 0)
    logits = 1024 / 4 * 32_000 * 4 * (4 if isinstance(recipe, FullFineTuning) else 2)
    batch = 1024 * 4096 * 2 * kept + logits + 32_000 * 4096 * 4
    # Gradients, two moments, and the copy that is stepped, all in 32 bits.
    shared = 6.74e9 * (4 + 8 + 4) / workers if isinstance(recipe, FullFineTuning) else 0.0
    bytes_ = 6.74e9 * 2 + shared + batch + GIB
    worker_group = Footprint(engine="zero-2", workers=workers)
    assert need(recipe, worker_group, workers) == pytest.approx(bytes_ / USABLE_SHARE / GIB)


def test_a_team_that_runs_out_of_memory_tries_again_at_half() -> None:
    """What the eighth rests on: without it all of a batch would have to fit."""
    retries = pytest.importorskip("trainables.cells.retries")
    tried = []

    def run(planned: object, unit: object, share: float) -> Callable[[], None]:
        tried.append(share)
        if share > LEAST_SHARE:
            raise MemoryError
        return lambda: None

    runner = SimpleNamespace(worker_group=SimpleNamespace(size=2), device="cpu")
    policy = SimpleNamespace(runner=runner, _previous={}, _run=run)
    retries.RetryPolicy.run(policy, SimpleNamespace(id="cell"), ())
    assert tried == [1.0, 0.5, 0.25, 0.125]


def test_a_batch_is_the_worker_s() -> None:
    training = pytest.importorskip("trainables.methods.training.loop")
    assert training.DEFAULT_MICRO_BATCH_TOKENS == MICRO_BATCH_TOKENS


def test_dollars_by_hand(pricing: PricingOptions) -> None:
    """The 7B in NF4 fits the small node; its seconds are operations over an L4's rate."""
    cost = price(pricing, [job(flop=1e18)])
    seconds = 1e18 / useful_flop_per_second(
        "L4", dtype="bfloat16", quantization="nf4", generates=False
    )
    assert seconds == pytest.approx(1e18 / (121e12 * 0.32 * 0.7))
    (base,) = cost.bases
    assert (base.instance, base.workers, base.num_cells) == ("small", 1, 3)
    assert base.gpu_hours == pytest.approx(seconds / 3600)
    assert base.on_demand == pytest.approx(seconds * 0.001)  # 3.6 $ an hour
    assert cost.on_demand == pytest.approx((seconds + NODE_SECONDS) * 0.001)
    assert cost.spot == pytest.approx((seconds + NODE_SECONDS) * 0.0005)


def test_node_of_four_is_shared_by_its_workers(pricing: PricingOptions) -> None:
    cost = price(pricing, [job(flop=1e18)], footprint=Footprint(workers=4))
    (base,) = cost.bases
    rate = DEVICES["H100"].peak_16 * 0.32 * 0.7
    assert base.instance == "big" and base.gpu_hours == pytest.approx(1e18 / rate / 3600)
    assert base.on_demand == pytest.approx(1e18 / rate / 4 * 40 / 3600)


def test_workers_that_share_a_gpu_pay_for_their_fraction_of_it(pricing: PricingOptions) -> None:
    """Two workers at half the pace each: the GPU-hours and the price of one with a whole GPU."""
    alone = price(pricing, [job(flop=1e18)]).bases[0]
    half = price(pricing, [job(flop=1e18)], footprint=Footprint(gpus_per_worker=0.5)).bases[0]
    assert (half.instance, half.workers) == ("small", 2)
    assert half.gpu_hours == pytest.approx(alone.gpu_hours)
    assert half.worker_hours == pytest.approx(2 * (alone.worker_hours or 0))
    assert half.on_demand == pytest.approx(alone.on_demand)


def test_a_fraction_of_a_gpu_holds_a_fraction_of_its_memory(pricing: PricingOptions) -> None:
    """6.6 GiB fit 0.3 of the small node's GPU of 24 GiB; 0.2 of it is too little, of 80 GiB not."""
    (base,) = price(pricing, [job()]).bases
    assert base.memory_gib == pytest.approx(6.59, abs=0.01)
    (third,) = price(pricing, [job()], footprint=Footprint(gpus_per_worker=0.3)).bases
    assert (third.instance, third.workers) == ("small", 3)
    assert third.memory_gib == base.memory_gib, "of one worker"
    (fifth,) = price(pricing, [job()], footprint=Footprint(gpus_per_worker=0.2)).bases
    assert (fifth.instance, fifth.workers) == ("big", 20)
    named = replace(pricing, instance="small")
    with pytest.raises(
        InsufficientMemoryError,
        match=r"needs 1 x 32\.9 GiB .* small is Footprint\(workers=1, gpus_per_worker=0\.5\)",
    ):
        check_memory(price(named, [job()], footprint=Footprint(gpus_per_worker=0.2)))


def test_the_pace_of_workers_that_shared_a_gpu_prices_them(pricing: PricingOptions) -> None:
    """A cell that took 100 s on half a GPU takes 100 s on half a GPU, and 50 s on a whole one."""
    cell = PlannedCell(id="0", cell=probe_cell(), model_name="a", condition="easy", flop=1e18)
    timings = Timings()
    timings.add(cell, record(100.0, device="cuda", gpus_per_worker=0.5))
    job_ = PricedJob(model="a", recipe=cell.cell.recipe, num_cells=1, flop=1e18)
    rates = dict(timings.rates(on_gpus=True))
    shared = price(pricing, [job_], footprint=Footprint(gpus_per_worker=0.5), rates=rates)
    assert shared.bases[0].worker_hours == pytest.approx(100 / 3600)
    assert shared.bases[0].gpu_hours == pytest.approx(50 / 3600)
    assert price(pricing, [job_], rates=rates).bases[0].worker_hours == pytest.approx(50 / 3600)


def test_a_team_shares_its_training_and_nothing_else(pricing: PricingOptions) -> None:
    """Four workers: a quarter of the training each, but the test's items four times."""
    half = PricedJob(model="a", recipe=NF4, num_cells=1, flop=1e18, training_flop=5e17)
    rate = DEVICES["H100"].peak_16 * 0.32 * 0.7
    alone = price(pricing, [half], footprint=Footprint(workers=4))
    worker_group = price(pricing, [half], footprint=Footprint(workers=4, engine="zero-2"))
    assert alone.bases[0].gpu_hours == pytest.approx(1e18 / rate / 3600)
    assert worker_group.bases[0].gpu_hours == pytest.approx((5e17 + 4 * 5e17) / rate / 3600)
    seconds = (5e17 / 4 + 5e17) / rate
    assert worker_group.bases[0].on_demand == pytest.approx(seconds * 40 / 3600)
    assert worker_group.bases[0].flop == 1e18


def test_the_pace_of_a_team_prices_the_team(pricing: PricingOptions) -> None:
    """What took 100 s on four workers costs 100 s of a node of four, by the same count."""
    cell = PlannedCell(
        id="0", cell=probe_cell(), model_name="a", condition="easy", flop=1e18, training_flop=6e17
    )
    timings = Timings()
    timings.add(cell, record(100.0, device="cuda", workers=4))
    job_ = PricedJob(model="a", recipe=cell.cell.recipe, num_cells=1, flop=1e18, training_flop=6e17)
    worker_group = Footprint(workers=4, engine="zero-2")
    cost = price(pricing, [job_], footprint=worker_group, rates=dict(timings.rates(on_gpus=True)))
    assert cost.bases[0].on_demand == pytest.approx(100 * 40 / 3600)


def test_bases_of_one_footprint_are_on_one_node_type_that_holds_the_largest(
    pricing: PricingOptions,
) -> None:
    large = replace(SEVEN, num_params=60_000_000_000, num_layers=None, hidden_size=None)
    jobs = [job(model="a"), job(model="b")]
    space = fake_space(
        models=(BaseModelRef(name="a"), BaseModelRef(name="b")), footprint=PLAIN, contrasts=()
    )
    cost = Pricer(space, {"a": SEVEN, "b": large}, jobs, pricing, {}).study(jobs)
    assert [base.instance for base in cost.bases] == ["big", "big"]
    assert cost.num_nodes == 1
    apart = Space.model_validate(
        space.model_dump()
        | {
            "models": [
                {"name": "a"},
                {"name": "b", "footprint": Footprint(workers=2).model_dump()},
            ]
        }
    )
    cost = Pricer(apart, {"a": SEVEN, "b": large}, jobs, pricing, {}).study(jobs)
    assert [base.instance for base in cost.bases] == ["small", "big"]
    assert cost.num_nodes == 2


def test_what_no_node_holds_has_no_price_and_says_why(pricing: PricingOptions) -> None:
    huge = replace(SEVEN, num_params=405_000_000_000)
    cost = price(pricing, [job(ZeroShot())], shape=huge)
    assert cost.on_demand is None and cost.gpu_hours is None
    assert "no type in the price table has that" in cost.bases[0].reason
    with pytest.raises(CostError, match=r"unknown.*no type"):
        check_budget(cost, 1e9)
    named = price(replace(pricing, instance="small"), [job(ZeroShot())], shape=huge)
    assert "small has 1 x 24 GiB of GPU memory" in named.bases[0].reason


def test_unknown_size_is_unknown_cost(pricing: PricingOptions) -> None:
    cost = price(pricing, [job()], shape=ModelShape(num_params=None, dtype="float32"))
    assert cost.on_demand is None and "size" in cost.bases[0].reason
    check_budget(cost, None)


def test_without_gpus_nothing_is_rented(pricing: PricingOptions) -> None:
    cost = price(replace(pricing, has_gpus=False), [job(flop=3e13)])
    (base,) = cost.bases
    assert (cost.on_demand, cost.spot, cost.gpu_hours) == (0.0, 0.0, 0.0)
    assert base.worker_hours == pytest.approx(3e13 / CPU_FLOP_PER_SECOND / 3600)
    assert "no machines are rented" in base.reason
    check_budget(cost, 0.0)


def test_named_node_without_gpus_is_paid_by_its_cores(pricing: PricingOptions) -> None:
    cost = price(replace(pricing, instance="head"), [job(flop=3e13)])
    assert cost.bases[0].on_demand == pytest.approx(3e13 / CPU_FLOP_PER_SECOND / 4 * 0.0001)


def test_unknown_node_type_is_refused(pricing: PricingOptions) -> None:
    with pytest.raises(ValueError, match="no price of instance type 'huge'"):
        price(replace(pricing, instance="huge"), [job()])


def test_budget_is_held_against_the_on_demand_price(pricing: PricingOptions) -> None:
    cost = price(pricing, [job(flop=1e18)])
    assert cost.on_demand is not None and cost.spot is not None
    check_budget(cost, cost.on_demand)
    with pytest.raises(CostError, match=rf"\${cost.on_demand:,.2f} on-demand"):
        check_budget(cost, (cost.on_demand + cost.spot) / 2)


def test_measured_pace_of_the_same_base_and_method_replaces_the_assumption(
    pricing: PricingOptions,
) -> None:
    jobs = [job(flop=1e18), job(ZeroShot(quantization="nf4"), flop=2e18)]
    cost = price(pricing, jobs, rates={("a", "qlora"): 5e-14, ("b", "zero-shot"): 1.0})
    assumed = 2e18 / (121e12 * 0.32 * 0.7)
    assert cost.bases[0].gpu_hours == pytest.approx((1e18 * 5e-14 + assumed) / 3600)
    assert cost.bases[0].measured_share == pytest.approx(1 / 3)


def test_pace_is_taken_from_records_of_that_kind_of_device(tmp_path: Path) -> None:
    study = SmallStudy(folder=tmp_path)
    plan, _ = make_plan(fake_of(study), study.folder / "data")
    probes = [c for c in plan.cells if c.cell.recipe.method == "linear probe"]
    others = [c for c in plan.cells if c.cell.recipe.method == "lora"]
    timings = Timings()
    timings.add(probes[0], record(2.0, device="cuda"))
    timings.add(probes[1], record(6.0, device="cuda", workers=3))
    timings.add(others[0], record(7.0, device="cpu"))
    # Each of three workers in a group did the whole cell: a probe is not divided.
    pace = 20.0 / (probes[0].flop + 3 * probes[1].flop)
    assert timings.rates(on_gpus=True) == {("micro-s", "linear probe"): pytest.approx(pace)}
    assert set(timings.rates(on_gpus=False)) == {("micro-s", "lora")}


def test_jobs_hold_every_cell_and_each_state_once(tmp_path: Path, pricing: PricingOptions) -> None:
    study = SmallStudy(folder=tmp_path)
    plan, _ = make_plan(fake_of(study), study.folder / "data")
    jobs = jobs_of(plan.cells, plan.tasks)
    assert sum(found.num_cells for found in jobs) == len(plan.cells)
    assert sum(found.flop for found in jobs) == pytest.approx(plan.flop)
    trained = {found.recipe.method: found.training_flop / found.flop for found in jobs}
    assert trained.keys() == {"zero-shot", "in-context", "linear probe", "lora"}
    # 6 items trained for one epoch in three forward passes each, plus the test items.
    tests = plan.tasks[0].num_test
    assert trained.pop("lora") == pytest.approx(3 * 6 / (3 * 6 + tests))
    assert set(trained.values()) == {0.0}
    # 160 items of 4 choices, two layers, whatever the number of probes.
    assert sum(found.num_states for found in jobs) == 160 * 4 * 2
    shape = shapes_of(plan.models)["micro-s"]
    cost = Pricer(plan.space, {"micro-s": shape}, jobs, pricing, {}).study(jobs)
    weights = (shape.num_params or 0) * 4
    assert cost.bases[0].bytes_moved == weights + 160 * 4 * 2 * (shape.hidden_size or 0) * 4


def test_blocks_add_up_to_the_study(tmp_path: Path, pricing: PricingOptions) -> None:
    study = SmallStudy(folder=tmp_path)
    plan, _ = make_plan(fake_of(study), study.folder / "data")
    jobs = jobs_of(plan.cells, plan.tasks)
    pricer = Pricer(plan.space, shapes_of(plan.models), jobs, pricing, {})
    cells = [(cell,) for cell in plan.cells]
    blocks = [
        pricer.block(block(index, part), plan.tasks)
        for index, part in enumerate((cells[:7], cells[7:]))
    ]
    whole = pricer.study(jobs, num_nodes=2, blocks=blocks)
    assert sum(part.num_cells for part in blocks) == len(plan.cells)
    assert whole.on_demand == pytest.approx(sum(part.on_demand or 0 for part in blocks))


def fake_of(study: SmallStudy) -> Space:
    return find_space(study.arguments[0])


def block(index: int, units: Sequence[Unit]) -> Block:
    return Block(
        index=index,
        units=tuple(units),
        workers=1,
        cpus_per_worker=1,
        gpus_per_worker=1,
    )


def probe_cell() -> Cell:
    named = {"task": "t", "data_hash": "d", "split_hash": "s", "prompt": "p"}
    drawn = {"recipe": LinearProbe(), "training_hash": "h", "seed": 0, "version": 1}
    return Cell.model_validate({"model": "m", "dtype": "float32", **named, **drawn})


def record(seconds: float, **execution: object) -> Record:
    return Record(
        cell={},
        scores_sha256="",
        num_items=1,
        accuracy=0.0,
        seconds={"total": seconds},
        execution=execution,
    )


def test_a_probe_s_weights_are_nothing_beside_its_base() -> None:
    assert need(LinearProbe()) == need(ZeroShot())
