"""`scarce`: every command under one name, with the same options, statuses and messages."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

from search_spaces.registry import find_space
from study import scarce
from study.analysis.published.model_accuracies import published_accuracies
from study.cli.command import BAD_INPUT, OK, Command
from study.scarce import COMMANDS
from trainables.data.tasks.registry import find_task

ROOT = Path(__file__).parents[2]
NAMES = [name for commands in COMMANDS.values() for name in commands]
EXAMPLES = [(name, line) for name in NAMES for line in import_module(f"study.{name}").main.examples]


def command_of(name: str) -> Command:
    main: Command = import_module(f"study.{name}").main
    return main


def test_every_module_that_can_be_run_is_a_command() -> None:
    modules = {
        path.stem
        for path in (ROOT / "study").glob("*.py")
        if "@command(" in path.read_text(encoding="utf-8")
    }
    assert modules == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_both_ways_differs_only_in_the_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scarce.main([name, "--help"]) == OK
    together = capsys.readouterr().out
    assert command_of(name)(["--help"]) == OK
    alone = capsys.readouterr().out
    assert together.startswith(f"Usage: scarce {name} ")
    unwrapped = " ".join(alone.replace(f"python -m study.{name}", f"scarce {name}").split())
    assert " ".join(together.split()) == unwrapped
    assert together.count(f"\n    scarce {name}") == 2, "two examples"


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_an_example_is_a_command_line_that_exists(name: str, line: str) -> None:
    call = command_of(name).parser("example").main(shlex.split(line), standalone_mode=False)
    for option, value in call.values.items():
        if option == "space_name":
            find_space(value)
        elif option == "task":
            find_task(value)
        elif option == "model":
            published_accuracies(value)
        elif option == "file":
            assert (ROOT / value).is_file()


def test_the_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert scarce.main([]) == OK
    assert scarce.main(["--help"]) == OK
    first, second = capsys.readouterr().out.split("Usage: ")[1:]
    assert first == second
    for group, commands in COMMANDS.items():
        assert f"\n{group}:\n" in first
        for name, summary in commands.items():
            assert any(line.split() == [name, *summary.split()] for line in first.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_a_summary_fits_its_line_and_is_a_sentence(name: str) -> None:
    summary = next(commands[name] for commands in COMMANDS.values() if name in commands)
    assert len(summary) <= 64 and summary.endswith(".") and summary[0].isupper()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["swep"], "No such command 'swep'. Did you mean 'sweep'? (see `scarce --help`)"),
        (["--xyz"], "No such option: --xyz (see `scarce --help`)"),
        (["status"], "Missing argument 'RUN' (see `scarce status --help`)"),
        (["plan", "micro", "--wide"], "No such option: --wide (see `scarce plan --help`)"),
    ],
)
def test_a_wrong_command_line_names_the_help_to_read(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scarce.main(arguments) == BAD_INPUT
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {error}\n")


def test_a_command_ends_as_it_does_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, problem = str(tmp_path / "none"), tmp_path / "cluster.yaml"
    problem.write_text("cluster_name: x\n", encoding="utf-8")
    for arguments in (["status", missing], ["cluster", str(problem)], ["models", "--json"]):
        together = scarce.main(arguments), capsys.readouterr()
        alone = command_of(arguments[0])(arguments[1:]), capsys.readouterr()
        assert together == alone


@pytest.mark.parametrize(
    ("program", "named"),
    [("/bin/scarce", "scarce sweep"), ("study/report.py", "python -m study.sweep")],
)
def test_a_message_names_commands_as_the_user_does(
    program: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "report", str(tmp_path / "none")])
    assert scarce.main() == BAD_INPUT
    assert capsys.readouterr().err.endswith(f"does not exist: run `{named}` first\n")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert scarce.main(["--version"]) == OK
    assert capsys.readouterr().out == f"scarce-labels {version('scarce-labels')}\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("scarce s", "spaces sweep status"),
        ("scarce sweep --da", "--data-root --dashboard"),
        ("scarce plan ssrm_a", "ssrm_align ssrm_arc ssrm_arc_micro"),
        ("scarce data micro", "micro micro_preferences"),
    ],
)
def test_the_shell_completes(
    words: str,
    completed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_SCARCE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit) as ended:
        scarce.main()
    assert ended.value.code == OK
    assert capsys.readouterr().out.split() == completed.split()
