"""`python -m study.doctor`: is this machine ready for a study, and what to do where it is not.

Nothing is changed: one small file is written to the run folder and removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from study.console import command
from study.formatting import aligned
from trainables.cluster.machine_checks import Check, model_checks, run_check
from trainables.storage.addresses import is_local

if TYPE_CHECKING:
    from trainables.storage.filesystem import Storage

OK, PROBLEM = 0, 1

PROJECT = "scarce-labels"
OLDEST_PYTHON = (3, 11)

FREE_PROBLEM_GB, FREE_WARNING_GB = 1.0, 20.0
"""A base of 8 billion parameters takes 16 GB in bfloat16, and a study keeps a few."""

CLOCK_WARNING_S, CLOCK_PROBLEM_S = 10.0, 300.0
"""S3 refuses requests whose time is 15 minutes off; a third of it is time to set the clock."""


@command(needs_output=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: no problem. 1: a problem, or the output could not be written.
    """
    options = _parser().parse_args(arguments)
    found = []
    for name, check in _checks(options.out, options.data_root, is_deep=options.deep):
        result = run_check(name, check)
        found.append(result)
        if not options.json:
            print("\n".join(as_lines(result)), flush=True)
    if options.json:
        print(json.dumps([asdict(check) for check in found], indent=2))
    return PROBLEM if any(check.status == "problem" for check in found) else OK


def as_lines(check: Check) -> list[str]:
    """Returns what a check found as lines for the terminal."""
    lines = aligned([(f"{check.status:7}", f"{check.name:14}", check.text)], indent=0)
    return [*lines, f"{'':9}-> {check.advice}"] if check.advice else lines


def _checks(
    out: str, data_root: Path | None, *, is_deep: bool
) -> Iterator[tuple[str, Callable[[], Check]]]:
    yield "Python", check_python
    yield "packages", check_packages
    storage = run_check("storage", partial(check_storage, out))
    yield "storage", lambda: storage
    if storage.status != "problem":  # what cannot be reached tells no time
        yield "clock", partial(check_clock, out)
    yield "disk", partial(check_disk, out)
    if data_root is not None:
        yield "data", partial(check_data, data_root)
    yield "W&B", check_tracking
    yield from model_checks(is_deep=is_deep)


def check_python() -> Check:
    """Says whether this Python is new enough."""
    text = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        advice = "make the environment with Python 3.11 or newer"
        return Check(name="Python", status="problem", text=text, advice=advice)
    return Check(name="Python", status="ok", text=text)


def check_packages(constraints: Path | None = None, installed: str = PROJECT) -> Check:
    """Compares the packages that the project names with the pinned versions.

    Args:
        constraints: The file of pinned versions; None: the checkout's.
        installed: Name of the project, whose requirements are looked at.
    """
    path = constraints or Path(__file__).parents[1] / "constraints.txt"
    pinned = _pinned(path.read_text("utf-8")) if path.is_file() else {}
    missing, other = [], []
    needed = _needed(installed)
    for name in needed:
        try:
            found = version(name).partition("+")[0]  # 2.13.0+cpu is 2.13.0
        except PackageNotFoundError:
            missing.append(name)
            continue
        if pinned.get(name, found) != found:
            other.append(f"{name} {found} (pinned {pinned[name]})")
    advice = "`pip install --constraint constraints.txt --editable .`"
    if missing:
        text = f"not installed: {', '.join(missing)}"
        return Check(name="packages", status="problem", text=text, advice=advice)
    if other:
        text = f"{', '.join(other)}: other versions may give other numbers"
        return Check(name="packages", status="warning", text=text, advice=advice)
    if not pinned:
        text = "no constraints.txt beside the packages: versions were not compared"
        return Check(name="packages", status="warning", text=text, advice="use a checkout")
    return Check(name="packages", status="ok", text=f"{len(needed)} as pinned")


def _needed(project: str) -> list[str]:
    """Names of the packages that the project requires, without those of its extras."""
    names = [
        re.split(r"[\s\[<>=!~;(]", requirement)[0]
        for requirement in requires(project) or []
        if "extra ==" not in requirement
    ]
    return sorted(map(_normal, names))


def _pinned(text: str) -> Mapping[str, str]:
    pairs = [line.strip().split("==") for line in text.splitlines() if "==" in line]
    return {_normal(name): pin for name, pin in pairs if not name.startswith("#")}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_storage(out: str) -> Check:
    """Writes a small file to the run folder, reads it and removes it."""
    from trainables.errors import StorageError
    from trainables.storage.filesystem import check_writable, open_storage

    try:
        storage = open_storage(out)
        check_writable(storage)
    except (StorageError, OSError) as error:
        advice = (
            "name another folder or bucket with --out, or see that this one can be reached and "
        )
        advice += "written from here (name, network, credentials)"
        return Check(name="storage", status="problem", text=str(error), advice=advice)
    return Check(name="storage", status="ok", text=f"{storage.root} can be written")


