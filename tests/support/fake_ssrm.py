"""Spaces with self-training for fake studies."""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, SelfTraining
from tests.support.fakes import EASY, HARD, fake_space


def ssrm_space(*conditions: Condition, **changes: object) -> Space:
    """Easy labels with a hard pool: two thresholds and two controls, unless given others."""
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=(EASY, HARD),
        test_levels=(HARD,),
        train_on_all=False,
        conditions=conditions or (ssrm(0.5), ssrm(0.7), ssrm(0.7, "oracle"), ssrm(0.7, "random")),
    )
    values: dict[str, object] = {
        "tasks": (axis,),
        "models": (BaseModelRef(name="small"),),
        "methods": (LoRA(n_train=8),),
        "contrasts": (),
    }
    return fake_space(**{**values, **changes})


def ssrm(tau: float, targets: str = "pseudo", rounds: int = 1) -> Condition:
    """A condition of self-training, or one of its controls."""
    return Condition(
        name="easy_ssrm" if targets == "pseudo" else targets,
        levels=("easy",),
        unlabelled=("hard",),
        rounds=rounds,
        self_training=SelfTraining.model_validate({"threshold": tau, "targets": targets}),
    )
