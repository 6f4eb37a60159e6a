"""Published results as typed values: one CSV a paper, a row a printed number.

Each row of the CSV names its figure or table in the column `source`; the other columns are the
fields of `PublishedResult`, empty where one does not apply.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Literal

from pydantic import TypeAdapter

Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedResult:
    """One printed number with the coordinates that match it to a study's."""

    source: str
    """Figure or table, with any remark that the reader needs."""
    quantity: Literal["accuracy", "sgr"]
    task: str
    measure: str | None = None
    """None where the result has no measure: training and test cover all levels."""
    model: str
    """Last part of the model's name on the Hub."""
    method: str
    """The paper's name: `qlora` for adapters on a quantized base, 8 bits included; `zero-shot`
    without training."""
    reasoning: bool
    """Whether the answer followed a chain of thought."""
    num_labels: int | None = None
    """None for zero-shot."""
    condition: str
    """A level's name, `all`, `trivial` or `zero-shot`."""
    noise: float | None = None
    """Probability with which each label was redrawn."""
    test: str
    """A level's name, or `all`."""
    value: float
    """A fraction; an SGR of 1 is full recovery."""
    half_width: float | None = None
    """Of the 95 % interval, where one is printed."""


_RESULTS = TypeAdapter(tuple[PublishedResult, ...])


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper with its results."""

    title: str
    file: str
    """CSV of the results, in this package."""
    levels: Mapping[tuple[str, str], Mapping[str, Bounds]]
    """(task, measure) -> level -> inclusive bounds. Measures cut at quantiles are absent: their
    levels match by name."""

    @cached_property
    def results(self) -> tuple[PublishedResult, ...]:
        """The results, in the order of the file."""
        text = (resources.files(__package__) / self.file).read_text(encoding="utf-8")
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(text.splitlines())]
        return _RESULTS.validate_python(rows)


PAPERS: Mapping[str, Paper] = {
    "hase2024": Paper(
        title="Hase et al. 2024, arXiv:2401.06751 v1",
        file="hase_2024.csv",
        levels={
            ("arc", "grade"): {
                "easy": (3, 5),
                "medium": (6, 7),
                "hard": (8, 8),
                **{f"grade {grade}": (grade, grade) for grade in range(3, 9)},
            },
            ("arc", "difficulty"): {"easy": (1, 1), "medium": (2, 2), "hard": (3, 3)},
            ("arc", "bloom"): {
                "easy": (1, 2),
                "medium": (3, 3),
                "hard": (4, 5),
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
        },
    )
}
"""Name on the command line -> paper.

`hase2024` holds Tables 2 and 4, Figures 4 to 9 and 12 to 19, and the first author's talk:

- Printed accuracies are rounded to 0.1 points (Table 4: 0.01). An SGR marked "from rounded
  accuracies" was computed from three of them.
- Figures 4, 6 and 12 print no numbers. Theirs were measured on the PDF's vector paths, to about
  0.1 points.
- The talk (trivial prompts, effect of a chain of thought) does not state k for prompts without a
  chain of thought; k is assumed to be that of Table 4. Its zero-shot accuracy on StrategyQA is
  60.7 on one slide and 60.9 on others and in Figure 5.
- Zero-shot on StrategyQA chooses without a chain of thought, even next to conditions that use one.
- Left out, because the setting is uncertain: Figures 4 and 12 for StrategyQA (with or without a
  chain of thought) and for GSM8k (steps are counted one off from the released code), and Table 4's
  zero-shot accuracy on MMLU (college questions alone).
"""
