"""The arguments of every command: which there are, and how a wrong one is refused."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli.command import BAD_INPUT, OK

PRICING = ("--prices", "--instance")
RUNNING = ("--out", "--data-root", "--skip-bad-rows", "--address", "--max-cost", *PRICING)

FLAGS = {
    "sweep": {"--dry-run", "--table", "--dashboard", *RUNNING},
    "measure": {"--dry-run", *RUNNING},
    "tune": {"--method", "--trials", "--validation", "--seed", "--dashboard", *RUNNING},
    "plan": {"--out", "--target-width", "--pilot", "--data-root", "--skip-bad-rows", *PRICING},
    "status": {"--json", *PRICING},
    "report": {
        *("--x", "--y", "--value", "--fix", "--figures", "--legacy-bootstrap", "--against"),
        *("--wandb", "--wandb-report", "--from", "--table", "--compare"),
    },
    "data": {"--space", "--data-root", "--skip-bad-rows", "--out", "--n-train", "--json", "--html"},
    "doctor": {"--out", "--data-root", "--deep", "--json"},
    "cluster": {"--max-hourly-cost", "--prices"},
}


def main_of(name: str) -> Callable[[list[str]], int]:
    main: Callable[[list[str]], int] = importlib.import_module(f"study.{name}").main
    return main


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_few_and_frozen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A new flag needs a reason: what changes a number belongs in the space."""
    assert main_of(name)(["-h"]) == OK
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: python -m study.{name} ") and "Exit status: 0 " in text
    assert set(re.findall(r"^  (?:-h, )?(--[\w-]+)", text, re.MULTILINE)) == {
        "--help",
        *FLAGS[name],
    }


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sweep", ["--max-cost", "nan"], "dollars must be a number of 0 or more, got 'nan'"),
        ("sweep", ["--max-cost"], "--max-cost"),
        ("sweep", ["micro", "small"], "small"),
        ("sweep", ["--retries", "3"], "--retries"),
        ("sweep", ["micro", "--dashboard", "--address", "in-process"], "--dashboard shows Ray"),
        ("tune", ["micro"], "--method"),
        ("tune", ["micro", "--method", "zero-shot"], "not one of full-fine-tuning, in-context"),
        ("tune", ["micro", "--method", "lora", "--trials", "0"], "--trials"),
        ("plan", ["micro", "--target-width", "wide"], "--target-width"),
        ("data", ["micro", "--n-train", "many"], "--n-train"),
        ("status", [], "RUN"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    name: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main_of(name)(arguments) == BAD_INPUT
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("error: ")
    assert message in output.err and output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
