"""Reward models on UltraFeedback with a part of the labels, with and without self-training.

The lab-size studies of the same question are `search_spaces.studies.lab.ssrm_rm_micro`.
"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import QLoRA
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.ssrm_rm_micro import (
    CONTROLLED,
    ROUNDS,
    bradley_terry,
    fractions_of,
    generative,
    ssrm_contrasts,
)

TEST_SETS = ("ultrafeedback", "rewardbench", "pandalm", "llmbar", "hh_rlhf")
"""Test sets of task `preferences`, in the order of its measure `set`."""

VOLUME = 16_384
"""Pairs of full supervision, of about 61,000 in UltraFeedback, so that seeds share few."""


def ssrm_rm() -> Space:
    """How many labels of UltraFeedback does self-training save a reward model? Five test sets.

    The test sets are its own, RewardBench, PandaLM, LLMBar and HH-RLHF.

    Full supervision has VOLUME pairs. Hyper-parameters follow the released code if an adapter has
    them (one epoch, with linear instead of cosine decay); rank and learning rate are the
    defaults of adapters.
    """
    training = {"n_train": VOLUME, "epochs": 1, "batch_size": 128}
    return Space(
        name="ssrm_rm",
        models=tuple(
            BaseModelRef(name=name, dtype="bfloat16")
            for name in (
                "Qwen/Qwen2.5-0.5B-Instruct",
                "Qwen/Qwen2.5-1.5B-Instruct",
                "google/gemma-2b-it",
                "meta-llama/Meta-Llama-3-8B-Instruct",
            )
        ),
        tasks=(
            TaskAxis(
                task="preferences",
                measure="set",
                # Only UltraFeedback is in the pool; the level also contains the other test sets.
                train_levels=(Level(name="pairs", low=0, high=len(TEST_SETS) - 1),),
                test_levels=tuple(
                    Level(name=name, low=number, high=number)
                    for number, name in enumerate(TEST_SETS)
                ),
                train_on_all=False,
                prompt="chat:letter",
                conditions=fractions_of(VOLUME, "pairs", controlled=CONTROLLED),
            ),
        ),
        methods=(
            generative(QLoRA, loss="text", **training),
            bradley_terry(QLoRA, "chat:text", **training),
        ),
        seeds=3,
        contrasts=ssrm_contrasts(ROUNDS, test_level=TEST_SETS[0]),
    )
