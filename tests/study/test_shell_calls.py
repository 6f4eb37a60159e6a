"""What a shell would run of a command, and in which environment: by hand, case by case."""

from __future__ import annotations

import pytest

from study.shell_calls import docker_environment, shell_calls

PROGRAM = "python -m trainables.spot_watcher"


@pytest.mark.parametrize(
    ("command", "is_run"),
    [
        (f"if true; then {PROGRAM}; fi", True),
        (f"({PROGRAM} &)", True),
        (f"nohup {PROGRAM} #don't", True),
        (f"bash -lc 'nohup {PROGRAM} &'", True),
        (f"source ~/.bashrc && nice -n 5 {PROGRAM} > a 2>&1 &", True),
        (f"A=1 /usr/bin/env B=2 {PROGRAM}", True),
        (f"setsid \\\n  {PROGRAM}", True),
        (f"# {PROGRAM}", False),
        (f"true # {PROGRAM}", False),
        (f"echo {PROGRAM}", False),
        (f"nohup echo {PROGRAM}", False),
        (f"bash -c 'echo {PROGRAM}'", False),
        (f"echo '; {PROGRAM}'", False),
        (f"grep {PROGRAM}", False),
        (f"ls > {PROGRAM}", False),
        ("'", False),
    ],
)
def test_program_is_run_or_only_named(command: str, is_run: bool) -> None:
    calls = [call for line in shell_calls([command]) for call in line]
    assert any(call.has(*PROGRAM.split()) for call in calls) == is_run


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("export A=1; ray start", "1"),
        ("export A=1; A=2 ray start", "2"),
        ("A=2 true; ray start", None),
        ("export A=1; unset A; ray start", ""),
        ("export A=1 && bash -c 'ray start'", "1"),
        ("bash -c 'export A=1'; ray start", None),
        ("env A=1 ray start", "1"),
    ],
)
def test_variable_that_a_program_finds(command: str, value: str | None) -> None:
    calls = [call for line in shell_calls([command]) for call in line]
    found = [call.environment.get("A") for call in calls if call.has("ray", "start")]
    assert found == [value]


def test_every_command_has_a_shell_of_its_own() -> None:
    first, second = shell_calls(["export A=1; ray start", "ray start"])
    assert [call.environment for call in (*first, *second) if call.has("ray", "start")] == [
        {"A": "1"},
        {},
    ]


def test_the_last_value_counts() -> None:
    ((call,),) = shell_calls(["ray start --host=a --port 1 --host b"])
    assert (call.option("--host"), call.option("--port"), call.option("--x")) == ("b", "1", None)
    assert docker_environment(["-e A=1 --env=B=2", "-eC=3", "--env A=4", "-e D"]) == {
        "A": "4",
        "B": "2",
        "C": "3",
    }
    assert docker_environment(None) == {} and list(shell_calls(None)) == []


@pytest.mark.parametrize(
    ("command", "is_background"),
    [
        (f"{PROGRAM} &", True),
        (f"nohup {PROGRAM} > log 2>&1 < /dev/null &", True),
        (f"{PROGRAM} & echo started", True),
        (f"cd here && {PROGRAM} | tee log &", True),
        (f"({PROGRAM} &)", True),
        (f"({PROGRAM}; echo ended) &", True),
        (f"(cd here; {PROGRAM})& echo started", True),
        (f"{{ {PROGRAM}; }} &", True),
        (f"if true; then\n  {PROGRAM}\nfi &", True),
        (f"bash -c '{PROGRAM}' &", True),
        (f"bash -c '{PROGRAM} &'", True),
        (f"setsid --fork {PROGRAM}", True),
        (PROGRAM, False),
        (f"setsid {PROGRAM}", False),
        (f"{PROGRAM} > log 2>&1", False),
        (f"{PROGRAM} &> log", False),
        (f"{PROGRAM} && echo ended", False),
        (f"{PROGRAM}; echo ended &", False),
        (f"{PROGRAM} # &", False),
        (f"sleep 1 &\n{PROGRAM}", False),
        (f"(sleep 1 &); {PROGRAM}", False),
        (f"if true; then sleep 1 & fi; {PROGRAM}", False),
    ],
)
def test_program_that_the_shell_does_not_wait_for(command: str, is_background: bool) -> None:
    calls = [call for line in shell_calls([command]) for call in line]
    found = [call.is_background for call in calls if call.has(*PROGRAM.split())]
    assert found == [is_background]
