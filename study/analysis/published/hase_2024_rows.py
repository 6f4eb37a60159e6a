"""How results of Hase et al. 2024 become rows: their models, levels and usual settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from study.analysis.published.result import Published

LLAMA_7B, LLAMA_13B, LLAMA_70B = (f"Llama-2-{size}-hf" for size in ("7b", "13b", "70b"))
CHAT, MIXTRAL, QWEN = "Llama-2-70b-chat-hf", "Mixtral-8x7B-v0.1", "Qwen-72B"

ICL, PROBE, QLORA = "in-context", "linear probe", "qlora"
N_TRAIN: Final = 160

REASONED: Final = {"strategyqa", "gsm8k"}
"""Tasks whose main results have a chain of thought (in-context and LoRA)."""

LEVELS: Final = {
    ("arc", "grade"): {
        **{"easy": (3, 5), "medium": (6, 7), "hard": (8, 8)},
        **{f"grade {grade}": (grade, grade) for grade in range(3, 9)},
    },
    ("arc", "difficulty"): {"easy": (1, 1), "medium": (2, 2), "hard": (3, 3)},
    ("arc", "bloom"): {
        **{"easy": (1, 2), "medium": (3, 3), "hard": (4, 5)},
        **{f"Bloom {skill}": (skill, skill) for skill in range(1, 6)},
    },
    ("mmlu_stem5", "education"): {"easy": (0, 0), "hard": (1, 1)},
    ("strategyqa", "steps"): {"easy": (1, 2), "medium": (3, 3), "hard": (4, 5)},
    ("gsm8k", "steps"): {"easy": (2, 3), "medium": (4, 5), "hard": (6, 11)},
    ("science", "grade"): {
        "3rd grade": (3, 3),
        "8th grade": (8, 8),
        "high school": (11, 11),
        "college": (14, 14),
    },
}

MAIN: Final = {
    "ARC grade": ("arc", "grade"),
    "ARC difficulty": ("arc", "difficulty"),
    "ARC Bloom": ("arc", "bloom"),
    "MMLU": ("mmlu_stem5", "education"),
    "StrategyQA": ("strategyqa", "steps"),
    "GSM8k": ("gsm8k", "steps"),
}


def _labels(task: str, method: str) -> int:
    if method != ICL:
        return N_TRAIN
    return 8 if task in REASONED else 10


def arm(
    axis: tuple[str, str],
    condition: str,
    test: str,
    percent: float,
    source: str,
    *,
    method: str = ICL,
    model: str = LLAMA_70B,
    num_labels: int | None = None,
    reasoning: bool | None = None,
    noise: float | None = None,
    half_width: float | None = None,
) -> Published:
    """Returns an accuracy that is printed in %; labels and reasoning are the paper's usual ones."""
    task, measure = axis
    is_zero_shot = condition == "zero-shot"
    usual = task == "gsm8k" or (task == "strategyqa" and not is_zero_shot and method != PROBE)
    return Published(
        quantity="accuracy",
        task=task,
        measure=measure or None,
        model=model,
        method="zero-shot" if is_zero_shot else method,
        reasoning=usual if reasoning is None else reasoning,
        num_labels=None if is_zero_shot else num_labels or _labels(task, method),
        condition=condition,
        noise=noise,
        test=test,
        value=round(percent / 100, 6),
        half_width=None if half_width is None else round(half_width / 100, 6),
        source=source,
    )


def triple(
    axis: tuple[str, str], test: str, percents: Sequence[float], source: str, **other: object
) -> Iterator[Published]:
    """Yields zero-shot, easy and hard of one test level."""
    for condition, percent in zip(("zero-shot", "easy", "hard"), percents, strict=True):
        yield arm(axis, condition, test, percent, source, **other)  # type: ignore[arg-type]


def sgr(
    axis: tuple[str, str],
    value: float,
    source: str,
    *,
    test: str = "hard",
    method: str = ICL,
    model: str = LLAMA_70B,
    easy: str = "easy",
    half_width: float | None = None,
) -> Published:
    """Returns an SGR whose source are the easy labels."""
    task, measure = axis
    reasoning = task in REASONED and method != PROBE
    return Published(
        quantity="sgr",
        task=task,
        measure=measure,
        model=model,
        method=method,
        reasoning=reasoning,
        num_labels=_labels(task, method),
        condition=easy,
        test=test,
        value=value,
        half_width=half_width,
        source=source,
    )
