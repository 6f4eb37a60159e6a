"""Spaces `cost` and `cost_micro`: should a label budget buy easy or hard labels?

A hard label costs two easy ones, so a budget buys n easy labels or n / 2 hard ones
(arXiv:2401.06751, section 5.3, Figure 6).
"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import with_fixed_updates
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, LAB_LORA
from search_spaces.studies.published.hase2024 import (
    BLOOM,
    DECOMPOSITION,
    DIFFICULTY,
    EDUCATION,
    GRADES,
    LLAMA_70B,
    PROBE,
)
from search_spaces.supervision import Condition

BUDGETS = (20, 40, 80, 160, 320)
"""In easy labels."""

HARD_PRICE = 2

PRICES = {"easy": 1, "hard": HARD_PRICE}
"""Level -> price of one of its labels, in easy labels."""


def bought(budgets: tuple[int, ...] = BUDGETS) -> tuple[Condition, ...]:
    """Returns for each budget a condition with its easy labels, and one with its hard labels.

    160 labels are left out, because they are the plain conditions.
    """
    return tuple(
        Condition(
            name=_name(budget, level),
            levels=(level,),
            n_train=budget // price,
            label_cost=price,
        )
        for budget in budgets
        for level, price in PRICES.items()
        if budget // price != PROBE.n_train
    )


def contrasts(budgets: tuple[int, ...] = BUDGETS) -> tuple[Contrast, ...]:
    """Returns easy - hard labels for each budget."""
    return tuple(
        Contrast(
            first=Arm(condition=_name(budget, "easy")),
            second=Arm(condition=_name(budget, "hard")),
            test_level="hard",
        )
        for budget in budgets
    )


def _name(budget: int, level: str) -> str:
    """The condition that spends a budget on labels of one level."""
    number = budget // PRICES[level]
    return level if number == PROBE.n_train else f"{number} {level}"


def _axis(task: str, measure: str, cut: tuple[Level, ...]) -> TaskAxis:
    return TaskAxis(
        task=task,
        measure=measure,
        train_levels=cut,
        test_levels=cut[-1:],
        train_on_all=False,
        prompt="paper",
        conditions=bought(),
    )


def cost() -> Space:
    """Which labels should a fixed budget buy, easy or hard? A linear probe on three tasks.

    Budgets are 20 to 320 easy labels; the ceiling is 160 hard ones.

    The split is the paper's, because a frozen split that keeps pools for 320 labels of a level
    would leave too few test items. Ten seeds, as in the released code for ARC and MMLU (the text of
    the paper has five). Every probe makes 100 full-batch steps, so a budget buys labels and no
    training.
    """
    return Space(
        name="cost",
        models=(BaseModelRef(name=LLAMA_70B, dtype="bfloat16"),),
        tasks=(
            _axis("arc", "grade", GRADES),
            _axis("arc", "difficulty", DIFFICULTY),
            _axis("arc", "bloom", BLOOM),
            _axis("mmlu_stem5", "education", EDUCATION),
            _axis("strategyqa", "steps", DECOMPOSITION),
        ),
        methods=(PROBE,),
        seeds=10,
        split="paper",
        contrasts=contrasts(),
    )


def cost_micro() -> Space:
    """Which labels should a fixed budget buy? On the lab, with adapters.

    Every budget gets the 30 updates of 160 labels, so that it buys labels and no training.
    """
    return Space(
        name="cost_micro",
        models=(BaseModelRef(name="micro-m"),),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, HARD),
                test_levels=(HARD,),
                train_on_all=False,
                conditions=bought(),
            ),
        ),
        methods=(with_fixed_updates(LAB_LORA),),
        seeds=4,
        contrasts=contrasts(),
    )
