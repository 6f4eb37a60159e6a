"""What commands print: to closed pipes, full devices, narrow encodings, and of hostile data."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study import data, status, sweep
from study.console import OUTPUT_LOST, command, printable
from study.running.executor import BAD_INPUT, OK
from tests.support.small_study import TINY_SPACE, SmallStudy

ROOT = Path(__file__).parents[2]
COMMANDS = ("sweep", "measure", "tune", "plan", "status", "report", "data", "doctor", "cluster")
HOSTILE = "\x1b]0;owned\x07\x9b31m\rred"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    study = SmallStudy(folder=tmp_path_factory.mktemp("study"))
    (study.folder / "tiny.py").write_text(TINY_SPACE.replace('"hard"', '"härd ≤"'), "utf-8")
    return study


def sweep_arguments(study: SmallStudy, out: Path) -> list[str]:
    space = f"{study.folder / 'tiny.py'}:tiny"
    data_root = str(study.folder / "data")
    return [space, "--data-root", data_root, "--out", str(out), "--address", "in-process"]


def run(
    module: str, arguments: list[str], stdout: int | io.IOBase = subprocess.PIPE, **environment: str
) -> tuple[int, bytes, bytes]:
    ended = subprocess.run(
        [sys.executable, "-m", f"study.{module}", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"WANDB_MODE": "disabled", "PYTHONUNBUFFERED": ""} | environment,
        cwd=ROOT,
        timeout=240,
    )
    return ended.returncode, ended.stdout or b"", ended.stderr


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Yields the writing end of a pipe that has lost its reader."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


def lose(name: str, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    """Makes a standard stream one whose every write fails."""
    if to == "full":
        stream = open("/dev/full", "w")  # noqa: SIM115
    else:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, name, stream)


def test_a_sweep_whose_output_is_lost_ends_as_if_it_were_read(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    lose("stdout", monkeypatch, "pipe")
    lose("stderr", monkeypatch, "full")
    assert sweep.main(sweep_arguments(study, tmp_path / "runs")) == OK
    assert len(list((tmp_path / "runs" / "cells").glob("*/record.json"))) == 5
    assert (tmp_path / "runs" / "tiny" / "report" / "index.html").is_file()


def test_a_closed_pipe_leaves_no_trace_when_the_interpreter_ends(study: SmallStudy) -> None:
    with closed_pipe() as pipe:
        ended = run("data", ["jsonl:sums", "--data-root", str(study.folder / "data")], pipe)
    assert ended == (0, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_device_is_said_in_one_line(study: SmallStudy) -> None:
    with open("/dev/full", "wb") as full:
        arguments = ["jsonl:sums", "--data-root", str(study.folder / "data")]
        ended, _, said = run("data", arguments, full)
    assert ended == OUTPUT_LOST
    assert said.decode() == (
        "error: the output could not be written: [Errno 28] No space left on device\n"
    )


def test_a_descriptor_that_was_closed_is_no_output(study: SmallStudy) -> None:
    code = "import sys; from study.data import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["jsonl:sums", "--data-root", str(study.folder / "data")]
    command_ = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *command_], cwd=ROOT, timeout=60)
    assert ended.returncode == OK


def test_what_the_locale_has_no_code_for_is_replaced(study: SmallStudy, tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    ended, said, errors = run("sweep", sweep_arguments(study, tmp_path / "runs"), **locale)
    assert (ended, errors) == (OK, b"")
    assert b"h?rd ?" in said
    page = (tmp_path / "runs" / "tiny" / "report" / "index.html").read_bytes()
    assert "härd ≤".encode() in page


def test_no_control_character_of_data_reaches_the_terminal(
    study: SmallStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "jsonl"
    folder.mkdir()
    rows = [json.loads(line) for line in study.data_file.read_text().splitlines()]
    rows = [row | {"question": f"{row['question']} {HOSTILE}"} for row in rows]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert data.main(["jsonl:sums", "--data-root", str(tmp_path)]) == OK
    said = capsys.readouterr().out
    assert r"\x1b]0;owned\x07\x9b31m" in said
    assert not any(character in said for character in "\x1b\x07\x9b\r")
    assert status.main([f"{tmp_path}/{HOSTILE}"]) == BAD_INPUT
    assert not any(character in capsys.readouterr().err for character in "\x1b\x07\x9b\r")


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("a\tb\n", "utf-8", "a\tb\n"),
        ("\r0:01  1/5 cells", "utf-8", "\r0:01  1/5 cells"),
        ("name\rerror: forged", "utf-8", r"name\x0derror: forged"),
        ("\n\x1b[A", "utf-8", "\n\x1b[A"),
        ("\x1b[A forged", "utf-8", r"\x1b[A forged"),
        ("\x00\x1b\x7f\x85", None, r"\x00\x1b\x7f\x85"),
        ("härd ≤", "ascii", "h?rd ?"),
        ("härd ≤", "latin-1", "härd ?"),
        ("\ud800", "utf-8", "?"),
    ],
)
def test_a_text_is_made_printable(text: str, encoding: str | None, shown: str) -> None:
    assert printable(text, encoding) == shown


@pytest.mark.parametrize(("needs_output", "ends_with"), [(True, OUTPUT_LOST), (False, OK)])
@pytest.mark.parametrize("own", [OK, BAD_INPUT])
def test_lost_output_fails_what_is_there_to_be_read(
    needs_output: bool, ends_with: int, own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @command(needs_output=needs_output)
    def main() -> int:
        print("found")
        return own

    lose("stdout", monkeypatch, "full")
    assert main() == (own or ends_with)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_through_the_same_streams(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its parser is the first thing that prints."""
    main: Callable[[list[str]], int] = importlib.import_module(f"study.{name}").main
    with pytest.raises(SystemExit) as ended:
        main([f"--{HOSTILE}", "x"])
    assert ended.value.code == BAD_INPUT
    said = capsys.readouterr().err
    assert "error:" in said and "\x1b" not in said
    lose("stdout", monkeypatch, "pipe")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == OK


def test_a_python_without_docstrings_is_refused() -> None:
    """The model classes of transformers are made from docstrings."""
    code, _, said = run("sweep", ["x"], PYTHONOPTIMIZE="2")
    assert code == BAD_INPUT
    assert len(said.splitlines()) == 1 and b"PYTHONOPTIMIZE=2" in said
