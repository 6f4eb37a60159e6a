"""Times the item browser and a report's first paint in headless Chromium.

    python -m benchmarks.pages [--items 10000] [--arms 36] [--report runs/micro/report/index.html]

The item browser filters, sorts and scrolls made-up items and scores: milliseconds from an input to
the frame that shows its result, the median and the largest of REPEATS. The target is 200 ms. A
report is loaded as often: milliseconds to its first paint; the target is 1,000 ms.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from search_spaces.base_models import BaseModelRef
from search_spaces.levels import Level
from search_spaces.recipes import LoRA
from search_spaces.space import Space, TaskAxis
from study.analysis.items.results import ItemArm, TaskResults
from study.artifacts.items import TaskItems
from study.artifacts.plan import Plan
from study.reporting.items.browser import items_page
from study.reporting.items.texts import TaskTexts
from trainables.data.items import Item

REPEATS = 15

LEVELS = tuple(Level(name=name, low=2 * n + 1, high=2 * n + 2) for n, name in enumerate("emh"))

ACTIONS = {
    "search": "set('q', ['water', 'light 4', 'stone', ''][n % 4])",
    "pattern": "set('show', ['fixed', 'hard', 'split', ''][n % 4])",
    "level": """set('level', ['["steps","e"]', '["steps","h"]', ''][n % 3])""",
    "measure range": "set('min', `${n % 6 + 1}`)",
    "model": "set('model', [task.arms[0].model, ''][n % 2])",
    "sort by an arm": "document.querySelector('#head .arm button').click()",
    "sort by question": "document.querySelector('[data-sort=question]').click()",
    "scroll": "list.scrollTop = (n * 7919 * 30) % (list.scrollHeight - list.clientHeight)",
    "next item": "open(n * 611)",
}
"""What a reader does; `n` counts the repeats."""

MEASURE = """
const done = arguments[arguments.length - 1], repeats = arguments[0], times = [];
const list = document.getElementById("list");
const set = (name, value) => {
  const field = document.getElementById(name);
  field.value = value;
  field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input"));
};
const act = (n) => { ACTION; };
const again = (n) => {
  if (n === repeats) { change({ ...defaults(view.task) }); done(times); return; }
  const start = performance.now();
  act(n);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    times.push(performance.now() - start);
    setTimeout(() => again(n + 1), 0);
  }));
};
again(0);
"""


def main() -> None:
    """Measures and prints every action."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--arms", type=int, default=36)
    parser.add_argument("--report", type=Path, help="a report's page, to measure its first paint")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "items.html")
        path.write_text(made_page(arguments.items, arguments.arms))
        driver = _browser(Path(folder, "profile"))
        try:
            if arguments.report is not None:
                _time_first_paint(driver, arguments.report)
            print(f"{arguments.items:,} items, {arguments.arms} arms, {_megabytes(path)}")
            _time_items(driver, path)
        finally:
            driver.quit()


def _time_first_paint(driver: Any, page: Path) -> None:
    print(f"report, {_megabytes(page)}")
    paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    times = []
    for _ in range(REPEATS):
        driver.get("about:blank")
        driver.get(page.resolve().as_uri())
        while (milliseconds := driver.execute_script(paint)) is None:
            time.sleep(0.05)
        times.append(milliseconds)
    _print_times("first paint", times)


def _time_items(driver: Any, page: Path) -> None:
    driver.get(page.as_uri())
    load = "const [e] = performance.getEntriesByType('navigation'); return e.duration"
    print(f"{'load':18}{driver.execute_script(load):8.0f} ms")
    for name, action in ACTIONS.items():
        _print_times(name, driver.execute_async_script(MEASURE.replace("ACTION", action), REPEATS))


def _print_times(name: str, times: Sequence[float]) -> None:
    print(f"{name:18}{statistics.median(times):8.0f} ms median{max(times):8.0f} ms largest")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def made_page(num_items: int, num_arms: int) -> str:
    """Returns the page of made-up items: four arms a model."""
    rng, words = np.random.default_rng(0), random.Random(0)
    vocabulary = [
        "water",
        "light",
        "stone",
        "river",
        "plant",
        "energy",
        "force",
        "metal",
        "cell",
        "orbit",
        "sound",
        "heat",
    ]
    ids = [f"item-{n:05}" for n in range(num_items)]
    steps = rng.integers(1, 7, num_items)
    texts = {
        id_: Item(
            id=id_,
            question=" ".join(words.choices(vocabulary, k=30)) + f" {number}?",
            choices=tuple(" ".join(words.choices(vocabulary, k=5)) + f" {n}" for n in range(4)),
            answer=0,
        )
        for number, id_ in enumerate(ids)
    }
    table = pa.table(
        {
            "id": ids,
            "group": pa.nulls(num_items, pa.string()),
            "topic": rng.choice(vocabulary, num_items),
            "gold": pa.array(np.zeros(num_items), pa.int32()),
            "num_choices": pa.array(np.full(num_items, 4), pa.int32()),
            "measure.steps": steps.astype(np.float64),
            "levels.steps": [["emh"[(step - 1) // 2]] for step in steps.tolist()],
        }
    )
    items = TaskItems(task="made", data_hash="", split_hash="", table=table)
    arms = tuple(_arm(place) for place in range(num_arms))
    shape = (num_arms, num_items)
    seeds = rng.binomial(4, rng.beta(1, 1, shape)) / 4
    results = TaskResults(
        items=items,
        arms=arms,
        right=seeds,
        confidence=rng.uniform(0.25, 1, shape),
        predicted=rng.integers(0, 4, shape).astype(np.int16),
        agreement=np.maximum(seeds, 1 - seeds),
    )
    return items_page(_plan(), {"made": results}, {"made": TaskTexts(items=texts)})


def _arm(place: int) -> ItemArm:
    model, kind = divmod(place, 4)
    condition = ("zero-shot", *"emh")[kind]
    return ItemArm(
        model=f"model-{model}",
        method="lora" if kind else "zero-shot",
        condition=condition,
        kind="labels",
        measure="steps",
        train_level=LEVELS[kind - 1] if kind else None,
        level_place=kind - 1 if kind else None,
        num_levels=3,
        cells=("a", "b", "c", "d"),
        num_planned=4,
        zero_shot=4 * model if kind else None,
    )


def _plan() -> Plan:
    axis = TaskAxis(task="micro", measure="steps", train_levels=LEVELS, test_levels=LEVELS)
    space = Space(
        name="made", models=(BaseModelRef(name="micro-s"),), tasks=(axis,), methods=(LoRA(),)
    )
    axis = axis.model_copy(update={"task": "made"})
    space = space.model_copy(update={"tasks": (axis,)})
    return Plan(space=space, tasks=(), models=(), cells=(), units=(), points=())


def _browser(profile: Path) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1366,800")
    for flag in (*flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(
        options=options,
        service=webdriver.ChromeService(executable_path=shutil.which("chromedriver")),
    )
    driver.set_script_timeout(120)
    return driver


if __name__ == "__main__":
    main()
