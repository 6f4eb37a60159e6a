"""Results of Hase et al. 2024 against noise, cost and hardness, and its later controls.

Figures 4, 6 and 12 print no numbers: these were read off the PDF's vector paths, to about 0.1
points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from study.analysis.published.hase_2024_rows import (
    ICL,
    LLAMA_70B,
    MAIN,
    MIXTRAL,
    PROBE,
    QLORA,
    QWEN,
    arm,
)
from study.analysis.published.result import Published

BUDGETS = (20, 40, 80, 160, 320)
"""In easy labels; a hard one costs two."""

RATES = (None, 0.05, 0.1, 0.2, 0.3)


def curves() -> Iterator[Published]:
    """Yields Figures 4, 6, 7, 12 and 16, and the first author's talk."""
    yield from _strategyqa_models()
    yield from _noise()
    yield from _cost()
    yield from _hardness()
    yield from _trivial()
    yield from _reasoning()


def _strategyqa_models() -> Iterator[Published]:
    source = "Figure 16 (k = 4: from the released notebook)"
    models = {
        LLAMA_70B: (60.9, 65.7, 67.1),
        MIXTRAL: (57.8, 62.0, 63.1),
        QWEN: (55.7, 85.1, 84.9),
    }
    for model, percents in models.items():
        for condition, percent in zip(("zero-shot", "easy", "hard"), percents, strict=True):
            yield arm(
                MAIN["StrategyQA"], condition, "hard", percent, source, model=model, num_labels=4
            )


def _noise() -> Iterator[Published]:
    for condition, factor, percents in (
        ("easy", 1, (49.5, 48.7, 48.5, 46.3, 44.1)),
        ("hard", 2, (51.3, 50.8, 46.7, 44.7, 36.7)),
    ):
        for rate, percent in zip(RATES, percents, strict=True):
            stated = None if rate is None else factor * rate
            yield arm(
                MAIN["MMLU"], condition, "hard", percent, "Figure 7", method=PROBE, noise=stated
            )


def _cost() -> Iterator[Published]:
    easy_and_hard: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
        "ARC grade": ((85.8, 86.3, 87.0, 87.0, 87.4), (84.2, 85.3, 85.9, 86.6, 86.7)),
        "ARC difficulty": ((84.6, 84.9, 85.9, 86.4, 86.8), (83.7, 84.9, 84.4, 84.7, 84.7)),
        "ARC Bloom": ((82.8, 84.5, 85.0, 85.5, 85.7), (82.1, 82.3, 84.2, 85.8, 86.3)),
        "MMLU": ((44.7, 46.7, 49.1, 50.4, 50.9), (38.7, 42.1, 45.5, 48.8, 50.0)),
        "StrategyQA": ((61.7, 63.8, 63.2, 64.1, 65.7), (51.4, 60.2, 61.1, 63.4, 66.0)),
    }
    for name, curves_ in easy_and_hard.items():
        for condition, price, percents in zip(("easy", "hard"), (1, 2), curves_, strict=True):
            for budget, percent in zip(BUDGETS, percents, strict=True):
                yield arm(
                    MAIN[name],
                    condition,
                    "hard",
                    percent,
                    "Figure 6",
                    method=PROBE,
                    num_labels=budget // price,
                )


_GRADES = tuple(f"grade {grade}" for grade in range(3, 9))
_SKILLS = tuple(f"Bloom {skill}" for skill in range(1, 6))

_BY_HARDNESS: Mapping[str, tuple[Sequence[str], Sequence[float], Sequence[float]]] = {
    "ARC grade": (
        _GRADES,
        (93.1, 93.3, 93.8, 93.8, 91.9, 90.2),
        (90.5, 91.7, 92.3, 89.4, 89.5, 87.2),
    ),
    "ARC difficulty": (
        ("easy", "medium", "hard"),
        (94.2, 91.5, 88.9),
        (93.0, 88.3, 87.2),
    ),
    "ARC Bloom": (
        _SKILLS,
        (95.5, 94.2, 89.7, 86.4, 86.1),
        (94.1, 91.3, 86.4, 85.1, 81.3),
    ),
    "MMLU": (("easy", "hard"), (58.3, 54.0), (54.1, 50.0)),
}
"""Axis -> its values, and accuracies after training on all levels: in-context (Figure 4)
and LoRA (Figure 12)."""

_HALF_WIDTHS: Mapping[tuple[str, str], float] = {
    ("ARC grade", "grade 3"): 3.8,
    ("ARC grade", "grade 8"): 1.4,
    ("ARC difficulty", "hard"): 2.7,
    ("ARC Bloom", "Bloom 5"): 5.4,
    ("MMLU", "easy"): 2.7,
    ("MMLU", "hard"): 3.7,
}
"""Those of Figure 4 that were read."""


def _hardness() -> Iterator[Published]:
    for name, (tests, shown, tuned) in _BY_HARDNESS.items():
        for test, in_context, qlora in zip(tests, shown, tuned, strict=True):
            half_width = _HALF_WIDTHS.get((name, test))
            yield arm(MAIN[name], "all", test, in_context, "Figure 4", half_width=half_width)
            yield arm(MAIN[name], "all", test, qlora, "Figure 12", method=QLORA)


def _trivial() -> Iterator[Published]:
    """Yields slides 47 to 49, without a chain of thought.

    Neither k nor the text of the trivial prompts is known; k is taken to be that of Table 4.
    """
    conditions = ("zero-shot", "trivial", "easy", "hard")
    rows = {
        ("MMLU", "hard", LLAMA_70B): (48.8, 52.7, 54.0, 53.6),
        ("MMLU", "hard", MIXTRAL): (48.6, 53.0, 56.6, 55.9),
        ("StrategyQA", "hard", LLAMA_70B): (60.9, 65.3, 67.5, 61.0),
        ("StrategyQA", "hard", MIXTRAL): (57.8, 63.8, 66.9, 65.6),
        ("MMLU", "all", LLAMA_70B): (51.0, 55.7, 56.6, 56.7),
        ("MMLU", "all", MIXTRAL): (51.5, 56.4, 59.3, 59.2),
        ("StrategyQA", "all", LLAMA_70B): (62.4, 68.1, 72.2, 65.9),
        ("StrategyQA", "all", MIXTRAL): (62.5, 70.8, 72.9, 71.3),
    }
    for (name, test, model), percents in rows.items():
        for condition, percent in zip(conditions, percents, strict=True):
            yield arm(
                MAIN[name],
                condition,
                test,
                percent,
                "the first author's talk, slides 47 to 49",
                method=ICL,
                model=model,
                num_labels=4 if name == "StrategyQA" else 10,
                reasoning=False,
            )


def _reasoning() -> Iterator[Published]:
    """Yields what a chain of thought does on hard questions of StrategyQA, by the same talk.

    In-context learning with one stands in Figure 5; without one k is taken to be that of Table 4.
    Its zero-shot accuracy is 60.7 here, and 60.9 in Figure 5 and on the slides of the controls.
    """
    source = "the first author's talk, effect of a chain of thought"
    strategyqa = MAIN["StrategyQA"]
    yield arm(strategyqa, "zero-shot", "hard", 60.7, source)
    for condition, shown, tuned, reasoned in (
        ("easy", 67.7, 60.1, 69.3),
        ("hard", 60.9, 61.9, 73.1),
    ):
        yield arm(strategyqa, condition, "hard", shown, source, num_labels=4, reasoning=False)
        for percent, reasoning in ((tuned, False), (reasoned, True)):
            yield arm(
                strategyqa, condition, "hard", percent, source, method=QLORA, reasoning=reasoning
            )
