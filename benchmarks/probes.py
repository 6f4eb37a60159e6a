"""The probe's solvers, timed against one L-BFGS loop a fit in the same process.

Run: `python -m benchmarks.probes [--draws 20] [--fits 50] [--plain 20]`. Draws of 160 items x 4
choices x 512 features with answers from a random linear score; half of the draws are solved for
many regularisations, half for many nested training sizes. One thread, except where two are named;
processor seconds are printed beside wall-clock ones: their ratio holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.methods.probes.conditional_logit import (
    GRADIENT_SHRINKAGE,
    LogitFit,
    fit_conditional_logit,
    fit_path,
)
from trainables.methods.probes.gradient_descent import fit_sgd

NUM_ITEMS, NUM_CHOICES, NUM_FEATURES = 160, 4, 512
SIGNAL = 0.15
"""Standard deviation of the true weights: answers are neither sure nor random."""

PLAIN_SHRINKAGE = 1e-5
"""What the plain loop has to reach; ours goes on to the product's own rule."""

SMALLEST = 10
"""Items of the smallest nested training set."""


Places = list[tuple[int, int]]
"""Draw and fit of each fit that the plain loop makes too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """Training items and what is asked of them: one l2 and one row of item weights per fit."""

    feature_ICF: Tensor
    is_choice_IC: Tensor
    answer_I: Tensor
    l2s: list[float]
    weight_PI: Tensor


def make_draw(seed: int, num_fits: int) -> Draw:
    """Returns a draw; even seeds ask for regularisations, odd ones for nested sizes."""
    generator = torch.Generator().manual_seed(seed)
    shape = (NUM_ITEMS, NUM_CHOICES, NUM_FEATURES)
    feature_ICF = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight_F = SIGNAL * torch.randn(NUM_FEATURES, generator=generator, dtype=torch.float64)
    prob_IC = (feature_ICF @ weight_F).softmax(dim=1)
    sizes = torch.linspace(SMALLEST, NUM_ITEMS, num_fits).round()
    is_nested = seed % 2 == 1
    return Draw(
        feature_ICF=feature_ICF,
        is_choice_IC=torch.ones(NUM_ITEMS, NUM_CHOICES, dtype=torch.bool),
        answer_I=torch.multinomial(prob_IC, 1, generator=generator)[:, 0],
        l2s=[1.0] * num_fits if is_nested else torch.logspace(-3, 4, num_fits).tolist(),
        weight_PI=(torch.arange(NUM_ITEMS) < sizes[:, None]).double()
        if is_nested
        else torch.ones(num_fits, NUM_ITEMS, dtype=torch.float64),
    )


def solve(draw: Draw) -> list[LogitFit]:
    """Returns all fits of the draw by `fit_path`."""
    return fit_path(draw.feature_ICF, draw.is_choice_IC, draw.answer_I, draw.l2s, draw.weight_PI)


def plain_fit(draw: Draw, number: int, shrinkage: float = PLAIN_SHRINKAGE) -> tuple[Tensor, float]:
    """Returns the weights that torch's L-BFGS finds, and the gradient's shrinkage."""
    kept = draw.weight_PI[number] > 0
    feature_ICF, answer_I, l2 = draw.feature_ICF[kept], draw.answer_I[kept], draw.l2s[number]
    weight_F = torch.zeros(NUM_FEATURES, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        cross_entropy = torch.nn.functional.cross_entropy(
            feature_ICF @ weight_F, answer_I, reduction="sum"
        )
        return cross_entropy + l2 / 2 * weight_F @ weight_F

    start = float(torch.autograd.grad(loss(), weight_F)[0].norm())
    optimizer = torch.optim.LBFGS(
        [weight_F],
        max_iter=2000,
        history_size=10,
        tolerance_grad=shrinkage * start / NUM_FEATURES**0.5,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        total = loss()
        total.backward()
        return float(total.detach())

    optimizer.step(closure)
    end = float(torch.autograd.grad(loss(), weight_F)[0].norm())
    return weight_F.detach(), end / start


def timed(name: str, num_fits: int, work: Callable[[], object]) -> float:
    """Runs the work, prints its seconds and returns the processor seconds of one fit."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"  {name:42} {num_fits:5} fits {wall:7.2f} s wall {cpu:7.2f} s cpu "
        f"{1e3 * cpu / num_fits:8.2f} ms cpu a fit"
    )
    return cpu / num_fits