def check_clock(out: str) -> Check:
    """Compares this machine's clock with that of the run folder's file system or bucket."""
    from trainables.errors import StorageError
    from trainables.storage.filesystem import open_storage

    try:
        storage = open_storage(out)
        if storage.is_local and not Path(storage.base).is_dir():
            storage = open_storage(tempfile.gettempdir())
        seconds_off = _seconds_off(storage)
    except (StorageError, OSError) as error:
        text = f"not known: {error}"
        advice = "try again when the run folder can be reached and written"
        return Check(name="clock", status="problem", text=text, advice=advice)
    if seconds_off is None:
        return Check(name="clock", status="ok", text=f"{storage.root} tells no time")
    return judge_clock(seconds_off)


def _seconds_off(storage: Storage) -> float | None:
    """Returns how far the clocks here and there differ, s; None where there is none there."""
    key = f".clock-test-{uuid.uuid4().hex}"
    before = time.time()
    storage.write_bytes(key, b"")
    after = time.time()
    try:
        there = storage.modified(key)
    finally:
        storage.delete(key)
    # A bucket tells whole seconds.
    return None if there is None else max(0.0, int(before) - there, there - after)


def judge_clock(seconds_off: float) -> Check:
    """Returns what a clock that is off by some seconds means."""
    text = f"{seconds_off:.0f} s off that of the run folder"
    if seconds_off < CLOCK_WARNING_S:
        return Check(name="clock", status="ok", text=text)
    return Check(
        name="clock",
        status="problem" if seconds_off >= CLOCK_PROBLEM_S else "warning",
        text=text,
        advice="set the clock (`timedatectl set-ntp true`): buckets refuse requests of another "
        "time, and `study.status` would show wrong durations",
    )


def check_disk(out: str) -> Check:
    """Looks at the free space where results, models and Ray's files go."""
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    places = {"models": cache, "temporary files": tempfile.gettempdir()}
    if is_local(out):
        places["results"] = out
    free = {name: free_gb(Path(place).expanduser()) for name, place in places.items()}
    return judge_disk(free)


def free_gb(path: Path) -> float:
    """Returns the free space where a path is or would be, in 10^9 bytes."""
    there = next(
        folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists()
    )
    return shutil.disk_usage(there).free / 1e9


def judge_disk(free: Mapping[str, float]) -> Check:
    """Returns what the free space of some places (name -> GB) means."""
    text = ", ".join(f"{gb:.0f} GB free for {name}" for name, gb in free.items())
    least = min(free.values())
    if least >= FREE_WARNING_GB:
        return Check(name="disk", status="ok", text=text)
    return Check(
        name="disk",
        status="problem" if least < FREE_PROBLEM_GB else "warning",
        text=text,
        advice="make room, or move the cache of models with HF_HOME",
    )


def check_data(data_root: Path) -> Check:
    """Says which tasks have a folder of local copies."""
    from trainables.data.tasks.registry import TASKS

    if not data_root.is_dir():
        text = f"{data_root} is no folder"
        advice = "name the folder that holds one folder a task"
        return Check(name="data", status="problem", text=text, advice=advice)
    names = {name.partition(":")[0] for name in TASKS}
    found = sorted(names & {path.name for path in data_root.iterdir()})
    if not found:
        text = f"{data_root} has a folder of none of the tasks {', '.join(sorted(names))}"
        advice = "`python -m study.data --help` says what each task reads"
        return Check(name="data", status="warning", text=text, advice=advice)
    return Check(name="data", status="ok", text=f"local copies of {', '.join(found)}")


def check_tracking() -> Check:
    """Says where W&B runs would go. The key itself is not looked at."""
    from study.tracking.wandb_runs import tracking_mode

    mode = tracking_mode()
    texts = {
        "online": "online: a key is there (whether it is valid is seen when a study starts)",
        "offline": "offline: runs are written beside the results, for `wandb sync`",
        "disabled": "disabled",
    }
    if mode not in texts:
        text = f"WANDB_MODE is {mode!r}"
        advice = f"set it to one of {', '.join(texts)}, or unset it"
        return Check(name="W&B", status="problem", text=text, advice=advice)
    return Check(name="W&B", status="ok", text=texts[mode])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.doctor",
        description="Is this machine ready for a study? Says for each thing: ok, warning or "
        "problem, and what to do.",
        epilog="exit status: 0 no problem, 1 a problem, or the output could not be written",
    )
    parser.add_argument(
        "--out",
        default="runs/",
        help="run folder of the study: a local path, s3://... or gs://... (default: runs/)",
    )
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder of local data sets")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also start a Ray, and train a step with DeepSpeed where it has to be compiled first "
        "(minutes)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
