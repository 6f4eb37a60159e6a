"""`python -m study.doctor`: checks whether this machine is ready for a study.

It changes nothing: it writes small files to the run folder and deletes them again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer

from study.cli import options
from study.cli.command import DISTRIBUTION, OK, command
from study.cli.console import show
from trainables.cluster.machine_checks import Check, machine_checks, run_check
from trainables.invocation import command_line
from trainables.storage.addresses import is_local

PROBLEM = 1

STYLES = {"ok": "", "warning": "yellow", "problem": "red"}
"""How each status looks on a terminal."""

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"

FREE_PROBLEM_GB, FREE_WARNING_GB = 1.0, 20.0
"""A model of 8 billion parameters takes 16 GB in bfloat16, and a study keeps a few."""

CLOCK_WARNING_S, CLOCK_PROBLEM_S = 10.0, 300.0
"""S3 refuses requests whose time is 15 minutes off; a third of it leaves time to set the clock."""


@command(
    examples={
        "": "Check this machine, and runs/ as the run folder.",
        "--out s3://bucket/runs --deep": "Check a bucket, Ray and one training step of DeepSpeed.",
    },
)
def main(
    out: options.Out = "runs/",
    data_root: options.DataRoot = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="also start Ray and train one step with DeepSpeed",
        ),
    ] = False,
    json_: options.Json = False,
) -> int:
    """Checks whether this machine is ready for a study.

    Reports ok, warning or problem for each check, and how to fix it.

    Exit status: 0 no problem, 1 a problem, or the output could not be written.
    """
    results: dict[str, Check] = {}
    for name, check in _checks(out, data_root, is_deep=deep).items():
        results[name] = run_check(check)
        if not json_:
            show(*as_lines(name, results[name]), style=STYLES[results[name].status])
    if json_:
        print(json.dumps([{"name": name, **asdict(x)} for name, x in results.items()], indent=2))
    return PROBLEM if any(result.status == "problem" for result in results.values()) else OK


def as_lines(name: str, check: Check) -> list[str]:
    """Returns the result of a check as lines for the terminal."""
    line = f"{check.status:7}  {name:9}  {check.text}"
    return [line, f"{'':9}-> {check.advice}"] if check.advice else [line]


def _checks(
    out: str, data_root: Path | None, *, is_deep: bool
) -> Mapping[str, Callable[[], Check]]:
    data = {} if data_root is None else {"data": partial(check_data, data_root)}
    return {
        "packages": check_packages,
        "storage": partial(check_storage, out),
        "disk": partial(check_disk, out),
        **data,
        "W&B": check_tracking,
        **machine_checks(is_deep=is_deep),
    }


def check_packages(constraints: Path = CONSTRAINTS) -> Check:
    """Compares the installed versions of the project's requirements with the pinned ones."""
    has_pins = constraints.is_file()
    pinned = pinned_versions(constraints.read_text("utf-8")) if has_pins else {}
    missing, different = [], []
    for name in required_packages():
        try:
            installed = version(name).partition("+")[0]  # 2.13.0+cpu is 2.13.0
        except PackageNotFoundError:
            missing.append(name)
            continue
        if installed != pinned.get(name, installed):
            different.append(f"{name} {installed} (pinned {pinned[name]})")
    advice = (
        "`pip install --constraint constraints.txt --editable .`"
        if has_pins
        else f"install {DISTRIBUTION} again, with the packages that it requires"
    )
    if missing:
        return Check("problem", f"not installed: {', '.join(missing)}", advice)
    if different:
        text = f"{', '.join(different)}: other versions may give other numbers"
        return Check("warning", text, advice)
    python = ".".join(map(str, sys.version_info[:3]))
    text = f"Python {python}, {len(required_packages())} packages"
    if not has_pins:
        return Check("ok", f"{text}; only the sources have the tested versions to compare with")
    return Check("ok", f"{text} as pinned")


def required_packages() -> list[str]:
    """Returns the names of the project's requirements, without those of its extras."""
    lines = [line for line in requires(DISTRIBUTION) or [] if "extra ==" not in line]
    return sorted(_normalized(re.split(r"[\s\[<>=!~;(]", line)[0]) for line in lines)