def largest_difference(draws: list[Draw], fits: list[list[LogitFit]], places: Places) -> float:
    """Returns how far our log-probabilities are from the plain loop's to the same rule."""
    worst = 0.0
    for at, number in places:
        feature_ICF = draws[at].feature_ICF
        plain_F, _ = plain_fit(draws[at], number, GRADIENT_SHRINKAGE)
        ours_IC = (feature_ICF @ fits[at][number].weight_F).log_softmax(dim=1)
        plain_IC = (feature_ICF @ plain_F).log_softmax(dim=1)
        worst = max(worst, float((ours_IC - plain_IC).abs().max()))
    return worst


def compare(draws: list[Draw], places: Places) -> None:
    """Prints the seconds of every way."""
    total = sum(len(draw.l2s) for draw in draws)
    fits: list[list[LogitFit]] = []
    ours = timed("fit_path", total, lambda: fits.extend(map(solve, draws)))
    for title, parity in (("regularisations", 0), ("nested sizes", 1)):
        some = draws[parity::2]
        timed(f"  {title} alone", sum(len(d.l2s) for d in some), lambda s=some: list(map(solve, s)))
    with ThreadPoolExecutor(2) as pool:
        timed("fit_path, two threads", total, lambda: list(pool.map(solve, draws)))
    reached: list[float] = []
    plain = timed(
        "one L-BFGS loop a fit (torch)",
        len(places),
        lambda: reached.extend(plain_fit(draws[at], number)[1] for at, number in places),
    )
    strict = timed(
        "same, to the product's rule",
        len(places),
        lambda: [plain_fit(draws[at], number, GRADIENT_SHRINKAGE) for at, number in places],
    )
    timed("one fit_conditional_logit a fit", len(places), lambda: [alone(draws, p) for p in places])
    timed("recipe paper (fit_sgd)", len(places), lambda: [paper(draws, p) for p in places])
    print(
        f"  ours: {plain / ours:.1f} x less processor time a fit than the plain loop, "
        f"{strict / ours:.1f} x to the same rule; gradient at most "
        f"{max(fit.gradient_ratio for row in fits for fit in row):.1e} of its start, plain "
        f"{max(reached):.1e}; log-probabilities differ by at most "
        f"{largest_difference(draws, fits, places):.1e}"
    )


def alone(draws: list[Draw], place: tuple[int, int]) -> LogitFit:
    """Returns one fit by a call of its own."""
    draw, number = draws[place[0]], place[1]
    return fit_conditional_logit(
        draw.feature_ICF, draw.is_choice_IC, draw.answer_I, draw.l2s[number], draw.weight_PI[number]
    )


def paper(draws: list[Draw], place: tuple[int, int]) -> LogitFit:
    """Returns one fit of the paper's recipe."""
    draw, number = draws[place[0]], place[1]
    weight_I = draw.weight_PI[number]
    return fit_sgd(draw.feature_ICF, draw.is_choice_IC, draw.answer_I, 1.0, weight_I, names=place)


def main() -> None:
    """Prints all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--fits", type=int, default=50, help="fits of each draw")
    parser.add_argument("--plain", type=int, default=20, help="fits of the plain loop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    draws = [make_draw(seed, options.fits) for seed in range(options.draws)]
    step = max(1, options.draws * options.fits // options.plain)
    flat = [(at, number) for at in range(options.draws) for number in range(options.fits)]
    compare(draws, flat[step // 2 :: step])


if __name__ == "__main__":
    main()
