"""Spaces `mdl` and `hase2024_mdl`: easy and hard by what models themselves find hard.

Minimum description length (MDL). Two commands: `python -m study.measure mdl` trains the lab's two
smaller bases on 0 to 320 questions and lets them answer all others; `python -m study.sweep mdl`
then cuts the task by their codelength. Adapters, because a probe of so small a base learns next to
nothing: its code is longer than the 2 bits of guessing.

Where a studied model is one of those that say what is hard, as in `mdl`, its hard items are in part
its own mistakes: its zero-shot accuracy on them is low by selection, and the gap to it is in part a
return to the mean. Models that are not studied, as in `hase2024_mdl`, avoid that.
"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.hardness import ModelHardness
from search_spaces.recipes import PAPER_LORA, LoRA, ZeroShot
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.published.hase2024 import IN_CONTEXT, MODELS, PROBE, QUANTILES, axis

JUDGES = tuple(
    BaseModelRef(name=name, dtype="bfloat16")
    for name in (
        "tiiuae/falcon-7b",
        "mistralai/Mistral-7B-v0.1",
        "adept/persimmon-8b-base",
        "huggyllama/llama-7b",
    )
)
"""Who says what is hard in the paper (arXiv:2401.06751, appendix A). Its released code has MPT-7b
in place of Persimmon-8b, and both hold some of them unquantized; one grid has one format."""

SIZES = (5, 20, 80, 340, 900)
"""Items that they are trained on, five draws each (appendix A). The levels are cut by the mean over
these sizes. The untrained base, size 0, is measured too, for the codelength alone."""


def mdl() -> Space:
    """Adapters trained on what the lab's bases find easy, tested on what they find harder."""
    adapter = LoRA(learning_rate=1e-3, batch_size=16)
    return Space(
        name="mdl",
        models=tuple(BaseModelRef(name=f"micro-{size}") for size in "sm"),
        tasks=(
            TaskAxis(
                task="micro",
                measure="mdl:prequential",
                train_levels=QUANTILES,
                test_levels=QUANTILES[1:],
                train_on_all=False,
                scale="quantiles",
                bounds="quantiles",
            ),
        ),
        methods=(adapter,),
        seeds=3,
        hardness=(ModelHardness(method=adapter, sizes=(20, 80, 320), seeds=2),),
    )


def hase2024_mdl() -> Space:
    """The paper's levels by MDL (Figure 19): without training on three tasks, and with it on ARC.

    The paper draws from 1,000 items that it sets aside; here any item may be drawn, and none is
    scored by a model that was trained on it, or on a copy. GSM8k has no choices to give
    probabilities to, and is not in it there either.
    """
    judged = "mdl-zero-shot:label_probability"
    return Space(
        name="hase2024_mdl",
        models=MODELS,
        tasks=(
            axis("arc", judged, QUANTILES),
            axis("arc", "mdl-probe:label_probability", QUANTILES),
            axis("arc", "mdl-lora:label_probability", QUANTILES),
            axis("mmlu_stem5", judged, QUANTILES),
            axis("strategyqa", judged, QUANTILES),
        ),
        methods=(IN_CONTEXT, PROBE, PAPER_LORA),
        seeds=5,
        split="paper",
        hardness=(
            ModelHardness(
                name="mdl-zero-shot",
                models=JUDGES,
                method=ZeroShot(quantization="int8", prompt="paper"),
            ),
            ModelHardness(
                name="mdl-probe",
                models=JUDGES,
                method=PROBE.model_copy(update={"prompt": "paper"}),
                sizes=SIZES,
            ),
            ModelHardness(
                name="mdl-lora",
                models=JUDGES,
                method=PAPER_LORA.model_copy(update={"prompt": "paper"}),
                sizes=SIZES,
            ),
        ),
    )
