"""The work of probes: one pass of the base for all that share its hidden states."""

from __future__ import annotations

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LinearProbe
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD
from search_spaces.supervision import Condition, SelfTraining
from study.cost.flops import PROBE_SHARE
from study.planning.planner import make_plan
from study.planning.units import share_passes


def probes_space(seeds: int, prompt: str) -> Space:
    """Two probes and a round of self-training a seed."""
    options = SelfTraining(orders="given")
    axis = TaskAxis(
        task="micro",
        prompt=prompt,
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        train_on_all=False,
        conditions=(
            Condition(name="ssrm", levels=("easy",), unlabelled=("hard",), self_training=options),
        ),
    )
    return Space(
        name="probes",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=(LinearProbe(),),
        seeds=seeds,
    )


def probes_work(seeds: int, prompt: str) -> tuple[list[float], float]:
    """Work of each probe, and that of the zero-shot cell."""
    plan, _ = make_plan(probes_space(seeds, prompt))
    assert len(plan.cells) == 1 + 3 * seeds
    probes = [cell.flop for cell in plan.cells if cell.cell.recipe.method == "linear probe"]
    (zero_shot,) = [cell.flop for cell in plan.cells if cell.flop not in probes]
    return probes, zero_shot


def test_more_probes_do_not_make_more_passes() -> None:
    few, many = (sum(probes_work(seeds, "open")[0]) for seeds in (4, 20))
    assert many == pytest.approx(few), "12 and 60 probes, one pass"


def test_a_pool_whose_choices_the_prompt_lists_is_labelled_by_additional_passes() -> None:
    hidden, zero_shot = probes_work(4, "open")
    listed, _ = probes_work(4, "listed")
    assert max(listed) > zero_shot > max(hidden)
    assert max(listed) == max(probes_work(20, "listed")[0]), "no probe shares these"


def test_probes_share_a_pass_across_axes_of_different_sizes() -> None:
    plan = make_plan(probes_space(4, "open"))[0]
    probes = tuple(cell for cell in plan.cells if cell.cell.recipe.method == "linear probe")
    sizes = [1.0 + (cell.cell.self_training is None) * (cell.cell.seed or 0) for cell in probes]
    cells = tuple(
        cell.model_copy(update={"flop": size}) for cell, size in zip(probes, sizes, strict=True)
    )
    shared = [
        cell.flop / size for cell, size in zip(share_passes(cells, [cells]), sizes, strict=True)
    ]
    assert shared == pytest.approx([1.0 / (PROBE_SHARE * len(probes))] * len(probes))
