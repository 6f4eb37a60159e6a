"""Results of Hase, Bansal, Clark and Wiegreffe 2024 on hard test data (in-context learning).

Source: "The Unreasonable Effectiveness of Easy Training Data for Hard Tasks", arXiv 2401.06751 v1,
Llama-2-70b: accuracies of Figure 5, bars of Figure 15, Table 2. Accuracies are percentages as
printed, rounded to 0.1, so an SGR recomputed from them is good to about 0.01 at a 5-point gap.
The paper calls zero_shot "Unsup" and prints SGR +/- as a bootstrap mean +/- half-width.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class HardTestResult:
    """One data set and hardness measure, tested on its hard level."""

    name: str
    zero_shot: float
    """Percent; Figure 5, as are easy and hard."""
    easy: float
    hard: float
    icl_bar: float
    """SGR of in-context learning, Figure 15."""
    printed_sgr: float
    """Table 2, hard test."""
    printed_half_width: float


HARD_TEST: Final = (
    HardTestResult(
        name="ARC, grade",
        zero_shot=83.1,
        easy=89.7,
        hard=89.9,
        icl_bar=0.97,
        printed_sgr=0.96,
        printed_half_width=0.10,
    ),
    HardTestResult(
        name="ARC, difficulty",
        zero_shot=83.1,
        easy=88.2,
        hard=88.3,
        icl_bar=0.98,
        printed_sgr=0.98,
        printed_half_width=0.36,
    ),
    HardTestResult(
        name="ARC, Bloom",
        zero_shot=79.3,
        easy=85.9,
        hard=85.9,
        icl_bar=1.00,
        printed_sgr=1.00,
        printed_half_width=0.20,
    ),
    HardTestResult(
        name="MMLU, high school / college",
        zero_shot=48.3,
        easy=53.5,
        hard=53.6,
        icl_bar=0.98,
        printed_sgr=0.97,
        printed_half_width=0.59,
    ),
    HardTestResult(
        name="StrategyQA, steps (chain of thought)",
        zero_shot=60.9,
        easy=66.2,
        hard=68.3,
        icl_bar=0.72,
        printed_sgr=0.72,
        printed_half_width=0.93,
    ),
    HardTestResult(
        name="GSM8k, steps (chain of thought)",
        zero_shot=6.0,
        easy=23.7,
        hard=28.2,
        icl_bar=0.80,
        printed_sgr=0.79,
        printed_half_width=0.60,
    ),
)
