"""Times report and status of a large study: 5,000 points over 30,000 cells.

    python -m benchmarks.report [--points 5000] [--folder DIR]

The records are written first (not timed). `study.report` and `study.status` then run in fresh
processes, reading included. Printed: seconds, processor seconds, peak memory, size of the page, and
the lines on the terminal.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LoRA
from search_spaces.space import Space, TaskAxis
from tests.support.fakes import FakeStudy
from trainables.storage.filesystem import open_storage

SEEDS, ITEMS_PER_LEVEL, NUM_STEPS, RANKS = 4, 60, 6, 50
LEVELS = tuple(
    Level(name=name, low=low, high=low + 1)
    for name, low in (("easy", 1), ("medium", 3), ("hard", 5))
)
SOURCES = 2
"""Points of one recipe: easy -> hard and medium -> hard."""


def main() -> None:
    """Writes the records, then measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--folder", help="where to write the records (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        study = write_study(folder, options.points)
        run = f"{folder}/{study.space.name}"
        timed("report", [sys.executable, "-m", "study.report", run])
        page = Path(run) / "report" / "index.html"
        print(f"page: {page.stat().st_size / 1e6:.1f} MB")
        timed("status", [sys.executable, "-m", "study.status", run])


def write_study(folder: str, num_points: int) -> FakeStudy:
    """Plans a study of about so many points, and writes the records that are not there yet."""
    started = time.perf_counter()
    num_recipes = max(num_points // SOURCES, 1)
    num_ranks = min(RANKS, num_recipes)
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=LEVELS,
        test_levels=LEVELS[-1:],
        train_on_all=False,
    )
    space = Space(
        name="large",
        models=tuple(BaseModelRef(name=f"model-{i}") for i in range(num_recipes // num_ranks)),
        tasks=(axis,),
        methods=tuple(LoRA(n_train=8, rank=rank + 1) for rank in range(num_ranks)),
        seeds=SEEDS,
    )
    study = FakeStudy(
        storage=open_storage(folder),
        space=space,
        items_per_level=ITEMS_PER_LEVEL,
        num_steps=NUM_STEPS,
    ).write()
    present = {path.parent.name for path in Path(folder).glob("cells/*/record.json")}
    study.finish(cell for cell in study.plan.cells if cell.id not in present)
    seconds = time.perf_counter() - started
    print(f"{len(study.plan.points)} points, {len(study.plan.cells)} cells, in {seconds:.0f} s")
    return study


def timed(name: str, command: list[str]) -> None:
    """Runs a command and prints what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{name}: {seconds:.1f} s (processor {processor:.1f} s, load {os.getloadavg()[0]:.1f}), "
        f"peak {after.ru_maxrss / 2**20:.2f} GiB, {len(result.stdout.splitlines())} lines printed"
    )


if __name__ == "__main__":
    main()
