"""What commands print: to closed pipes, full devices, narrow encodings, and of hostile data."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study import data, scarce, status, sweep
from study.cli.command import BAD_INPUT, FAILED, OK, command
from study.cli.console import Stream, show, streams
from study.formatting import Table
from tests.support.small_study import TINY_SPACE, SmallStudy

ROOT = Path(__file__).parents[2]
COMMANDS = [name for commands in scarce.COMMANDS.values() for name in commands]
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
        env=os.environ | {"PYTHONUNBUFFERED": ""} | environment,
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
    assert ended == FAILED
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
        ("\x00\x1b\x7f\x85", "utf-8", r"\x00\x1b\x7f\x85"),
        ("härd ≤", "ascii", "h?rd ?"),
        ("härd ≤", "latin-1", "härd ?"),
        ("\ud800", "utf-8", "?"),
    ],
)
def test_a_text_is_made_printable(text: str, encoding: str, shown: str) -> None:
    real = io.TextIOWrapper(io.BytesIO(), encoding, newline="")
    assert Stream(real).write(text) == len(text)
    real.flush()
    assert real.buffer.getvalue().decode(encoding) == shown  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


WIDE = Table(
    header=("model", "SGR", "why"),
    rows=[("micro-s", "0.73", "one seed: this draw only; " * 8), (HOSTILE, "-1.20", "x" * 90)],
    numbers=("SGR",),
)


def test_a_table_stays_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with streams():
        show("Points", WIDE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[2].endswith("one seed: this draw only;")
    numbers = zip(lines[1:], ("SGR", "0.73", "-1.20"), strict=True)
    assert len({line.index(text) + len(text) for line, text in numbers}) == 1


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_table_fits_the_terminal_and_its_data_cannot_style_it(
    no_color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"COLUMNS": "60", "TERM": "xterm", "NO_COLOR": no_color}.items():
        monkeypatch.setenv(name, value)
    terminal, errors = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", errors)
    with streams():
        show(WIDE)
    assert status.main(["runs/none"]) == BAD_INPUT
    printed = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert "\x1b[1m" in terminal.getvalue() and "\x1b" not in printed and "\x9b" not in printed
    assert max(map(len, printed.splitlines())) <= 60
    assert printed.count("x") >= 90 and r"\x1b]0;owned" in printed
    assert ("\x1b[31m" in errors.getvalue()) == (not no_color)


@pytest.mark.parametrize(("keeps", "ends_with"), [(None, FAILED), ("Cells", OK)])
@pytest.mark.parametrize("own", [OK, BAD_INPUT])
def test_lost_output_fails_a_command_whose_result_it_is(
    keeps: str | None, ends_with: int, own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @command(keeps=keeps, examples={})
    def main(out: str = "runs") -> int:
        """Prints."""
        print("found")
        return own

    lose("stdout", monkeypatch, "full")
    assert main([]) == (own or ends_with)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_through_the_same_streams(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its parser is the first thing that prints."""
    main: Callable[[list[str]], int] = importlib.import_module(f"study.{name}").main
    assert main([f"--{HOSTILE}", "x"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "\x1b" not in error
    assert main(["--help"]) == OK
    assert "Exit status: 0 " in capsys.readouterr().out
    lose("stdout", monkeypatch, "pipe")
    assert main(["--help"]) == OK


def test_a_python_without_docstrings_is_refused() -> None:
    """The model classes of transformers are made from docstrings."""
    code, _, said = run("sweep", ["x"], PYTHONOPTIMIZE="2")
    assert code == BAD_INPUT
    assert len(said.splitlines()) == 1 and b"PYTHONOPTIMIZE=2" in said
