"""Spaces `mdl` and `hase2024_mdl`: levels by model-based hardness.

Minimum description length (MDL). Two commands: `python -m study.measure mdl` trains the lab's two
smaller bases on 0 to 320 questions and scores all others; `python -m study.sweep mdl` then cuts the
task by their codelength. It trains adapters, because a probe of such a small base learns almost
nothing: its code is longer than the 2 bits of guessing.

If a studied model also measures the hardness, as in `mdl`, some hard items are simply its mistakes:
selection lowers its zero-shot accuracy on them, and part of the gap is regression to the mean. The
models that measure hardness in `hase2024_mdl` are not studied, which avoids this.
"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef
from search_spaces.hardness import ModelHardness
from search_spaces.recipes import PAPER_LORA, ZeroShot
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.studies.lab.micro import LAB_LORA
from search_spaces.studies.published.hase2024 import (
    IN_CONTEXT,
    LLAMA_70B,
    MODELS,
    PROBE,
    QUANTILES,
    axis,
)

JUDGES = tuple(
    BaseModelRef(name=name, dtype="bfloat16")
    for name in (
        "tiiuae/falcon-7b",
        "mistralai/Mistral-7B-v0.1",
        "adept/persimmon-8b-base",
        "huggyllama/llama-7b",
    )
)
"""The paper's models for hardness (arXiv:2401.06751, appendix A). Its released code has MPT-7b
instead of Persimmon-8b, and both leave some models unquantized; here all have one format."""

SIZES = (5, 20, 80, 340, 900)
"""Training items of these models, five draws each (appendix A). The levels are cut by the mean over
these sizes. The untrained base, size 0, is measured too, for the codelength alone."""


def easy_to_hard(model: str | None = None) -> tuple[Contrast, ...]:
    """Returns easy - zero-shot and easy - hard labels, of one model or of all."""
    easy = Arm(condition="easy", model=model)
    return tuple(
        Contrast(first=easy, second=Arm(condition=other), test_level="hard")
        for other in ("zero-shot", "hard")
    )


def mdl() -> Space:
    """Do labels of what the lab's models find easy help with what they find hard?"""
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
        methods=(LAB_LORA,),
        seeds=3,
        contrasts=easy_to_hard(),
        hardness=(ModelHardness(method=LAB_LORA, sizes=(20, 80, 320), seeds=2),),
    )


def hase2024_mdl() -> Space:
    """The same for the models of arXiv:2401.06751, Figure 19, on three tasks.

    The levels are cut by MDL: without training on three tasks, and with it on ARC.

    The paper draws from 1,000 reserved items. Here any item may be drawn, and no model scores an
    item that it was trained on, or a copy of it. As in the paper, GSM8k is left out, because it has
    no choices.
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
        contrasts=easy_to_hard(LLAMA_70B),
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
