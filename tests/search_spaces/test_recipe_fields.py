"""Every field of a recipe and of self-training has a test that notices when it is ignored."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from search_spaces import recipes
from search_spaces.supervision import Labels, SelfTraining

TESTS = Path(__file__).parents[1]
TRAINED = "trainables/methods/training/test_hyper_parameters.py"
FULL = f"{TRAINED}::test_full_fine_tuning_follows_its_recipe"
UPDATES = (
    "trainables/methods/training/test_loop.py"
    "::test_updates_end_where_the_recipe_says_and_the_schedule_with_them"
)
ADAPTER = f"{TRAINED}::test_an_adapter_has_its_rank_on_its_modules_and_scores_with_it"
PROBE = "trainables/methods/test_linear_probe.py"
RIDGE = f"{PROBE}::test_a_probe_is_the_ridge_logit_of_the_hidden_states_that_its_recipe_names"
DPO = "trainables/methods/dpo/test_trainer.py"
POLICY = f"{DPO}::test_updates_are_those_of_adamw_on_the_papers_loss"
HANDED = "trainables/cells/test_policy.py::test_every_field_reaches_the_sampling_and_the_training"
LABELS = "trainables/data/test_label_noise.py"
STUDIES = "trainables/self_training/test_studies.py"
ROUNDS = "trainables/self_training/test_rounds.py"
NUM_LABELS = f"{STUDIES}::test_a_cell_draws_as_many_labels_as_its_recipe_says"
SELECTED = f"{ROUNDS}::test_what_is_more_confident_than_the_threshold_is_trained_on_as_predicted"
TEXT = "trainables/methods/base/test_chain_of_thought.py::test_the_text_continues_the_prompt"
IDENTITY = "search_spaces/test_cell.py::test_cell_id_changes_with_everything_that_changes_numbers"
RUNNER = "trainables/cells/test_runner.py"

ANY_RECIPE = {
    "method": "trainables/methods/test_methods.py::test_the_method_that_the_recipe_names_is_fitted",
    "quantization": f"{RUNNER}::test_each_cell_gets_its_base_in_the_quantization_of_its_recipe",
    "scoring": "trainables/methods/test_methods.py::test_the_recipe_says_how_answers_are_scored",
    "orders": "trainables/tuning/test_trial.py"
    "::test_a_trial_averages_over_the_orders_of_its_recipe",
    "prompt": f"{RUNNER}::test_each_cell_is_scored_on_the_text_of_its_recipes_prompt",
    "reasoning": TEXT,
    # What a search has cost changes no number of a cell, only which cell it is.
    "search": IDENTITY,
    "search_labels": IDENTITY,
    "n_train": NUM_LABELS,
}
WEIGHTS = {
    "loss": FULL,
    "learning_rate": FULL,
    "warm_up": FULL,
    "epochs": FULL,
    "batch_size": FULL,
    "min_updates": UPDATES,
    "max_updates": UPDATES,
    "weight_decay": FULL,
    "max_grad_norm": FULL,
    "rank": ADAPTER,
    "alpha": f"{TRAINED}::test_an_adapter_follows_its_recipe",
    "dropout": f"{TRAINED}::test_dropout_zeroes_its_share_and_scales_the_rest_in_training_alone",
    "target_modules": ADAPTER,
    "head": "trainables/methods/training/test_objectives.py"
    "::test_a_reward_is_the_head_on_the_last_tokens_state",
}
NOTICED_BY: dict[type[BaseModel], dict[str, str]] = {
    recipes.ZeroShot: ANY_RECIPE,
    recipes.InContext: {**ANY_RECIPE, "k": NUM_LABELS},
    recipes.LinearProbe: {
        **ANY_RECIPE,
        "layers": RIDGE,
        "l2": RIDGE,
        "solver": f"{PROBE}::test_the_solver_of_the_paper_takes_its_hundred_steps",
    },
    recipes.LoRA: {**ANY_RECIPE, **WEIGHTS},
    recipes.QLoRA: {**ANY_RECIPE, **WEIGHTS},
    recipes.FullFineTuning: {**ANY_RECIPE, **WEIGHTS},
    recipes.PolicyDPO: {
        **ANY_RECIPE,
        "method": "study/planning/test_policies.py::test_policies_leave_scores_rewards_and_a_curve",
        "orders": "search_spaces/test_recipes.py::test_a_policy_has_no_orders_to_average_over",
        "labels": "trainables/cells/test_policy.py::test_a_policy_without_labels_is_the_base",
        **dict.fromkeys(
            ("num_questions", "num_candidates", "num_samples", "temperature", "max_new_tokens"),
            HANDED,
        ),
        **dict.fromkeys(("beta", "learning_rate", "epochs", "max_grad_norm"), POLICY),
        "batch_size": f"{DPO}::test_a_batch_holds_its_pairs",
        "rank": f"{DPO}::test_an_adapters_update_has_its_rank_and_grows_with_alpha",
        "alpha": f"{DPO}::test_an_adapters_update_has_its_rank_and_grows_with_alpha",
    },
    recipes.Reasoning: {"max_new_tokens": TEXT, "reading": IDENTITY},
    Labels: {
        "kind": f"{LABELS}::test_papers_variant_redraws_the_right_label_too",
        "rate": f"{LABELS}::test_stated_rate_is_the_realised_error_rate",
    },
    SelfTraining: {
        "threshold": SELECTED,
        "confidence": SELECTED,
        "rule": f"{ROUNDS}::test_a_quantile_leaves_its_share_out",
        "start": f"{ROUNDS}::test_a_round_starts_from_the_base_or_from_the_round_before",
        "memory": f"{STUDIES}::test_accumulated_labels_stay_and_relabelled_ones_follow_the_model",
        "admission": f"{STUDIES}::test_levels_are_admitted_one_after_the_other",
        "orders": f"{ROUNDS}::test_confidence_is_that_of_one_order_or_the_mean_over_both",
        "calibration": f"{ROUNDS}::test_each_model_has_its_own_temperature_and_is_kept_raw_too",
        "n_validation": f"{STUDIES}"
        "::test_a_temperature_from_easy_labels_is_recorded_and_its_labels_counted",
        "label_smoothing": f"{ROUNDS}::test_pseudo_labels_alone_are_smoothed",
        "targets": f"{ROUNDS}::test_an_oracle_is_supervised_learning_on_the_selected_items",
        "max_unlabelled": f"{STUDIES}::test_a_level_gives_at_most_so_many_unlabelled_items",
    },
}


def declared() -> set[type[BaseModel]]:
    """All public classes of the module, so that a new recipe cannot be forgotten."""
    return {
        value
        for name, value in vars(recipes).items()
        if isinstance(value, type)
        and value.__module__ == recipes.__name__
        and issubclass(value, BaseModel)
        and not name.startswith("_")
    }


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_recipe_is_registered() -> None:
    assert declared() <= NOTICED_BY.keys()


@pytest.mark.parametrize("recipe", NOTICED_BY, ids=lambda recipe: recipe.__name__)
def test_every_field_has_a_test_that_exists(recipe: type[BaseModel]) -> None:
    registered = NOTICED_BY[recipe]
    missing = [name for name in recipe.model_fields if name not in registered]
    assert missing == [], "write a test that fails where the field is ignored, and name it here"
    for name in recipe.model_fields:
        path, test = registered[name].split("::")
        assert test in names_in(path), f"{recipe.__name__}.{name}: {registered[name]} is gone"
