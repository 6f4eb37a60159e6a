"""Reward models: how much of what all labels buy is bought by a part of them, and self-training?

Full supervision of the same volume is the hard arm, whose level holds every test pair: so SGR reads
as the share of what full labels buy.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import AdapterTraining, LoRA, QLoRA, WeightTraining, with_fixed_updates
from search_spaces.space import Space, TaskAxis
from search_spaces.supervision import Condition, SelfTraining

FRACTIONS = (Fraction(1, 4), Fraction(1, 16), Fraction(1, 64))
"""Labelled shares of the full volume, as in arXiv:2409.06903 (1/4 and 1/16) and below."""

CONTROLLED = Fraction(1, 4)
"""The share beside which the controls stand."""

THRESHOLD = 0.8
"""Of the confidence: the value in the released code of arXiv:2409.06903."""

ROUNDS = 3

LAB_VOLUME = 640
"""Pairs of full supervision on the lab: the pool holds twice as many, so that seeds differ."""

LAB_PAIRS = Level(name="pairs", low=1, high=19)
LAB_MARGINS = (
    Level(name="easy", low=1, high=13),
    Level(name="medium", low=14, high=17),
    Level(name="hard", low=18, high=19),
)
"""By closeness of the two rewards: margins of 7 to 19, 3 to 6, and 1 to 2 counts."""

LAB_TRAINING: Mapping[str, object] = {
    "n_train": LAB_VOLUME,
    "learning_rate": 1e-3,
    "batch_size": 16,
}
"""Of adapters on the lab's bases."""

LAB_SCALAR: Mapping[str, object] = {**LAB_TRAINING, "learning_rate": 3e-3, "epochs": 10}
"""With a scalar head: it sees one answer at a time, and with less training learns next to nothing
(50 % right after three epochs at 1e-3, 69 % so, on all labels of the smallest base)."""

LAB_VERDICT: Mapping[str, object] = {**LAB_TRAINING, "learning_rate": 2e-3, "epochs": 10}
"""With a verdict of one token: which of two answers is better, not what it says, is more to learn
(the smallest base stays at chance with three epochs at 1e-3)."""

TEST_SETS = ("ultrafeedback", "rewardbench", "pandalm", "llmbar", "hh_rlhf")
"""What task `preferences` tests on, in the order of its measure `set`."""

VOLUME = 16_384
"""Pairs of full supervision on UltraFeedback, of about 61,000: what a study's seeds share of them
is small."""


CONTROLS = ("none", "random", "oracle")
"""What the selected pairs are trained on in place of pseudo-labels (`SelfTraining.targets`)."""


def fractions_of(
    volume: int,
    level: str,
    *,
    fractions: tuple[Fraction, ...] = FRACTIONS,
    rounds: int = ROUNDS,
    controlled: Fraction | None = None,
) -> tuple[Condition, ...]:
    """Returns for each fraction its labels alone, and with self-training on the rest.

    Args:
        volume: Pairs of full supervision.
        level: Training level that holds them.
        fractions: Labelled shares.
        rounds: Of self-training.
        controlled: The fraction that stands beside its controls; None: no controls.
    """
    conditions = []
    for share in fractions:
        number = int(volume * share)
        labels = Condition(name=str(share), levels=(level,), n_train=number)
        options = SelfTraining(threshold=THRESHOLD, orders="all", max_unlabelled=volume - number)
        ssrm = labels.model_copy(
            update={"name": f"{share} + SSRM", "rounds": rounds, "self_training": options}
        )
        conditions += [labels, ssrm]
        for targets in CONTROLS if share == controlled else ():
            control = options.model_copy(update={"targets": targets})
            changes = {"name": f"{share} + {targets}", "self_training": control}
            conditions.append(ssrm.model_copy(update=changes))
    return tuple(conditions)


def lab_axis(
    *,
    fractions: tuple[Fraction, ...] = FRACTIONS,
    rounds: int = ROUNDS,
    controlled: Fraction | None = None,
) -> TaskAxis:
    """Returns the lab's pairs, graded by how close the two rewards are."""
    return TaskAxis(
        task="micro_preferences",
        measure="closeness",
        train_levels=(LAB_PAIRS,),
        test_levels=(LAB_PAIRS, *LAB_MARGINS),
        train_on_all=False,
        conditions=fractions_of(
            LAB_VOLUME, "pairs", fractions=fractions, rounds=rounds, controlled=controlled
        ),
    )


def generative(adapter: type[AdapterTraining], **training: object) -> WeightTraining:
    """Returns a preference model that names the better answer, averaged over both orders.

    With `loss="text"` and a verdict of one token it is that of arXiv:2409.06903: trained by
    cross-entropy of the verdict over the vocabulary. Its confidence is the released code's: the
    softmax over the two verdicts, averaged over both orders. Any number of labels makes the updates
    of the full volume.
    """
    return with_fixed_updates(adapter.model_validate({"orders": "all", **training}))


def bradley_terry(
    adapter: type[AdapterTraining], prompt: str, **training: object
) -> WeightTraining:
    """Returns a reward model: a scalar of each answer alone, which no order can change.

    Args:
        adapter: LoRA or QLoRA.
        prompt: Format of one answer to a question, without the other one.
        training: Fields of the recipe.
    """
    recipe = adapter.model_validate({"head": "scalar", "prompt": prompt, **training})
    return with_fixed_updates(recipe)


def ssrm_rm_micro() -> Space:
    """The lab: both kinds of reward model, three labelled fractions with and without SSRM."""
    return Space(
        name="ssrm_rm_micro",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(lab_axis(controlled=CONTROLLED),),
        methods=(generative(LoRA, **LAB_TRAINING), bradley_terry(LoRA, "text", **LAB_SCALAR)),
        seeds=3,
    )


def ssrm_verdict_micro() -> Space:
    """The lab's largest base as a judge that says one word, `first` or `last`, by both losses."""
    return Space(
        name="ssrm_verdict_micro",
        models=(BaseModelRef(name="micro-l"),),
        tasks=(lab_axis(fractions=(CONTROLLED,), rounds=1, controlled=CONTROLLED),),
        methods=(
            generative(LoRA, prompt="letter", **LAB_VERDICT),
            generative(LoRA, prompt="letter", loss="text", **LAB_VERDICT),
        ),
        seeds=3,
    )


def ssrm_rm() -> Space:
    """Trained on UltraFeedback, tested on it, RewardBench, PandaLM, LLMBar and HH-RLHF, for GPUs.

    Full supervision is VOLUME pairs. Hyper-parameters follow the released code where an adapter
    has them too (one epoch, cosine replaced by a linear decay); rank and rate are an adapter's.
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
                # Only UltraFeedback is in the pool; the level holds the other sets' tests too.
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
    )
