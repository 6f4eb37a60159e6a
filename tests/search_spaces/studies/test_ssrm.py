"""The spaces of self-training and of reward models: volumes, controls, who is whose ceiling."""

from __future__ import annotations

from functools import partial

import pytest

from search_spaces.base_models import BaseModelRef
from search_spaces.contrasts import START
from search_spaces.recipes import LoRA, QLoRA, WeightTraining, num_labels, num_updates
from search_spaces.registry import named_spaces
from search_spaces.space import Space
from search_spaces.studies.lab.ssrm_micro import ssrm_contrasts
from search_spaces.studies.lab.ssrm_rm_micro import (
    LAB_VOLUME,
    ssrm_align,
    ssrm_rm_micro,
    ssrm_verdict_micro,
)
from search_spaces.studies.published.cost import cost_micro
from search_spaces.studies.published.ssrm_rm import VOLUME, ssrm_rm
from search_spaces.studies.small.small import small
from search_spaces.studies.small.ssrm_arc import ssrm_arc, ssrm_arc_micro
from study.cost.model_sizes import MODELS
from study.planning.conditions import (
    hard_level,
    resolve_conditions,
    sources,
    zero_shot_recipe,
)
from study.planning.planner import make_plan
from study.planning.preview.offline_estimate import estimate_plan
from tests.support.real_data import ROOT, needs
from trainables.data.tasks.preferences.micro_preferences import TASK
from trainables.data.tasks.preferences.preferences import SETS


