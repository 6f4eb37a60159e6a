"""Planned and measured peak memory of a worker on this machine's CPU.

    python -m benchmarks.memory MODEL DATA [RECIPE...] [--dtype DTYPE] [--prompt PROMPT]

MODEL is a folder in Hugging Face format, and DATA holds ARC as `--data-root` expects it. A RECIPE
is Python, such as `"LoRA(batch_size=4)"`. Each recipe runs in a new process, as a study of one seed
with 20 test items and one update. A row has the memory that the plan expects and the largest peak
in the records of the recipe's cells.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search_spaces.base_models import Footprint
from study.artifacts.plan import read_plan
from study.cost.fitting import settings_of
from study.cost.jobs import jobs_of
from study.cost.pricer import shapes_of
from trainables.storage.filesystem import open_storage
from trainables.storage.records import read_record

RECIPES = ("LoRA(batch_size=4)", "LoRA(batch_size=32, rank=64)", "InContext(k=16)", "LinearProbe()")
ONE_WORKER = Footprint(workers=1, gpus_per_worker=0)
MIB = 2**20

SPACE = """
from search_spaces.recipes import *
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=3, high=5), Level(name="hard", low=8, high=8)
SHORT = {{"n_train": 64, "max_updates": 1}}


def memory():
    recipe = {recipe}
    short = {{name: SHORT[name] for name in SHORT if name in type(recipe).model_fields}}
    return Space(
        name="memory",
        models=(BaseModelRef(name="base", path={model!r}, dtype={dtype!r}),),
        tasks=(
            TaskAxis(
                task="arc", measure="grade", train_levels=(EASY, HARD), test_levels=(HARD,),
                test_items=20, prompt={prompt!r}, train_on_all=False,
            ),
        ),
        methods=(recipe.model_copy(update=short),),
        seeds=1,
        contrasts=(),
    )
"""


def measure(space: str, data: str, out: Path) -> Iterator[tuple[str, float, int]]:
    """Runs a study; yields planned and measured bytes by method."""
    (out / "space.py").write_text(space)
    place = ("--out", str(out), "--data-root", data, "--address", "in-process")
    subprocess.run(
        [sys.executable, "-m", "study.sweep", f"{out / 'space.py'}:memory", *place],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"WANDB_MODE": "disabled"},
    )
    storage = open_storage(str(out))
    plan = read_plan(storage, "memory")
    peaks: dict[str, int] = {}
    for cell in plan.cells:
        peak, method = read_record(storage, cell.id).peak_memory, cell.cell.recipe.method
        peaks[method] = max(peak or 0, peaks.get(method, 0))
    for setting in settings_of(jobs_of(plan.cells, plan.tasks), shapes_of(plan.models), ONE_WORKER):
        yield setting.recipe.method, setting.worker_memory or 0.0, peaks[setting.recipe.method]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompt", default="default")
    given = parser.parse_args()
    print(f"{'recipe':36} {'method':16} {'planned MiB':>12} {'measured MiB':>12} {'ratio':>6}")
    for recipe in given.recipes:
        space = SPACE.format(
            recipe=recipe, model=given.model, dtype=given.dtype, prompt=given.prompt
        )
        with tempfile.TemporaryDirectory() as out:
            for method, planned, peak in measure(space, given.data, Path(out)):
                print(
                    f"{recipe:36} {method:16} {planned / MIB:12,.0f} {peak / MIB:12,.0f} "
                    f"{planned / peak:6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
