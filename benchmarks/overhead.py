"""What Ray costs: a study on a local Ray against the same cells in one plain process, in one run.

    python -m benchmarks.overhead [SPACE]

Both start from an empty run folder, with W&B switched off. Printed are the wall-clock seconds of
both, what the Ray run costs more, and where its seconds go; then whether the scores are equal byte
for byte.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record

ALLOWED_S, ALLOWED_SHARE = 60.0, 0.10
"""What Ray may cost more than the plain process: a constant and a share of the plain run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One run's wall-clock seconds, by part; the parts add up to the total."""

    total: float
    before_cells: float
    """Python, plan, and (on Ray) processes until the first cell begins."""
    cells: float
    """From the first cell's beginning to the last record."""
    after_cells: float
    """Shutdown, surface and report."""
    cell_seconds: float
    """Sum over the cells, whatever ran beside them."""


def run(space: str, out: Path, *extra: str) -> Timing:
    """Runs the sweep into an empty folder and returns where its time went."""
    started = time.time()
    subprocess.run(
        [sys.executable, "-m", "study.sweep", space, "--out", str(out), *extra],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"WANDB_MODE": "disabled"},
    )
    ended = time.time()
    storage = open_storage(str(out))
    finished, begun, seconds = [], [], []
    for path in (out / "cells").glob("*/record.json"):
        cell_seconds = read_record(storage, path.parent.name).seconds["total"]
        finished.append(path.stat().st_mtime)
        begun.append(finished[-1] - cell_seconds)
        seconds.append(cell_seconds)
    return Timing(
        total=ended - started,
        before_cells=min(begun) - started,
        cells=max(finished) - min(begun),
        after_cells=ended - max(finished),
        cell_seconds=sum(seconds),
    )


def main() -> int:
    """Measures both ways and returns 1 if Ray costs more than it may or changes a byte."""
    space = sys.argv[1] if len(sys.argv) > 1 else "micro"
    with tempfile.TemporaryDirectory() as folder:
        on_ray, plain = Path(folder) / "ray", Path(folder) / "plain"
        timings = {"plain": run(space, plain, "--address", "in-process"), "Ray": run(space, on_ray)}
        scores = sorted(path.relative_to(plain) for path in plain.glob("cells/*/scores.parquet"))
        equal = sum((plain / name).read_bytes() == (on_ray / name).read_bytes() for name in scores)
    print(f"{space}: {len(scores)} cells, {os.cpu_count()} cores; seconds")
    print("         total  before cells  cells  after cells  sum over cells")
    for name, timing in timings.items():
        print(
            f"{name:6} {timing.total:7.1f} {timing.before_cells:13.1f} {timing.cells:6.1f} "
            f"{timing.after_cells:12.1f} {timing.cell_seconds:15.1f}"
        )
    more = timings["Ray"].total - timings["plain"].total
    allowed = ALLOWED_S + ALLOWED_SHARE * timings["plain"].total
    ratio = timings["Ray"].total / timings["plain"].total
    print(f"Ray - plain: {more:+.1f} s (allowed {allowed:+.1f} s); Ray / plain: {ratio:.2f}")
    print(f"scores equal byte for byte: {equal} of {len(scores)}")
    return int(more > allowed or equal < len(scores))


if __name__ == "__main__":
    sys.exit(main())
