"""Does self-training of a reward model help the policy that is trained on its preferences?"""

from __future__ import annotations

from fractions import Fraction

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA, PolicyDPO
from search_spaces.space import Space
from search_spaces.studies.published.ssrm_rm import LAB_TRAINING, generative, lab_axis


def ssrm_align() -> Space:
    """A reward model of a quarter of the labels, before and after SSRM, and its policies.

    Reward model and policy are the lab's smallest base; policies are compared under gold.
    """
    return Space(
        name="ssrm_align",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(lab_axis(fractions=(Fraction(1, 4),)),),
        methods=(generative(LoRA, **LAB_TRAINING),),
        policy=PolicyDPO(),
        seeds=3,
    )
