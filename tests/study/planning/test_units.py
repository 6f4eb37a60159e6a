"""The work of probes: one pass of the base for all that share its hidden states."""

from __future__ import annotations

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LinearProbe
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD
from search_spaces.supervision import Condition, SelfTraining
from study.planning.planner import make_plan


def probes_work(seeds: int, prompt: str) -> tuple[list[float], float]:
    """Work of each probe, and that of the zero-shot cell."""
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
    space = Space(
        name="probes",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(axis,),
        methods=(LinearProbe(),),
        seeds=seeds,
    )
    plan, _ = make_plan(space)
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
