"""Results of Hase et al. 2024 by training level, measure, method, model and gap.

Printed accuracies are rounded to 0.1 points (Table 4: 0.01). An SGR that is marked "from rounded
accuracies" was computed from three such numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from study.analysis.published.hase_2024_rows import (
    CHAT,
    ICL,
    LLAMA_7B,
    LLAMA_13B,
    LLAMA_70B,
    MAIN,
    MIXTRAL,
    N_TRAIN,
    PROBE,
    QLORA,
    QWEN,
    arm,
    sgr,
    triple,
)
from study.analysis.published.result import Published


def results() -> Iterator[Published]:
    """Yields Table 2 and 4, and Figures 5, 8, 9, 13 to 15 and 17 to 19."""
    yield from _table_4()
    yield from _main_results()
    yield from _other_measures()
    yield from _scale_and_gaps()


def _table_4() -> Iterator[Published]:
    """Training and test on all levels (page 22)."""
    rows: Sequence[tuple[str, str, int | None, bool, float]] = (
        ("arc", "zero-shot", None, False, 85.94),
        ("arc", ICL, 10, False, 91.77),
        ("arc", PROBE, N_TRAIN, False, 89.48),
        ("arc", QLORA, N_TRAIN, False, 89.47),
        ("gsm8k", "zero-shot", None, True, 4.80),
        ("gsm8k", ICL, 8, True, 56.24),
        ("gsm8k", QLORA, N_TRAIN, True, 52.64),
        ("mmlu_stem5", ICL, 10, False, 56.83),
        ("mmlu_stem5", PROBE, N_TRAIN, False, 53.01),
        ("mmlu_stem5", QLORA, N_TRAIN, False, 52.77),
        ("strategyqa", "zero-shot", None, False, 62.40),
        ("strategyqa", ICL, 4, False, 68.89),
        ("strategyqa", ICL, 8, True, 72.86),
        ("strategyqa", PROBE, N_TRAIN, False, 68.79),
        ("strategyqa", QLORA, N_TRAIN, False, 66.36),
        ("strategyqa", QLORA, N_TRAIN, True, 75.09),
    )
    for task, method, number, reasoning, percent in rows:
        yield arm(
            (task, ""),
            "zero-shot" if method == "zero-shot" else "all",
            "all",
            percent,
            "Table 4, p. 22",
            method=method,
            num_labels=number,
            reasoning=reasoning,
        )


def _main_results() -> Iterator[Published]:
    """Zero-shot, easy and hard with in-context learning; SGR by Table 2 and Figure 15."""
    figures = {
        ("Figure 5", "hard"): (
            (83.1, 89.7, 89.9),
            (83.1, 88.2, 88.3),
            (79.3, 85.9, 85.9),
            (48.3, 53.5, 53.6),
            (60.9, 66.2, 68.3),
            (6.0, 23.7, 28.2),
        ),
        ("Figure 13", "all"): (
            (85.9, 91.5, 91.5),
            (85.9, 91.4, 91.7),
            (85.9, 91.5, 91.6),
            (51.0, 56.6, 56.7),
            (62.4, 72.2, 73.8),
            (4.8, 45.8, 45.4),
        ),
        ("Figure 14", "easy"): (
            (88.9, 93.7, 93.3),
            (89.7, 93.9, 94.4),
            (89.9, 94.7, 94.8),
            (52.2, 58.0, 58.3),
            (65.7, 75.5, 76.9),
            (4.4, 68.3, 62.3),
        ),
    }
    for (source, test), triples in figures.items():
        for axis, percents in zip(MAIN.values(), triples, strict=True):
            yield from triple(axis, test, percents, source)
    medium = {"ARC grade": 89.9, "ARC difficulty": 88.2, "ARC Bloom": 86.0}
    for name, percent in {**medium, "StrategyQA": 67.6, "GSM8k": 24.7}.items():
        yield arm(MAIN[name], "medium", "hard", percent, "Figure 17")
    table_2 = {
        "hard": (
            (0.96, 0.10),
            (0.98, 0.36),
            (1.00, 0.20),
            (0.97, 0.59),
            (0.72, 0.93),
            (0.79, 0.60),
        ),
        "all": ((1.00, 0.09), (0.96, 0.08), (0.98, 0.08), (1.00, 0.27), (0.87, 0.32), (0.98, 0.39)),
    }
    for test, printed in table_2.items():
        for axis, (value, half_width) in zip(MAIN.values(), printed, strict=True):
            yield sgr(axis, value, "Table 2", test=test, half_width=half_width)
    figure_15 = {
        PROBE: (1.10, 1.21, 0.98, 0.69, 0.61),
        QLORA: (1.14, 1.08, 1.14, 0.74, 0.69, 0.50),
    }
    for method, values in figure_15.items():
        for axis, value in zip(MAIN.values(), values, strict=False):
            yield sgr(axis, value, "Figure 15", method=method)


def _other_measures() -> Iterator[Published]:
    """Figure 19, hard test, in-context."""
    rows = {
        ("arc", "answer_chars"): (85.4, 89.9, 91.7),
        ("arc", "mdl-zero-shot:label_probability"): (71.9, 83.7, 86.4),
        ("arc", "mdl-lora:label_probability"): (65.9, 77.1, 79.2),
        ("arc", "mdl-probe:label_probability"): (68.9, 78.1, 80.5),
        ("arc", "question_words"): (82.7, 87.3, 89.6),
        ("mmlu_stem5", "answer_chars"): (59.7, 64.5, 66.4),
        ("mmlu_stem5", "mdl-zero-shot:label_probability"): (37.4, 48.1, 46.6),
        ("mmlu_stem5", "question_words"): (45.1, 49.3, 51.2),
        ("strategyqa", "mdl-zero-shot:label_probability"): (26.9, 66.6, 83.6),
        ("strategyqa", "question_words"): (60.7, 64.2, 68.8),
    }
    for axis, (zero, easy, hard) in rows.items():
        yield from triple(axis, "hard", (zero, easy, hard), "Figure 19")
        ratio = round((easy - zero) / (hard - zero), 2)
        yield sgr(axis, ratio, "Figure 19, from rounded accuracies")


def _scale_and_gaps() -> Iterator[Published]:
    """College questions of MMLU: by model (Figure 8), and by gap (Figures 9 and 18)."""
    mmlu, science = MAIN["MMLU"], ("science", "grade")
    for model, percents, share in (
        (LLAMA_7B, (31.2, 35.8, 35.4), 1.09),
        (LLAMA_13B, (38.0, 39.2, 39.6), 0.75),
    ):
        yield from triple(mmlu, "hard", percents, "Figure 8", model=model)
        yield sgr(mmlu, share, "Figure 8", model=model)
    sources = ("zero-shot", "3rd grade", "8th grade", "high school", "college")
    rows: Sequence[tuple[str, str, str, Sequence[float]]] = (
        (LLAMA_70B, ICL, "Figure 9", (48.3, 51.3, 52.2, 53.5, 53.6)),
        (LLAMA_70B, PROBE, "Figure 9", (48.3, 48.3, 49.2, 50.1, 50.9)),
        (LLAMA_70B, QLORA, "Figure 9", (48.3, 48.2, 50.0, 50.8, 51.7)),
        (CHAT, ICL, "Figure 18", (42.3, 47.6, 47.9, 47.7, 47.9)),
        (MIXTRAL, ICL, "Figure 18", (48.6, 52.8, 53.9, 55.3, 55.2)),
        (QWEN, ICL, "Figure 18", (39.8, 43.1, 44.1, 43.3, 43.8)),
    )
    for model, method, source, by_school in rows:
        for condition, percent in zip(sources, by_school, strict=True):
            if condition != "zero-shot" or method == ICL:
                yield arm(
                    science, condition, "college", percent, source, model=model, method=method
                )
        if (model, method) != (LLAMA_70B, ICL):  # those are Figure 5's
            for condition, percent in zip(("easy", "hard"), by_school[-2:], strict=True):
                yield arm(mmlu, condition, "hard", percent, source, model=model, method=method)
        zero, hard = by_school[0], by_school[-1]
        for easy, percent in zip(sources[1:-1], by_school[1:-1], strict=True):
            share = round((percent - zero) / (hard - zero), 2)
            yield sgr(
                science,
                share,
                f"{source}, from rounded accuracies",
                test="college",
                easy=easy,
                model=model,
                method=method,
            )