def pinned_versions(text: str) -> Mapping[str, str]:
    """Returns the versions in the text of a constraints file by package."""
    pairs = [line.strip().split("==") for line in text.splitlines() if re.match(r"[\w.-]+==", line)]
    return {_normalized(name): pin for name, pin in pairs}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_storage(out: str) -> Check:
    """Writes small files to the run folder and compares its clock with this machine's."""
    from trainables.errors import StorageError
    from trainables.storage.filesystem import check_writable, open_storage

    try:
        storage = open_storage(out)
        check_writable(storage)
        seconds_off = _clock_difference(out)
    except (StorageError, OSError) as error:
        advice = "check name, network and credentials, or choose another run folder with --out"
        return Check("problem", str(error), advice)
    text = f"{storage.root} is writable"
    if seconds_off < CLOCK_WARNING_S:
        return Check("ok", text)
    return Check(
        "problem" if seconds_off >= CLOCK_PROBLEM_S else "warning",
        f"{text}, but its clock differs from this machine's by {seconds_off:.0f} s",
        "set the clock (`timedatectl set-ntp true`): buckets refuse requests with a wrong time, "
        f"and `{command_line('status')}` would show wrong durations",
    )


def _clock_difference(out: str) -> float:
    """Returns how far the run folder's clock and this machine's differ, in seconds; 0 if unknown.

    Raises:
        OSError: If the run folder cannot be written.
    """
    from trainables.storage.filesystem import open_storage, removing_empty_folders

    storage, key = open_storage(out), f".clock-test-{uuid.uuid4().hex}"
    with removing_empty_folders(storage):
        before = time.time()
        storage.write_bytes(key, b"")
        after = time.time()
        try:
            written = storage.modified(key)
        finally:
            storage.delete(key)
    # Buckets give whole seconds.
    return 0.0 if written is None else max(0.0, int(before) - written, written - after)


def check_disk(out: str) -> Check:
    """Checks the free space for results, models and Ray's files."""
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    folders = {"models": cache, "temporary files": tempfile.gettempdir()}
    if is_local(out):
        folders["results"] = out
    free = {name: free_gb(Path(folder).expanduser()) for name, folder in folders.items()}
    text = ", ".join(f"{gb:.0f} GB free for {name}" for name, gb in free.items())
    least = min(free.values())
    if least >= FREE_WARNING_GB:
        return Check("ok", text)
    return Check(
        "problem" if least < FREE_PROBLEM_GB else "warning",
        text,
        "free some space, or move the model cache with HF_HOME",
    )


def free_gb(path: Path) -> float:
    """Returns the free space at a path, which need not exist yet, in 10^9 bytes."""
    folders = (path.absolute(), *path.absolute().parents)
    return shutil.disk_usage(next(folder for folder in folders if folder.exists())).free / 1e9


def check_data(data_root: Path) -> Check:
    """Lists the folders that a task may read."""
    from trainables.data.tasks.registry import TASKS

    advice = f"`{command_line('data --help')}` lists the files of each task"
    if not data_root.is_dir():
        return Check("problem", f"{data_root} is not a folder", advice)
    names = {name for task in TASKS.values() for name in re.findall(r"DIR/(\w+)", task.accepts)}
    copies = sorted(names & {path.name for path in data_root.iterdir()})
    if not copies:
        text = f"{data_root} has no folder that a task reads ({', '.join(sorted(names))})"
        return Check("warning", text, advice)
    return Check("ok", f"local copies: {', '.join(f'DIR/{name}' for name in copies)}")


def check_tracking() -> Check:
    """Reports whether W&B runs go online. The key itself is not read."""
    from study.tracking.wandb_runs import tracking_mode

    mode = tracking_mode()
    texts = {
        "online": "online: an API key is configured (it is verified when a study starts)",
        "offline": "offline: runs are written to the run folder, for `wandb sync`",
        "disabled": "disabled",
    }
    if mode not in texts:
        advice = f"set it to one of {', '.join(texts)}, or unset it"
        return Check("problem", f"WANDB_MODE is {mode!r}", advice)
    return Check("ok", texts[mode])


if __name__ == "__main__":
    sys.exit(main())
