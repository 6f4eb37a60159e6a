"""Footprints: what cannot work together is refused, with the reason; no cell id knows of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.recipes import (
    FullFineTuning,
    InContext,
    LinearProbe,
    LoRA,
    QLoRA,
    Reasoning,
    TrainedRecipe,
)
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD
from search_spaces.studies.lab.ssrm_rm_micro import ssrm_align
from study.planning.model_checks import check_footprints
from study.planning.planner import make_plan
from study.running.blocks import pack_blocks
from trainables.cluster.capacity import Capacity

ENGINES = ("zero-1", "zero-2", "zero-3")


def space(
    *recipes: TrainedRecipe, of_model: Footprint | None = None, dtype: Any = "float32", **more: Any
) -> Space:
    return Space(
        name="s",
        models=(BaseModelRef(name="micro-s", footprint=of_model, dtype=dtype),),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, HARD),
                test_levels=(HARD,),
                train_on_all=False,
            ),
        ),
        methods=recipes or (LoRA(n_train=8), InContext(k=2)),
        seeds=1,
        **more,
    )


def test_footprints_are_in_no_cell_id() -> None:
    plain, _ = make_plan(space())
    others = [
        space(of_model=Footprint(engine=engine, offload=True, workers=2)) for engine in ENGINES
    ]
    others.append(space(footprint=Footprint(engine="zero-2", workers=8, gpus_per_worker=1)))
    others.append(space(footprint=Footprint(gpus_per_worker=0.5)))
    for other in others:
        planned, _ = make_plan(other)
        assert [cell.id for cell in planned.cells] == [cell.id for cell in plain.cells]
        assert other.footprint_of(other.models[0]) != Footprint()


def test_a_models_footprint_stands_before_the_spaces() -> None:
    mine = space(of_model=Footprint(workers=3), footprint=Footprint(workers=5))
    assert mine.footprint_of(mine.models[0]).workers == 3
    theirs = space(footprint=Footprint(workers=5))
    assert theirs.footprint_of(theirs.models[0]).workers == 5


WORKS = [
    (engine, recipe)
    for engine in ENGINES
    for recipe in (LoRA(), FullFineTuning(), InContext(), LinearProbe())
] + [
    ("zero-1", QLoRA()),
    ("zero-2", QLoRA()),
    ("zero-2", LoRA(head="scalar")),
    ("plain", LoRA(quantization="int8", dropout=0.1)),
]


@pytest.mark.parametrize(("engine", "recipe"), WORKS)
def test_what_works_together_is_let_through(engine: Any, recipe: TrainedRecipe) -> None:
    check_footprints(space(recipe, of_model=Footprint(engine=engine)))


REFUSED = [
    ("zero-1", LoRA(quantization="int8"), "float32", "rounding depends on the whole batch"),
    ("zero-3", InContext(quantization="int8"), "float32", "rounding depends on the whole batch"),
    ("zero-3", QLoRA(), "float32", "ZeRO-3 cannot shard the 4-bit weights"),
    ("zero-3", InContext(quantization="nf4"), "float32", "ZeRO-3 cannot shard the 4-bit weights"),
    ("zero-2", LoRA(dropout=0.1), "float32", "different masks than one"),
    ("zero-3", LoRA(head="scalar"), "float32", "outside the model"),
    ("zero-2", FullFineTuning(), "bfloat16", "use dtype float32, or engine plain"),
    ("zero-3", FullFineTuning(), "bfloat16", "use dtype float32, or engine plain"),
]


@pytest.mark.parametrize(("engine", "recipe", "dtype", "reason"), REFUSED)
def test_what_cannot_work_together_is_refused_with_the_reason(
    engine: Any, recipe: TrainedRecipe, dtype: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        check_footprints(space(recipe, of_model=Footprint(engine=engine), dtype=dtype))
    assert "micro-s" in str(error.value)
    assert engine in str(error.value)


FROZEN = [InContext(), InContext(reasoning=Reasoning()), LinearProbe(), LoRA()]


@pytest.mark.parametrize("recipe", FROZEN)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_base_of_16_bits_can_be_in_pieces_where_its_own_weights_are_not_trained(
    recipe: TrainedRecipe, dtype: str
) -> None:
    """A base of 70 B parameters fits nowhere else. That they work: test_zero.py."""
    check_footprints(space(recipe, of_model=Footprint(engine="zero-3"), dtype=dtype))


@pytest.mark.parametrize("engine", ["plain", *ENGINES])
def test_policies_are_trained_by_one_worker(engine: Any) -> None:
    name = "micro-s"
    with_policy = ssrm_align().model_copy(
        update={"models": (BaseModelRef(name=name, footprint=Footprint(engine=engine)),)}
    )
    assert with_policy.policy is not None
    if engine == "plain":
        check_footprints(with_policy)
        return
    with pytest.raises(ValueError, match="trains policies") as error:
        check_footprints(with_policy)
    assert name in str(error.value) and engine in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_policies_are_not_trained_in_float16(dtype: Any) -> None:
    model = BaseModelRef(name="micro-s", dtype=dtype)
    with_policy = ssrm_align().model_copy(update={"models": (model,)})
    if dtype != "float16":
        check_footprints(with_policy)
        return
    with pytest.raises(ValueError, match=r"model 'micro-s' has dtype float16.* use dtype bfloat16"):
        check_footprints(with_policy)


def test_the_plan_refuses_before_it_loads_anything() -> None:
    bad = space(QLoRA(), of_model=Footprint(engine="zero-3"))
    unknown = bad.tasks[0].model_copy(update={"task": "no such task"})
    with pytest.raises(ValueError, match="cannot shard"):
        make_plan(bad.model_copy(update={"tasks": (unknown,)}))


def test_dropout_is_let_through_on_one_worker() -> None:
    footprint = Footprint(engine="zero-2", workers=1)
    check_footprints(space(LoRA(dropout=0.1), of_model=footprint))


@pytest.mark.parametrize("gpus", [None, 0, 1, 8, 0.5, 0.3333])
def test_a_worker_has_whole_gpus_or_a_fraction_of_one(gpus: float | None) -> None:
    assert Footprint(gpus_per_worker=gpus).gpus_per_worker == gpus


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gpus_per_worker": 1.5}, "gpus_per_worker=1.5: a worker has a whole number"),
        ({"gpus_per_worker": -0.5}, "greater than or equal to 0"),
        ({"gpus_per_worker": 0.4, "engine": "zero-2"}, "engine zero-2 exchange tensors by NCCL"),
        ({"gpus_per_worker": 1 / 3}, "steps of 0.0001; use 0.3333"),
        ({"gpus_per_worker": 0.00001}, "steps of 0.0001; use 0.0001"),
    ],
)
def test_a_fraction_that_cannot_be_allocated_is_refused(fields: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Footprint(**fields)


def test_a_block_that_runs_together_keeps_all_its_workers() -> None:
    plan, _ = make_plan(space())
    units = ((plan.cells[0],),)
    fits = Capacity(slots=1, workers=4, cpus_per_worker=1, gpus_per_worker=0)
    zero = replace(fits, engine="zero-2", offload=True)
    (together,) = pack_blocks(units, zero, first_index=7)
    assert (together.workers, together.index, together.runs_together) == (4, 7, True)
    assert together.offload
    (apart,) = pack_blocks(units, fits)
    assert (apart.workers, apart.runs_together) == (1, False)
