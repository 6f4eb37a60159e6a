"""How fast tasks load, and how much memory preference pairs take.

    python -m benchmarks.tasks [--data-root DIR] [--pairs N]

Prints a line each: loading, measuring and splitting ARC and GSM8k (real data, where DIR has it;
5 s each is the bound), and loading N generated preference pairs with the HH-RLHF loader, by default
as many as HH-RLHF has (1 GB of peak memory is the bound). Exit status 1 if a bound is not kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from trainables.data.seeding import generator
from trainables.data.splits import make_split
from trainables.data.tasks.registry import load_task

MAX_SECONDS = 5.0
MAX_BYTES = 1_000_000_000
N_TRAIN = 160


def main() -> int:
    """Runs the benchmarks; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pairs", type=int, default=170_000)
    options = parser.parse_args()
    # Pairs first: peak memory is of the whole process and never goes down.
    kept = [_load_pairs(options.pairs)]
    kept += [_load(task, options.data_root) for task in ("arc", "gsm8k")]
    return 0 if all(kept) else 1


def _load(task: str, data_root: Path) -> bool:
    if not (data_root / task).is_dir():
        print(f"{task}: not measured, no data at {data_root / task}")
        return True
    start = time.perf_counter()
    data = load_task(task, data_root)
    loaded = time.perf_counter()
    split = make_split(data, n_train=N_TRAIN)
    done = time.perf_counter()
    print(
        f"{task}: {len(data.items):,} items, {len(split.test):,} test; load and measure "
        f"{loaded - start:.2f} s, split {done - loaded:.2f} s (bound {MAX_SECONDS:g} s in all)"
    )
    return done - start <= MAX_SECONDS


def _load_pairs(num_pairs: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hh_rlhf" / "train.jsonl"
        path.parent.mkdir()
        _write_pairs(path, num_pairs)
        path.with_name("test.jsonl").write_text("")
        size = path.stat().st_size
        start = time.perf_counter()
        items = load_task("hh_rlhf", Path(folder)).items
        seconds = time.perf_counter() - start
    # Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"hh_rlhf: {len(items):,} distinct pairs of {size / 1e9:.2f} GB in {seconds:.1f} s, peak "
        f"memory {peak / 1e9:.2f} GB (bound {MAX_BYTES / 1e9:g} GB)"
    )
    return peak <= MAX_BYTES


def _write_pairs(path: Path, num_pairs: int) -> None:
    """Writes transcripts of about the length of HH-RLHF's (a kilobyte a pair)."""
    rng = generator("benchmark pairs")
    vocabulary = [f"word{number}" for number in range(2000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_pairs):
            text = " ".join(rng.choices(vocabulary, k=120))
            ask = f"\n\nHuman: {text[:300]} {number}?\n\nAssistant: Well.\n\nHuman: {text[300:400]}"
            row = {
                "chosen": f"{ask}\n\nAssistant: {text[400:600]}",
                "rejected": f"{ask}\n\nAssistant: {text[600:800]}",
            }
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
