"""Times the probe's solvers and checks the converged one against torch's L-BFGS.

Run: `python -m benchmarks.probes [--fits 1000] [--plain 20]`. Fits of 160 items x 4 choices x 512
features with answers from a random linear score: half of them over penalties from 1e-3 to 1e4,
half over nested training sizes. One thread; processor seconds, which a busy machine changes least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from trainables.methods.probes.conditional_logit import LogitFit, fit_conditional_logit
from trainables.methods.probes.gradient_descent import fit_sgd

NUM_ITEMS, NUM_CHOICES, NUM_FEATURES = 160, 4, 512
SIGNAL = 0.15
"""Standard deviation of the true weights: answers are neither certain nor random."""

SMALLEST = 10
"""Items of the smallest training set."""

FITS_PER_DRAW = 50

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One fit."""

    feature_ICF: Tensor
    answer_I: Tensor
    l2: float

    @property
    def is_choice_IC(self) -> Tensor:
        """All places hold a choice."""
        return torch.ones(self.feature_ICF.shape[:2], dtype=torch.bool)


def make_problems(num_fits: int) -> list[Problem]:
    """Returns the fits, in draws that share their features."""
    problems: list[Problem] = []
    for seed in range(-(-num_fits // FITS_PER_DRAW)):
        generator = torch.Generator().manual_seed(seed)
        shape = (NUM_ITEMS, NUM_CHOICES, NUM_FEATURES)
        feature_ICF = torch.randn(shape, generator=generator, dtype=torch.float64)
        weight_F = SIGNAL * torch.randn(NUM_FEATURES, generator=generator, dtype=torch.float64)
        prob_IC = (feature_ICF @ weight_F).softmax(dim=1)
        answer_I = torch.multinomial(prob_IC, 1, generator=generator)[:, 0]
        sizes = torch.linspace(SMALLEST, NUM_ITEMS, FITS_PER_DRAW).round().int().tolist()
        l2s = torch.logspace(-3, 4, FITS_PER_DRAW).tolist()
        is_nested = seed % 2 == 1
        problems += [
            Problem(
                feature_ICF=feature_ICF[: size if is_nested else NUM_ITEMS],
                answer_I=answer_I[: size if is_nested else NUM_ITEMS],
                l2=1.0 if is_nested else l2,
            )
            for size, l2 in zip(sizes, l2s, strict=True)
        ]
    return problems[:num_fits]


def converged(problem: Problem) -> LogitFit:
    """Returns the fit of the product's converged solver."""
    return fit_conditional_logit(
        problem.feature_ICF, problem.is_choice_IC, problem.answer_I, problem.l2
    )


def paper(problem: Problem) -> LogitFit:
    """Returns the fit of the paper's recipe."""
    return fit_sgd(problem.feature_ICF, problem.is_choice_IC, problem.answer_I, names=(1,))


def plain_loss(problem: Problem) -> float:
    """Returns the least loss that torch's L-BFGS finds on the features as they are."""
    weight_F = torch.zeros(NUM_FEATURES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight_F],
        max_iter=5000,
        tolerance_grad=1e-9,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        score_IC = problem.feature_ICF @ weight_F
        loss = torch.nn.functional.cross_entropy(score_IC, problem.answer_I, reduction="sum")
        loss = loss + problem.l2 / 2 * weight_F @ weight_F
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(closure())


def timed(name: str, problems: list[Problem], solve: Callable[[Problem], Result]) -> list[Result]:
    """Solves the problems and prints the processor seconds."""
    start = time.process_time()
    results = [solve(problem) for problem in problems]
    seconds = time.process_time() - start
    per_fit = 1e3 * seconds / len(problems)
    print(f"  {name:32} {len(problems):5} fits {seconds:7.2f} s cpu {per_fit:8.2f} ms a fit")
    return results


def main() -> None:
    """Prints the times, and how far the losses are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--plain", type=int, default=20, help="fits that torch's L-BFGS makes too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    problems = make_problems(options.fits)
    few = problems[:: max(1, len(problems) // options.plain)]
    timed("converged (fit_conditional_logit)", problems, converged)
    timed("recipe paper (fit_sgd)", few, paper)
    plain = timed("torch's L-BFGS", few, plain_loss)
    worst = max(
        (converged(problem).loss - loss) / loss for problem, loss in zip(few, plain, strict=True)
    )
    print(f"  loss above that of torch's L-BFGS: at most {worst:.1e} of it")


if __name__ == "__main__":
    main()
