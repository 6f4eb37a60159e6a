"""What a study costs beside its cells' own work, and what a plan of many cells takes.

    python -m benchmarks.scale twin [--cells 2000] [--blocks 100]
    python -m benchmarks.scale ray [--cells 2000] [--blocks 2]
    python -m benchmarks.scale rerun [--cells 2000]
    python -m benchmarks.scale dry-run [--cells 100000]
    python -m benchmarks.scale spot [--minutes 10]

`twin` and `ray` run cells that wait for a tenth of a second in place of their method, through the
real worker loop, records, progress and (with `ray`) Tune and Train. They print the seconds beyond
that work and beyond the start of the blocks, and the driver's memory. `rerun` looks at a finished
study. `spot` is a discrete simulation of two nodes of which one is lost every minute, with the
seconds that a restart takes as a parameter. The machine's load is printed, because it decides.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import InContext
from search_spaces.space import Space, TaskAxis
from search_spaces.studies.lab.micro import EASY, HARD, MEDIUM
from study.artifacts.plan import Plan
from study.planning.planner import Inputs, make_plan
from study.planning.units import make_units
from study.running.blocks import pack_blocks, plan_units
from study.running.pace import Pace
from study.running.progress import ProgressReporter
from trainables.cells.planned import Block, RunContext
from trainables.cells.run import CellInputs, CellResult
from trainables.cluster.capacity import Capacity
from trainables.cluster.in_process import InProcessExecutor
from trainables.cluster.ray_executor import open_ray_executor
from trainables.methods.base.interface import Answers
from trainables.models.loading import Base
from trainables.storage.filesystem import Storage, open_storage

WORK_S = 0.1
"""Of one cell."""

MODEL = "micro-s"


def wait(inputs: CellInputs, base: Base) -> CellResult:
    """Stands in for a cell's method: waits, and answers every item alike."""
    time.sleep(WORK_S)
    scores = [np.zeros(len(item.choices)) for item in inputs.test]
    return CellResult(answers=Answers(log_probs=scores))


