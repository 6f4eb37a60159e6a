"""Crossed bootstrap of SGR against a plain loop of the paper's kind, measured in one run.

Run from the repository root: `python -m benchmarks.bootstrap`. One point: 2,000 items x 5 seeds
in each arm, 10,000 resamples; the loop runs fewer and is scaled up.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossed_bootstrap import bootstrap_sgr
from benchmarks.simulated_points import draw_points
from study.statistics.arms import ArmScores
from study.statistics.power.logit_model import Population
from study.statistics.resampling.legacy_bootstrap import legacy_bootstrap_sgr
from study.statistics.sgr import estimate_sgr

Scores = NDArray[np.float64]

LIMIT_SECONDS = 0.5


def loop_accuracy(arm: Scores, count: int, rng: np.random.Generator) -> list[float]:
    """Resampled means of one arm: rows and columns drawn with replacement, one at a time."""
    num_items, num_seeds = arm.shape
    means = []
    for _ in range(count):
        rows = rng.integers(0, num_items, num_items)
        columns = rng.integers(0, num_seeds, num_seeds)
        means.append(float(np.nanmean(arm[rows][:, columns])))
    return means


def loop_sgr(
    zero_shot: Scores, easy: Scores, hard: Scores, count: int, rng: np.random.Generator
) -> list[float]:
    """Resampled SGR, one resample at a time."""
    num_items = len(zero_shot)
    ratios = []
    for _ in range(count):
        rows = rng.integers(0, num_items, num_items)
        floor = zero_shot[rows][:, None]
        gains = []
        for arm in (easy, hard):
            columns = rng.integers(0, arm.shape[1], arm.shape[1])
            gains.append(np.nanmean(arm[rows][:, columns] - floor))
        ratios.append(float(gains[0] / gains[1]))
    return ratios


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=1_000, help="resamples of the plain loop")
    return parser.parse_args()


def main() -> int:
    """Prints the times and their ratio; exit status 1 above the limit."""
    arguments = _arguments()
    rng = np.random.default_rng(0)
    drawn = draw_points(Population(gap=0.2), num_items=2000, num_seeds=5, num_draws=1, rng=rng)
    zero_shot, easy, hard = (
        arm[0].astype(np.float64) for arm in (drawn.zero_shot, drawn.easy, drawn.hard)
    )
    zero_arm = ArmScores(scores=zero_shot[:, None], draw_ids=())
    easy_arm = ArmScores(scores=easy, draw_ids=tuple(f"easy/{seed}" for seed in range(5)))
    hard_arm = ArmScores(scores=hard, draw_ids=tuple(f"hard/{seed}" for seed in range(5)))
    count, scale = arguments.resamples, arguments.resamples / arguments.loop

    def crossed() -> object:
        return bootstrap_sgr(
            zero_shot=zero_arm,
            easy=easy_arm,
            hard=hard_arm,
            rng=np.random.default_rng(1),
            num_resamples=count,
        )

    crossed()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = seconds(crossed)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before
    legacy = seconds(
        lambda: legacy_bootstrap_sgr(zero_shot, easy, hard, rng=rng, num_resamples=count), 3
    )
    loop = scale * seconds(lambda: loop_sgr(zero_shot, easy, hard, arguments.loop, rng), 3)
    single = scale * seconds(lambda: loop_accuracy(easy, arguments.loop, rng), 3)
    fieller = seconds(lambda: estimate_sgr(zero_shot, easy, hard), 50)
    print(f"one point, 2,000 items x 5 seeds an arm, {count} resamples, median wall time")
    print(f"  crossed bootstrap of SGR:        {ours:8.3f} s (limit {LIMIT_SECONDS} s)")
    print(f"  plain loop, SGR:                 {loop:8.3f} s ({loop / ours:.1f} x ours)")
    for name, value in (
        ("plain loop, one accuracy", single),
        ("the paper's, vectorised", legacy),
        ("Fieller set (no resamples)", fieller),
    ):
        print(f"  {name + ':':32} {value:8.5f} s")
    print(f"  memory grown over repeats:       {grown / 1024:8.1f} MiB")
    return int(ours > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