def test_labels_and_pool_together_are_the_full_volume() -> None:
    for space, volume in ((ssrm_rm_micro(), LAB_VOLUME), (ssrm_rm(), VOLUME)):
        (axis,) = space.tasks
        assert [num_labels(recipe) for recipe in space.methods] == [volume] * 2
        plain = [c for c in axis.conditions if c.self_training is None]
        trained = [c for c in axis.conditions if c.name.endswith("+ SSRM")]
        assert [c.n_train for c in plain] == [volume // 4, volume // 16, volume // 64]
        for labels, ssrm in zip(plain, trained, strict=True):
            assert labels.n_train == ssrm.n_train and ssrm.n_train is not None
            assert ssrm.self_training is not None and ssrm.rounds == 3
            assert ssrm.n_train + (ssrm.self_training.max_unlabelled or 0) == volume
            assert (ssrm.self_training.threshold, ssrm.self_training.orders) == (0.8, "all")


def test_reward_models_stand_beside_their_controls() -> None:
    for space in (ssrm_rm_micro(), ssrm_verdict_micro(), ssrm_rm()):
        (axis,) = space.tasks
        found = {c.name: c.self_training.targets for c in axis.conditions if c.self_training}
        assert {name: found[f"1/4 + {name}"] for name in ("none", "random", "oracle")} == {
            name: name for name in ("none", "random", "oracle")
        }
        assert list(found.values()).count("pseudo") == len(found) - 3


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (ssrm_rm(), {128}),
        (ssrm_rm_micro(), {120, 400}),
        (ssrm_verdict_micro(), {400}),
        (ssrm_align(), {120}),
        (cost_micro(), {30}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_arms_of_any_number_of_labels_make_the_same_updates(
    space: Space, expected: set[int]
) -> None:
    found = {
        num_updates(recipe, number)
        for recipe in space.methods
        if isinstance(recipe, WeightTraining)
        for number in (recipe.n_train, recipe.n_train // 64 or 1, 2 * recipe.n_train)
    }
    assert found == expected


def test_full_supervision_is_the_ceiling_of_every_test_level() -> None:
    for space in (ssrm_rm_micro(), ssrm_verdict_micro(), ssrm_rm(), ssrm_align()):
        (axis,) = space.tasks
        for level in axis.test_levels:
            ceiling = hard_level(axis, level)
            assert ceiling is not None and ceiling.name == "pairs"
            assert [c.name for c in sources(axis, level)] == [c.name for c in axis.conditions]


def test_fewer_labels_are_among_more_of_one_seed() -> None:
    """Draws are nested by name, so the difference between fractions is not one of draws."""
    space = ssrm_rm_micro()
    (axis,) = space.tasks
    resolved = resolve_conditions(axis, space.methods[0])
    assert len({each.draws(0, 1).labelled[0].names for each in resolved.values()}) == 1
    assert resolved[axis.conditions[0]].num_labels == LAB_VOLUME // 4


def test_lab_levels_are_those_of_its_margins() -> None:
    standard = TASK.cuts["closeness"]["default"]
    levels = ssrm_rm_micro().tasks[0].test_levels
    assert [(level.name, level.low, level.high) for level in levels[1:]] == [
        (level.name, level.low, level.high) for level in standard
    ]
    assert all(levels[0].contains(level) for level in standard)


def test_every_set_of_the_preference_task_is_tested_with_full_supervision_beside_it() -> None:
    (axis,) = ssrm_rm().tasks
    assert {level.name: level.low for level in axis.test_levels} == SETS
    assert all(axis.train_levels[0].contains(level) for level in axis.test_levels)


def test_a_scalar_head_is_held_against_the_base_asked_as_the_axis_asks() -> None:
    space = ssrm_rm_micro()
    generative, scalar = space.methods
    zero_shot = partial(zero_shot_recipe, space.tasks[0], free_form=False)
    assert zero_shot(scalar) == zero_shot(generative)
    assert zero_shot(scalar).prompt is None
    assert zero_shot(LoRA(prompt="letter")).prompt == "letter"


def test_a_verdict_is_asked_for_in_one_token_on_the_lab_and_on_chat_models() -> None:
    methods = ssrm_verdict_micro().methods
    assert [(method.prompt, method.orders) for method in methods] == [("letter", "all")] * 2
    assert ssrm_rm().tasks[0].prompt == "chat:letter"


def test_the_paper_s_loss_is_over_the_vocabulary_and_the_lab_shows_both() -> None:
    generative, scalar = ssrm_rm().methods
    assert isinstance(generative, QLoRA) and isinstance(scalar, QLoRA)
    assert (generative.loss, scalar.loss) == ("text", "choices")
    choices, vocabulary = ssrm_verdict_micro().methods
    assert vocabulary == choices.model_copy(update={"loss": "text"}) != choices


def test_arc_is_a_study_with_controls_seeds_and_a_contrast() -> None:
    space = ssrm_arc()
    (axis,) = space.tasks
    assert space.seeds == 5 and len(space.models) == 4
    known = {model.name for model in small().models}
    assert all(model.name in known for model in space.models)
    assert max(MODELS[model.name].num_params for model in space.models) < 1.8e9
    found = {
        (c.name, c.threshold): (c.unlabelled, c.self_training.targets)
        for c in axis.conditions
        if c.self_training is not None
    }
    assert found == {
        **{("easy_ssrm", tau): (("hard",), "pseudo") for tau in (0.33, 0.73, 0.93)},
        ("oracle_selected", 0.73): (("hard",), "oracle"),
        ("random_labels", 0.73): (("hard",), "random"),
        ("easy_same_steps", 0.73): (("hard",), "none"),
        ("easy_pool_ssrm", 0.73): (("easy",), "pseudo"),
    }
    assert [c.name for c in axis.conditions if c.control] == ["easy_pool_ssrm"]
    options = [c.self_training for c in axis.conditions if c.self_training is not None]
    assert {o.confidence for o in options} == {"chance-normalised"}, "of 3, 4 and 5 choices"
    assert space.contrasts == ssrm_contrasts(0.73)


@needs("arc")
def test_arc_can_be_planned_on_its_data() -> None:
    model = {"models": (BaseModelRef(name="micro-s"),)}
    plan, _ = make_plan(ssrm_arc().model_copy(update=model), ROOT)
    assert len(plan.cells) == 51 == len(estimate_plan(ssrm_arc()).plan.cells) // 4
    assert not [note for note in plan.tasks[0].notes if "unlabelled" in note]
    micro, _ = make_plan(ssrm_arc_micro(), ROOT)
    assert len(micro.cells) == 13


@pytest.mark.parametrize("name", sorted(named_spaces()))
def test_shipped_spaces_declare_contrasts_and_test_every_self_trained_arm(name: str) -> None:
    space = named_spaces()[name]()
    assert space.contrasts
    trained = {
        condition.name
        for axis in space.tasks
        for condition in axis.conditions
        if condition.self_training is not None
        and condition.self_training.targets == "pseudo"
        and not condition.control
    }
    started = {c.first for c in space.contrasts if c.second.condition == START}
    assert {arm.condition for arm in started} - {"oracle_selected"} == trained
    assert all(arm.threshold is None and arm.round is None for arm in started)


@pytest.mark.parametrize("name", ["gap", "noise", "cost", "ssrm_rm", "small", "hase2024_mdl"])
def test_every_declared_contrast_of_a_large_space_has_a_pair_of_arms(name: str) -> None:
    estimate_plan(named_spaces()[name]())  # refuses a contrast without one