def study_of(num_cells: int, folder: Path) -> tuple[Plan, Inputs]:
    """Plans a study of about so many cells on 240 questions that are made here."""
    (folder / "jsonl").mkdir(parents=True)
    rows = (
        {
            "id": f"q{i}",
            "question": f"{i}?",
            "choices": ["a", "b", "c", "d"],
            "answer": 0,
            "steps": i % 6 + 1,
        }
        for i in range(240)
    )
    (folder / "jsonl" / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    axis = TaskAxis(
        task="jsonl:made",
        measure="steps",
        train_levels=(EASY, MEDIUM, HARD),
        test_levels=(HARD,),
    )
    space = Space(
        name="scale",
        models=(BaseModelRef(name=MODEL),),
        tasks=(axis,),
        methods=(InContext(k=4),),
        seeds=max(1, num_cells // 4),
    )
    return make_plan(space, folder)


def blocks_of(plan: Plan, number: int) -> list[Block]:
    """Returns the plan's cells in so many blocks of one worker."""
    units = make_units(plan.cells)
    fits = Capacity(slots=number, workers=1, cpus_per_worker=1, gpus_per_worker=0)
    return pack_blocks(units, fits)


def memory_mib() -> float:
    """Returns the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def first_and_last(storage: Storage, plan: Plan) -> tuple[float, float]:
    """Returns when the first cell began (about) and when the last record was written."""
    times = [storage.modified(f"cells/{cell.id}/record.json") or 0.0 for cell in plan.cells]
    return min(times) - WORK_S, max(times)


def run(how: str, num_cells: int, num_blocks: int) -> None:
    """Runs waiting cells and prints the seconds beyond their work."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan, inputs = study_of(num_cells, folder / "data")
        storage = open_storage(str(folder / "runs"))
        run_context = RunContext(
            out=storage.root, tasks=inputs.tasks, models=inputs.models, run_cell=wait
        )
        blocks = blocks_of(plan, num_blocks)
        at_start, started = memory_mib(), time.time()
        units = plan_units(plan)
        with ProgressReporter(
            storage, units, pace=Pace(units), on_finished=lambda cell, record: None
        ):
            if how == "twin":
                errors = InProcessExecutor().run_blocks(blocks, run_context)
            else:
                with open_ray_executor(None, storage, "scale") as executor:
                    errors = executor.run_blocks(blocks, run_context)
            at_end = memory_mib()
        ended = time.time()
        begun, last = first_and_last(storage, plan)
    at_once = 1 if how == "twin" else min(num_blocks, os.cpu_count() or 1)
    work = len(plan.cells) * WORK_S / at_once
    print(
        f"{how}: {len(plan.cells)} cells of {WORK_S} s in {len(blocks)} blocks, {at_once} at once, "
        f"{len(errors)} errors: {ended - started:.1f} s, of which {work:.1f} s work, "
        f"{begun - started:.1f} s until the first cell, {last - begun - work:.1f} s scheduling and "
        f"records, {ended - last:.1f} s after the last record; driver {at_start:.0f} -> "
        f"{at_end:.0f} MiB; load {os.getloadavg()[0]:.1f}"
    )


def rerun(num_cells: int) -> None:
    """Times the sweep's command on a study whose cells all have records."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan, inputs = study_of(num_cells, folder / "data")
        storage = open_storage(str(folder / "runs"))
        run_context = RunContext(
            out=storage.root, tasks=inputs.tasks, models=inputs.models, run_cell=answer
        )
        InProcessExecutor().run_blocks(blocks_of(plan, 1), run_context)
        (folder / "space.py").write_text(_SPACE.format(seeds=plan.space.seeds))
        command = [sys.executable, "-m", "study.sweep", f"{folder}/space.py:scale"]
        timed(
            [*command, "--data-root", str(folder / "data"), "--out", storage.root],
            f"rerun of {len(plan.cells)} finished cells",
        )


def answer(inputs: CellInputs, base: Base) -> CellResult:
    """Stands in for a cell's method without waiting."""
    return CellResult(answers=Answers(log_probs=[np.zeros(len(i.choices)) for i in inputs.test]))


_SPACE = """
from search_spaces.studies.lab.micro import EASY, HARD, MEDIUM
from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Space, TaskAxis

def scale() -> Space:
    axis = TaskAxis(
        task="jsonl:made", measure="steps", train_levels=(EASY, MEDIUM, HARD), test_levels=(HARD,)
    )
    return Space(
        name="scale", models=(BaseModelRef(name="micro-s"),), tasks=(axis,),
        methods=(InContext(k=4),), seeds={seeds},
    )
"""

_MANY = """
from search_spaces.studies.lab.micro import micro
from search_spaces.recipes import LoRA
from search_spaces.space import Space

def many() -> Space:
    methods = tuple(LoRA(rank=r, epochs=e) for r in (2, 4, 8, 16) for e in (1, 2, 3, 4, 5))
    changes = {{"name": "many", "methods": methods, "seeds": {seeds}, "contrasts": ()}}
    return Space.model_validate(dict(micro()) | changes)
"""


def dry_run(num_cells: int) -> None:
    """Times the dry run of three models, 20 recipes and four conditions, with many seeds."""
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.py"
        space.write_text(_MANY.format(seeds=num_cells // (3 * 20 * 4)))
        command = [sys.executable, "-m", "study.sweep", f"{space}:many", "--dry-run"]
        timed([*command, "--out", f"{folder}/runs"], f"dry run of about {num_cells} cells")


def timed(command: Sequence[str], what: str) -> None:
    """Runs a command and prints its seconds, its processor's seconds and its largest memory."""
    started = time.time()
    environment = os.environ | {"WANDB_MODE": "disabled"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seconds = time.time() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = [
        line for line in done.stdout.splitlines() if "no cell to run" in line or "  cells" in line
    ]
    print(
        f"{what}: {seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of a core), "
        f"{used.ru_maxrss / 1024:.0f} MiB; load {os.getloadavg()[0]:.1f}; {' '.join(said).strip()}"
    )


def losses(
    minutes: float, restart_s: float, first_s: float, every_s: float = 60.0
) -> tuple[float, float, float]:
    """Simulates two nodes, of which one after the other is lost without a notice.

    Args:
        minutes: Of work for both.
        restart_s: From a loss until a new node begins a cell.
        first_s: When the first node is lost.
        every_s: Between two losses.

    Returns:
        Cell-seconds that were lost, those that were needed, and the seconds until the end.
    """
    cell_s = 10.0
    wanted = round(2 * minutes * 60 / cell_s)
    free_at = [0.0, 0.0]
    next_loss, hit, lost, done, end = first_s, 0, 0.0, 0, 0.0
    while done < wanted:
        node = min((0, 1), key=lambda node: free_at[node])
        begun = free_at[node]
        if hit != node and next_loss <= begun:  # the other one was just starting
            next_loss, hit = next_loss + every_s, node
        elif hit == node and next_loss < begun + cell_s:
            lost += max(0.0, next_loss - begun)
            free_at[node] = max(begun, next_loss + restart_s)
            next_loss, hit = next_loss + every_s, 1 - node
        else:
            free_at[node] = end = begun + cell_s
            done += 1
    return lost, wanted * cell_s, end


def spot(minutes: float) -> None:
    """Prints the simulation for restarts from at once to a worker group with all its imports."""
    for restart_s in (0.0, 12.0, 20.0, 40.0):
        runs = [losses(minutes, restart_s, 60.0 + phase / 2) for phase in range(20)]
        shares = [lost / needed for lost, needed, _ in runs]
        ends = [end for _, _, end in runs]
        print(
            f"spot, a node lost every 60 s, restart {restart_s:.0f} s: {np.mean(shares):.1%} more "
            f"cell-seconds (at worst {max(shares):.1%}), {np.mean(ends):.0f} s instead of "
            f"{runs[0][1] / 2:.0f}"
        )


def main() -> int:
    """Runs one measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("what", choices=["twin", "ray", "rerun", "dry-run", "spot"])
    parser.add_argument("--cells", type=int)
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    if options.what == "twin":
        run("twin", options.cells or 2000, options.blocks or 100)
    elif options.what == "ray":
        run("ray", options.cells or 2000, options.blocks or 2)
    elif options.what == "rerun":
        rerun(options.cells or 2000)
    elif options.what == "dry-run":
        dry_run(options.cells or 100_000)
    else:
        spot(options.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
