"""Reward models of the lab: how much of the gain from all labels do some labels recover?

The question is asked with and without self-training. Full supervision of the same volume is the
hard arm, whose level contains every test pair, so SGR is the recovered share of that gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from search_spaces.base_models import BaseModelRef
from search_spaces.contrasts import Arm, against_controls, before_and_after
from search_spaces.levels import Level
from search_spaces.recipes import (
    AdapterTraining,
    LoRA,
    PolicyDPO,
    WeightTraining,
    with_fixed_updates,
)
from search_spaces.space import Contrast, Space, TaskAxis
from search_spaces.supervision import Condition, SelfTraining

FRACTIONS = (Fraction(1, 4), Fraction(1, 16), Fraction(1, 64))
"""Labelled shares of the full volume: 1/4 and 1/16 as in arXiv:2409.06903, and a smaller one."""

CONTROLLED = Fraction(1, 4)
"""The share that has controls."""

THRESHOLD = 0.8
"""Confidence threshold, from the released code of arXiv:2409.06903."""

ROUNDS = 3

LAB_VOLUME = 640
"""Pairs of full supervision; the pool has twice as many, so that seeds differ."""

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
"""Training of adapters on the lab's bases."""

LAB_SCALAR: Mapping[str, object] = {**LAB_TRAINING, "learning_rate": 3e-3, "epochs": 10}
"""Training with a scalar head, which sees one answer at a time and needs more of it: on all labels
of micro-s, one seed, three epochs at 1e-3 reach 50 %, ten 57 %, and this recipe 61 %."""

LAB_VERDICT: Mapping[str, object] = {**LAB_TRAINING, "learning_rate": 2e-3, "epochs": 10}
"""Training with a verdict of one token, which is harder than scoring the answers' texts: the
smallest base stays at chance with three epochs at 1e-3."""

MARGIN = 0.02
"""Loss against full supervision that would not matter, as a fraction of the pairs."""

CONTROLS = ("none", "random", "oracle")
"""Labels of the selected pairs that replace pseudo-labels (`SelfTraining.targets`)."""


def fractions_of(
    volume: int,
    level: str,
    *,
    fractions: tuple[Fraction, ...] = FRACTIONS,
    rounds: int = ROUNDS,
    controlled: Fraction | None = None,
) -> tuple[Condition, ...]:
    """Returns each fraction's labels alone, and with self-training on the rest.

    Args:
        volume: Pairs of full supervision.
        level: Their training level.
        fractions: Labelled shares.
        rounds: Rounds of self-training.
        controlled: The fraction that also gets the controls; None: no controls.
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


def ssrm_contrasts(
    last: int, *, fractions: tuple[Fraction, ...] = FRACTIONS, test_level: str = "pairs"
) -> tuple[Contrast, ...]:
    """Returns what a claim about these conditions needs.

    The last round of the controlled fraction is compared with its controls and, by a margin, with
    full supervision; every round of every fraction with its start.

    Args:
        last: The last round.
        fractions: Labelled shares, `CONTROLLED` among them.
        test_level: Level of the test pairs.
    """
    ssrm = Arm(condition=f"{CONTROLLED} + SSRM", round=last)
    return (
        *against_controls(
            ssrm,
            same_steps=f"{CONTROLLED} + none",
            random=f"{CONTROLLED} + random",
            oracle=f"{CONTROLLED} + oracle",
            test_level=test_level,
        ),
        as_good_as_all(ssrm, test_level=test_level),
        *(
            before_and_after(f"{share} + SSRM", test_level=test_level)
            for share in fractions
            if share != CONTROLLED
        ),
    )


def as_good_as_all(ssrm: Arm, *, test_level: str = "pairs") -> Contrast:
    """Returns the test that a self-trained arm is not inferior to full supervision."""
    return Contrast(first=ssrm, second=Arm(condition="pairs"), test_level=test_level, margin=MARGIN)


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

    With `loss="text"` and a verdict of one token it is the model of arXiv:2409.06903, trained by
    cross-entropy of the verdict over the vocabulary. Confidence follows the released code: the
    softmax over the two verdicts, averaged over both orders. Any number of labels gets the updates
    of the full volume.
    """
    return with_fixed_updates(adapter.model_validate({"orders": "all", **training}))


def bradley_terry(
    adapter: type[AdapterTraining], prompt: str, **training: object
) -> WeightTraining:
    """Returns a reward model: a scalar for each answer, independent of their order.

    Args:
        adapter: LoRA or QLoRA.
        prompt: Format of a question with one answer.
        training: Fields of the recipe.
    """
    recipe = adapter.model_validate({"head": "scalar", "prompt": prompt, **training})
    return with_fixed_updates(recipe)


def ssrm_rm_micro() -> Space:
    """How many preference labels does self-training save? Two kinds of reward model on the lab."""
    return Space(
        name="ssrm_rm_micro",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(lab_axis(controlled=CONTROLLED),),
        methods=(generative(LoRA, **LAB_TRAINING), bradley_terry(LoRA, "text", **LAB_SCALAR)),
        seeds=3,
        contrasts=ssrm_contrasts(ROUNDS),
    )


def ssrm_verdict_micro() -> Space:
    """The same for a judge that answers `start` or `end`, trained by two losses."""
    return Space(
        name="ssrm_verdict_micro",
        models=(BaseModelRef(name="micro-l"),),
        tasks=(lab_axis(fractions=(CONTROLLED,), rounds=1, controlled=CONTROLLED),),
        methods=(
            generative(LoRA, prompt="letter", **LAB_VERDICT),
            generative(LoRA, prompt="letter", loss="text", **LAB_VERDICT),
        ),
        seeds=3,
        contrasts=ssrm_contrasts(1, fractions=(CONTROLLED,)),
    )


def ssrm_align() -> Space:
    """Does self-training a reward model help the policy trained on its preferences?

    A reward model with a quarter of the labels, before and after SSRM, and its policies, both on
    the lab's smallest base. The gold reward compares the policies. The controls of self-training
    are in `ssrm_rm_micro`, which has the same reward models; here each control would need policies
    too, 62 cells instead of 26.
    """
    return Space(
        name="ssrm_align",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(lab_axis(fractions=(CONTROLLED,)),),
        methods=(generative(LoRA, **LAB_TRAINING),),
        policy=PolicyDPO(),
        seeds=3,
        contrasts=(
            before_and_after(f"{CONTROLLED} + SSRM", test_level="pairs"),
            as_good_as_all(Arm(condition=f"{CONTROLLED} + SSRM", round=ROUNDS)),
        ),
    )
