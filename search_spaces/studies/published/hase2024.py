"""Space `hase2024`: the experiments of Hase et al. 2024 (arXiv:2401.06751, v1) as one grid.

Table 4 and Figures 5, 8, 9 and 13 to 19 are parts of it. Space `gap` has the gaps of Figure 9;
`noise` and `cost` have noise and cost of labels (Figures 6 and 7). Where paper and released code
(at commit ad8358e) differ, or leave a setting open, the setting's docstring explains the choice.
"""

from __future__ import annotations

from search_spaces.base_models import BaseModelRef, Footprint
from search_spaces.levels import Level
from search_spaces.recipes import PAPER_LORA, InContext, LinearProbe, LoRA, Reasoning
from search_spaces.space import Arm, Contrast, Space, TaskAxis
from search_spaces.supervision import Condition, Labels

LLAMA_70B = "meta-llama/Llama-2-70b-hf"

MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"

MODELS = tuple(
    BaseModelRef(
        name=name, dtype="bfloat16", footprint=Footprint(workers=1) if name == MIXTRAL else None
    )
    for name in (
        "meta-llama/Llama-2-7b-hf",
        "meta-llama/Llama-2-13b-hf",
        LLAMA_70B,
        "meta-llama/Llama-2-70b-chat-hf",
        MIXTRAL,
        "Qwen/Qwen1.5-72B",
    )
)
"""The paper's models. Its sixth, Qwen-72B, ships model code, which is never run; its successor of
the same size, whose architecture is part of transformers, replaces it and is not compared with its
numbers. Llama-2 requires a licence on the Hub: log in, or name a local copy. Mixtral has separate
blocks, because its experts stay in 16 bits (see `hase2024`): its GPU must hold about 96 GiB, which
the other models do not need."""

IN_CONTEXT = InContext(k=10, quantization="int8")
"""k = 10 on ARC and MMLU, 8-bit bases (section 4). The paper keeps Mixtral and Qwen in 16 bits;
this grid has one recipe (int8 only reaches Mixtral's attention), and the paper saw no loss from 8
bits."""

PROBE = LinearProbe(solver="paper", quantization="int8")
"""160 labels, middle and last layer, SGD on a norm penalty (appendix D)."""


def reasoned(max_new_tokens: int, *ks: int) -> tuple[InContext | LoRA, ...]:
    """Returns the paper's recipes with a chain of thought: in-context for each k, and LoRA.

    LoRA learns reasoning and answer as text for 38 epochs, because the released code makes at least
    150 updates, which the paper does not mention.
    """
    reasoning = Reasoning(max_new_tokens=max_new_tokens)
    in_context = tuple(InContext(k=k, quantization="int8", reasoning=reasoning) for k in ks)
    lora = PAPER_LORA.model_copy(update={"reasoning": reasoning, "loss": "text", "epochs": 38})
    return (*in_context, lora)


MIXED = Condition(name="easy and hard", levels=("easy", "hard"))
"""Half of the labels easy, half hard; commented out in the released code."""

TRIVIAL = Condition(name="trivial", labels=Labels(kind="trivial"))
"""Examples of the task's form without content, from the first author's talk, for MMLU and
StrategyQA. Their text is not published; ours is in `trainables.data.prompts.formats`."""


def levels(**bounds: tuple[float, float]) -> tuple[Level, ...]:
    """Returns levels by name, from easy to hard, with their inclusive bounds."""
    return tuple(Level(name=name, low=low, high=high) for name, (low, high) in bounds.items())


QUANTILES = levels(easy=(0, 0.3), medium=(0.3, 0.7), hard=(0.7, 1))
"""For measures without natural levels: up to the 30th percentile, and from the 70th."""

GRADES = levels(easy=(3, 5), medium=(6, 7), hard=(8, 8))
DIFFICULTY = levels(easy=(1, 1), medium=(2, 2), hard=(3, 3))
BLOOM = levels(easy=(1, 2), medium=(3, 3), hard=(4, 5))
EDUCATION = levels(easy=(0, 0), hard=(1, 1))
"""High school and college."""
DECOMPOSITION = levels(easy=(1, 2), medium=(3, 3), hard=(4, 5))
SOLUTION_LINES = levels(easy=(2, 3), medium=(4, 5), hard=(6, 11))
"""GSM8k as cut in the paper's text; the released code cuts differently (up to 4, 5 to 6, from
7)."""

