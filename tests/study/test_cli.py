"""How the commands that run cells end where the run folder fails them: one line, and a status."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest

from study import measure, sweep, tune
from study.cli.command import BAD_INPUT, FAILED, OK, command
from tests.support.tuning_study import TuningStudy
from trainables.errors import ClusterError, CostError, LockLostError, RunFolderInUseError
from trainables.storage.filesystem import Storage

TWIN = ("--address", "in-process")

Main = Callable[[Sequence[str]], int]

MEASURED = """
from search_spaces.hardness import ModelHardness
from search_spaces.recipes import LinearProbe
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

HALVES = (Level(name="easy", low=0.0, high=0.5), Level(name="hard", low=0.5, high=1.0))

def cut() -> Space:
    return Space(
        name="cut",
        models=(BaseModelRef(name={model!r}),),
        tasks=(
            TaskAxis(
                task="jsonl:sums", measure="mdl:prequential", train_levels=HALVES,
                test_levels=HALVES[1:], scale="quantiles", bounds="quantiles",
            ),
        ),
        methods=(LinearProbe(n_train=4),),
        seeds=2,
        hardness=(ModelHardness(method=LinearProbe(), sizes=(3,), seeds=2),),
    )
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TuningStudy:
    folder = tmp_path_factory.mktemp("study")
    study = TuningStudy(folder=folder)
    (folder / "measured.py").write_text(MEASURED.format(model=str(folder / "tiny")))
    return study


def disk_full_for(part: str, patch: pytest.MonkeyPatch) -> None:
    """No file whose path holds this part is written any more."""
    real = Storage._put

    def put(self: Storage, path: str, content: bytes) -> None:
        if part in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, path, content)

    patch.setattr(Storage, "_put", put)


def command_of(study: TuningStudy, name: str) -> tuple[Main, list[str]]:
    """Returns a command's main and its arguments."""
    common = ["--data-root", str(study.data_root), *TWIN, "--out", str(study.folder / name)]
    if name == "tune":
        few = ("--validation", "24", *TWIN)
        return tune.main, study.arguments(name, "full-fine-tuning", 1, *few)
    if name == "measure":
        return measure.main, [f"{study.folder}/measured.py:cut", *common]
    return sweep.main, [study.space, *common]


@pytest.mark.parametrize(("name", "written"), [("tune", "/small/tune/"), ("measure", "/measures/")])
def test_a_full_disk_is_said_in_two_lines_and_the_same_command_goes_on(
    name: str,
    written: str,
    study: TuningStudy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk is full for what is written once cells have ended."""
    main, arguments = command_of(study, name)
    with monkeypatch.context() as patch:
        disk_full_for(written, patch)
        assert main(arguments) == FAILED
    said = capsys.readouterr().err
    assert "cannot be read or written" in said and "No space left on device" in said
    assert said.splitlines()[-1].endswith("are kept: the same command continues from here.")
    assert "Traceback" not in said
    assert main(arguments) == OK


@pytest.mark.parametrize("module", [tune, measure, sweep])
def test_a_run_folder_that_fails_before_anything_starts_is_bad_input(
    module: ModuleType,
    study: TuningStudy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(storage: Storage) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(module, "check_writable", fail)
    main, arguments = command_of(study, module.__name__.removeprefix("study."))
    assert main(arguments) == BAD_INPUT
    assert "error: no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OSError("gone"), FAILED, "error: s3://b-1/r cannot be read or written: gone"),
        (LockLostError("taken over"), FAILED, "error: taken over"),
        (RunFolderInUseError("in use"), BAD_INPUT, "error: in use"),
        (ClusterError("no node"), BAD_INPUT, "error: no node"),
        (CostError("too much"), BAD_INPUT, "error: too much"),
        (KeyboardInterrupt(), 130, "Stopped. Trials are kept"),
    ],
)
def test_each_way_to_end_has_its_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command(keeps="Trials", examples={})
    def main(out: str = "s3://b-1/r") -> int:
        """Fails."""
        raise error

    assert main([]) == status
    found = capsys.readouterr()
    assert said in found.err + found.out


def test_an_error_of_the_program_is_not_hidden() -> None:
    @command(keeps="Trials", examples={})
    def main(out: str = "runs") -> int:
        """Fails."""
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        main([])
