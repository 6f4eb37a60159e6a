"""Study `arc_small_models`: ARC on SmolLM2-135M-Instruct and Gemma-3-270M, in several spaces.

A recipe found by a search belongs to one base model, and methods differ in their number of seeds,
so each base model has a space per method. All spaces have one split, and share the cells that they
have in common if they run in one run folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.contrasts import ZERO_SHOT
from search_spaces.levels import Level
from search_spaces.recipes import InContext, LinearProbe, LoRA, TrainedRecipe
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.studies.lab.ssrm_micro import NAMES, ssrm_contrasts
from search_spaces.studies.published.hase2024 import DIFFICULTY
from search_spaces.studies.small.arc import GRADES
from search_spaces.supervision import Condition, SelfTraining

MODEL_ROOT = "SCARCE_LABELS_MODEL_ROOT"
"""Environment variable: the folder with a folder for each base model; without it they are
downloaded from the Hub."""

ON_THE_HUB = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "gemma3-270m": "google/gemma-3-270m",
}
"""Name of a base model, which is also that of its folder -> its name on the Hub."""

TEST_ITEMS = 300
MOST_LABELS = 320
CURVE = (20, 40, 80, MOST_LABELS)
"""Numbers of labels besides the 160 of the plain conditions."""

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
CONTROLLED = 0.8
MAX_UNLABELLED = 160
"""Of self-training in context, whose every item is a pass of the base model; a probe's round takes
no pass and labels the whole pool."""

PROBE_SEEDS, OTHER_SEEDS = 10, 3
"""A probe is fitted in a tenth of a second, all else takes minutes a cell."""

SMOLLM2_PROBE = LinearProbe(l2=123.35915230805482, search="2d1d2b35a04f7959", search_labels=320)
SMOLLM2_BY_DIFFICULTY = LinearProbe(
    l2=779.0368754176639, search="a1a84b8f393f8b6c", search_labels=320
)
SMOLLM2_LISTED = LinearProbe(
    prompt="default",
    l2=0.16128821371442265,
    layers=("last",),
    search="f83156c08fb17970",
    search_labels=320,
)
GEMMA3_PROBE = LinearProbe(
    l2=284.0003254093254, layers=("middle",), search="68b30d044f80c04a", search_labels=320
)
GEMMA3_BY_DIFFICULTY = LinearProbe(
    l2=776.7268689794826, layers=("middle",), search="5b28d7f7e9d7adbf", search_labels=320
)
GEMMA3_LISTED = LinearProbe(
    prompt="default",
    l2=0.019282051299832844,
    layers=("middle",),
    search="fa9ecabe9e4b8239",
    search_labels=320,
)
SMOLLM2_LORA = LoRA(
    learning_rate=0.0004556336938136176,
    rank=8,
    epochs=7,
    batch_size=8,
    warm_up=0.2,
    search="f0c13ef53a8b3442",
    search_labels=320,
)
"""Found by `python -m study.tune SPACE --method METHOD` on easy labels. The searches' files are in
docs/results/arc_small_models/tune."""

EASY = Arm(condition="easy")

ON_LABELS = (
    Contrast(first=EASY, second=Arm(condition=ZERO_SHOT), test_level="hard"),
    Contrast(first=Arm(condition="hard"), second=Arm(condition=ZERO_SHOT), test_level="hard"),
    Contrast(first=EASY, second=Arm(condition="hard"), test_level="hard", margin=0.03),
)


def arc_smollm2_probe() -> Space:
    """ARC on SmolLM2-135M: linear probe by grade and difficulty, learning curve, self-training."""
    return _probe("arc_smollm2_probe", "smollm2-135m", SMOLLM2_PROBE, SMOLLM2_BY_DIFFICULTY)


def arc_gemma3_probe() -> Space:
    """ARC on Gemma-3-270M: linear probe by grade and difficulty, learning curve, self-training."""
    return _probe("arc_gemma3_probe", "gemma3-270m", GEMMA3_PROBE, GEMMA3_BY_DIFFICULTY)


def arc_smollm2_listed() -> Space:
    """ARC on SmolLM2-135M: linear probe with a prompt that lists the choices."""
    return _listed("arc_smollm2_listed", "smollm2-135m", SMOLLM2_LISTED)


def arc_gemma3_listed() -> Space:
    """ARC on Gemma-3-270M: linear probe with a prompt that lists the choices."""
    return _listed("arc_gemma3_listed", "gemma3-270m", GEMMA3_LISTED)


def arc_smollm2_in_context() -> Space:
    """ARC on SmolLM2-135M: 4, 8 and 16 examples in context."""
    return _in_context("arc_smollm2_in_context", "smollm2-135m")


def arc_gemma3_in_context() -> Space:
    """ARC on Gemma-3-270M: 4, 8 and 16 examples in context."""
    return _in_context("arc_gemma3_in_context", "gemma3-270m")


def arc_smollm2_ssrm() -> Space:
    """ARC on SmolLM2-135M: self-training with eight examples in context."""
    return _self_training("arc_smollm2_ssrm", "smollm2-135m")


def arc_gemma3_ssrm() -> Space:
    """ARC on Gemma-3-270M: self-training with eight examples in context."""
    return _self_training("arc_gemma3_ssrm", "gemma3-270m")


def arc_smollm2_lora() -> Space:
    """ARC on SmolLM2-135M: LoRA."""
    return _lora("arc_smollm2_lora", "smollm2-135m", SMOLLM2_LORA)


def arc_gemma3_lora() -> Space:
    """ARC on Gemma-3-270M: LoRA."""
    return _lora("arc_gemma3_lora", "gemma3-270m", LoRA())


def _probe(name: str, model: str, recipe: LinearProbe, by_difficulty: LinearProbe) -> Space:
    difficulty = _axis("difficulty", DIFFICULTY)
    return Space(
        name=name,
        models=(_model(model),),
        tasks=(
            _axis("grade", GRADES, *_curve(), *_self_trained(THRESHOLDS)),
            difficulty.model_copy(update={"methods": (by_difficulty,)}),
        ),
        methods=(recipe,),
        seeds=PROBE_SEEDS,
        split_for=MOST_LABELS,
        contrasts=(*ON_LABELS, *ssrm_contrasts(CONTROLLED)),
    )


def _listed(name: str, model: str, recipe: LinearProbe) -> Space:
    return _by_grade(name, model, (recipe,), seeds=PROBE_SEEDS)


def _in_context(name: str, model: str) -> Space:
    return _by_grade(name, model, tuple(InContext(k=k) for k in (4, 8, 16)))


def _lora(name: str, model: str, recipe: LoRA) -> Space:
    return _by_grade(name, model, (recipe,))


def _self_training(name: str, model: str) -> Space:
    conditions = _self_trained((CONTROLLED,), max_unlabelled=MAX_UNLABELLED)
    space = _by_grade(name, model, (InContext(k=8),), *conditions)
    contrasts = (*ON_LABELS, *ssrm_contrasts(CONTROLLED))
    return space.model_copy(update={"contrasts": contrasts})


def _by_grade(
    name: str,
    model: str,
    recipes: tuple[TrainedRecipe, ...],
    *conditions: Condition,
    seeds: int = OTHER_SEEDS,
) -> Space:
    return Space(
        name=name,
        models=(_model(model),),
        tasks=(_axis("grade", GRADES, *conditions),),
        methods=recipes,
        seeds=seeds,
        split_for=MOST_LABELS,
        contrasts=ON_LABELS,
    )


def _axis(measure: str, levels: tuple[Level, ...], *conditions: Condition) -> TaskAxis:
    return TaskAxis(
        task="arc",
        measure=measure,
        train_levels=levels,
        test_levels=levels,
        test_items=TEST_ITEMS,
        prompt="open",
        conditions=conditions,
    )


def _curve() -> tuple[Condition, ...]:
    return tuple(
        Condition(name=f"{number} {level.name}", levels=(level.name,), n_train=number)
        for number in CURVE
        for level in GRADES
    )


def _self_trained(
    thresholds: tuple[float, ...], *, max_unlabelled: int | None = None
) -> tuple[Condition, ...]:
    """Returns easy labels with unlabelled hard questions, and the controls of one threshold.

    The prompt shows no choices, so their order has no effect and one is enough.
    """
    arms = [(threshold, "pseudo") for threshold in thresholds]
    arms += [(CONTROLLED, targets) for targets in ("oracle", "random", "none")]
    return tuple(
        Condition(
            name=NAMES[targets],
            levels=("easy",),
            unlabelled=("hard",),
            self_training=SelfTraining.model_validate(
                {
                    "threshold": threshold,
                    "targets": targets,
                    "orders": "given",
                    "max_unlabelled": max_unlabelled,
                }
            ),
        )
        for threshold, targets in arms
    )


def _model(name: str) -> BaseModelRef:
    """Returns a base model in float32, the format of CPUs: a folder, or the one on the Hub.

    Raises:
        ValueError: If `MODEL_ROOT` names a folder that does not contain the model's.
    """
    root = os.environ.get(MODEL_ROOT)
    if root is None:
        return BaseModelRef(name=ON_THE_HUB[name], dtype="float32")
    folder = Path(root).expanduser() / name
    if not folder.is_dir():
        raise ValueError(
            f"{MODEL_ROOT}={root} contains no folder {name!r}: it must contain "
            f"{' and '.join(ON_THE_HUB)} in Hugging Face format; without the variable they are "
            "downloaded from the Hub"
        )
    return BaseModelRef(name=name, path=str(folder), dtype="float32")