STRATEGYQA_METHODS = (
    InContext(k=4, quantization="int8"),
    PROBE,
    PAPER_LORA,
    *reasoned(100, 8, 4),
)
"""k = 4 without a chain of thought (Table 4), and 8 or 4 with one (Figure 16). Generations end
after 100 tokens on StrategyQA and 300 on GSM8k; the paper chose these limits on hard test items."""

GSM8K_METHODS = reasoned(300, 8)


COT_8 = {"strategyqa": reasoned(100, 8)[0], "gsm8k": reasoned(300, 8)[0]}

TABLE_2 = tuple(
    Contrast(
        first=Arm(condition="easy", model=LLAMA_70B, recipe=COT_8.get(task, IN_CONTEXT)),
        second=Arm(condition="zero-shot"),
        test_level="hard",
        task=task,
        measure=measure,
    )
    for task, measure in (
        ("arc", "grade"),
        ("arc", "difficulty"),
        ("arc", "bloom"),
        ("mmlu_stem5", "education"),
        ("strategyqa", "steps"),
        ("gsm8k", "steps"),
    )
)
"""The tests of Table 2: does SGR differ from 0 on the hard test, with in-context learning (with
eight chains of thought on StrategyQA and GSM8k)?"""


def axis(task: str, measure: str, cut: tuple[Level, ...], *controls: Condition) -> TaskAxis:
    """Returns an axis with the paper's prompt, trained and tested on all levels of a cut."""
    quantiles = cut == QUANTILES
    task_methods = {"strategyqa": STRATEGYQA_METHODS, "gsm8k": GSM8K_METHODS}
    return TaskAxis(
        task=task,
        measure=measure,
        train_levels=cut,
        test_levels=cut,
        bounds="quantiles" if quantiles else "values",
        scale="quantiles" if quantiles else "ordinal",
        prompt="default" if task == "gsm8k" else "paper",
        reasoning_prompt="default" if task == "gsm8k" else "reasoned",
        floor="instructed" if task == "gsm8k" else "choices",
        conditions=controls,
        methods=task_methods.get(task, ()),
    )


def hase2024() -> Space:
    """Do easy labels replace hard ones? The whole grid of arXiv:2401.06751.

    Six models, four tasks by six of the seven measures, five seeds.

    The measures are school grade or level, rated difficulty, Bloom's skill, words of the question,
    characters of the answer, and steps; the seventh, MDL, is in space `hase2024_mdl`.

    `int8` does not reach Mixtral's routed experts, 45 of its 46.7 billion weights: bitsandbytes
    replaces linear layers, and transformers stores a layer's experts as one parameter. Mixtral is
    therefore in 16 bits except for its attention, almost as in the paper. Its recipes, and so its
    cells' ids, still have int8, and its records carry a note.

    As in the paper, a seed is tested on all items that it did not train on. Unlike the paper, no
    1,000 items of ARC and GSM8k are reserved to measure MDL, and GSM8k is not cut down to 500 test
    items a seed.

    The floor of SGR is the paper's: on StrategyQA, zero-shot scores yes and no without a chain of
    thought, even for methods that have one; on GSM8k it solves the problem after an instruction
    that defines how to end the answer.
    """
    return Space(
        name="hase2024",
        models=MODELS,
        tasks=(
            axis("arc", "grade", GRADES, MIXED),
            axis("arc", "difficulty", DIFFICULTY, MIXED),
            axis("arc", "bloom", BLOOM, MIXED),
            axis("arc", "question_words", QUANTILES),
            axis("arc", "answer_chars", QUANTILES),
            axis("mmlu_stem5", "education", EDUCATION, MIXED, TRIVIAL),
            axis("mmlu_stem5", "question_words", QUANTILES),
            axis("mmlu_stem5", "answer_chars", QUANTILES),
            axis("strategyqa", "steps", DECOMPOSITION, MIXED, TRIVIAL),
            axis("strategyqa", "question_words", QUANTILES),
            axis("gsm8k", "steps", SOLUTION_LINES, MIXED),
        ),
        methods=(IN_CONTEXT, PROBE, PAPER_LORA),
        seeds=5,
        split="paper",
        contrasts=TABLE_2,
    )
