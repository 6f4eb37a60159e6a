"""Times the surface of a large study: 5,000 points over 1,000 cells of 2,000 items each.

    python -m benchmarks.surface [--cells 1000] [--folder DIR]

The records are written first (not timed). The surface is then computed in a fresh process, reading
included, for the whole study and for half of its cells: time should grow linearly with records.
"""

from __future__ import annotations

import argparse
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

SEEDS, NUM_STEPS, ITEMS = 5, 25, 2000
RANKS = (4, 8, 16, 32, 64)

MEASURED = """
import resource, sys, time
started = time.perf_counter()
started_cpu = time.process_time()
from study.artifacts.plan import read_plan
from study.analysis.surface import compute_surface, write_surface
from trainables.storage.filesystem import open_storage
storage = open_storage(sys.argv[1])
plan = read_plan(storage, sys.argv[2])
loaded = time.perf_counter()
surface = compute_surface(storage, plan)
computed = time.perf_counter()
write_surface(storage, plan, surface)
done = time.perf_counter()
cpu = time.process_time() - started_cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
resolved = sum(row.verdict == "resolved" for row in surface.rows)
print(f"{len(surface.rows)} points ({resolved} resolved), {surface.counts.finished} cells: "
      f"{done - started:.1f} s (import and plan {loaded - started:.1f}, records and estimates "
      f"{computed - loaded:.1f}, writing {done - computed:.1f}); processor {cpu:.1f} s, "
      f"peak {peak:.2f} GiB")
"""


def main() -> None:
    """Writes the records, then measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--folder", help="where to write the records (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        for name, cells in (("half", options.cells // 2), ("whole", options.cells)):
            study = _write(folder, name, cells)
            command = [sys.executable, "-c", MEASURED, folder, study.space.name]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            print(result.stdout.strip())


def _write(folder: str, name: str, num_cells: int) -> FakeStudy:
    started = time.perf_counter()
    study = FakeStudy(
        storage=open_storage(folder),
        space=_space(name, num_models=max(num_cells // (len(RANKS) * 5 * SEEDS), 1)),
        items_per_level=2 * ITEMS // NUM_STEPS,
        num_steps=NUM_STEPS,
    ).write()
    present = {path.parent.name for path in Path(folder).glob("cells/*/record.json")}
    study.finish(cell for cell in study.plan.cells if cell.id not in present)
    seconds = time.perf_counter() - started
    print(f"wrote {len(study.plan.cells)} cells of {ITEMS} items in {seconds:.0f} s")
    return study


def _space(name: str, *, num_models: int) -> Space:
    width = NUM_STEPS // 5
    bands = [
        Level(name=f"band {i}", low=i * width + 1, high=(i + 1) * width)
        for i in range(NUM_STEPS // width)
    ]
    singles = [Level(name=f"steps {i}", low=i, high=i) for i in range(1, NUM_STEPS + 1)]
    pairs = [
        Level(name=f"steps {low} or {low + 1}", low=low, high=low + 1)
        for band in bands
        for low in (int(band.low), int(band.low) + 2)
    ]
    axis = TaskAxis(
        task="toy",
        measure="steps",
        train_levels=tuple(bands),
        test_levels=(*bands, *pairs, *singles),
        train_on_all=False,
    )
    return Space(
        name=name,
        models=tuple(BaseModelRef(name=f"model-{i}") for i in range(num_models)),
        tasks=(axis,),
        methods=tuple(LoRA(n_train=8, rank=rank) for rank in RANKS),
        seeds=SEEDS,
    )


if __name__ == "__main__":
    main()
