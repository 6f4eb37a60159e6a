"""Spaces that cannot be run, through the command: one line in the space's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import measure, plan, tune
from study.cli.command import BAD_INPUT
from study.sweep import main
from trainables.storage import layout

HEAD = """
import sys
from search_spaces.studies.lab.micro import micro
from search_spaces.recipes import *
from search_spaces.space import *
from search_spaces.supervision import *

def space(**changes):
    return Space(**({name: getattr(micro(), name) for name in Space.model_fields} | changes))

"""

FAULTS = {
    # body of the function -> what the message says after the space's name
    "return space(name='n' * 300)": "Space.name: must have at most 100 characters (got 'nnn",
    "return space(name='../up')": "Space.name: must match the pattern ^[A-Za-z0-9]",
    "return space(seeds=True)": "Space.seeds: must be a number (got True)",
    "return space(seeds='5')": "Space.seeds: must be a number (got '5')",
    "return space(seeds=2.5)": "Space.seeds: must be a whole number (got 2.5)",
    "return space(seeds=10**400)": "Space.seeds: must be at most 10000 (got 1000",
    "return space(seeds=10**5000)": "Space.seeds: must be at most 10000 (got a value of type int)",
    "return space(level=10**400)": "Space.level: must be a number of at most 1.8e308 (got 1000",
    "return space(level=float('nan'))": "Space.level: must be a finite number (got nan)",
    "return space(level=True)": "Space.level: must be a number (got True)",
    "return space(footprint=Footprint(offload=1))": "Footprint.offload: must be True or False",
    "return space(split='frosen')": "Space.split: must be 'frozen' or 'paper' (got 'frosen')",
    "return space(methods=('lora',))": "Space.methods[0]: must be InContext(...) or LinearProbe"
    "(...) or LoRA(...) or QLoRA(...) or FullFineTuning(...) (got 'lora')\n",
    "return space(methods=(LoRA,))": "Space.methods[0]: must be InContext(...) or LinearProbe"
    "(...) or LoRA(...) or QLoRA(...) or FullFineTuning(...) (got the class LoRA)\n",
    "return space(methods=({'method': 'qlra'},))": "Space.methods[0]: method must be 'in-context' "
    "or 'linear probe' or 'lora' or 'qlora' or 'full fine-tuning' (got {'method': 'qlra'})\n",
    "return space(methods=LoRA())": "Space.methods: expected a tuple: a single element needs",
    "return space(methods={LoRA()})": "Space.methods: expected a tuple: a set has no order",
    "return space(methods=())": "Space.methods: must have at least 1 element (got ())\n",
    "return space(models=('micro-s',))": "Space.models[0]: must be BaseModelRef(...) (got 'micro-s"
    "')\n",
    "return space(methods=(LinearProbe(layers=('mid',)),))": "LinearProbe.layers[0]: must be "
    "'middle' or 'last', or must be a number (got 'mid')\n",
    "return space(sedes=3)": "Space.sedes: there is no such field (did you mean 'seeds'?)\n",
    "return LoRA(rank=0, alpah=1, dropout=2, epochs=True)": "LoRA.alpah: there is no such field "
    "(did you mean 'alpha'?); LoRA.epochs: must be a number (got True); LoRA.rank: must be greater "
    "than 0 (got 0); and 1 more\n",
    "return space(tasks=({'task': 'micro', 'measure': 'steps', 'test_levels': ()},))": "Space."
    "tasks[0].train_levels: is missing; Space.tasks[0].test_levels: must have at least 1 element",
    "a = {'condition': 'easy'}; return space(contrasts=({'first': a, 'second': {'condition': 'hard'"
    "}, 'test_level': 'hard', 'of': 'x'},))": "Space.contrasts[0].of: must be 'accuracy' or 'sgr'",
    "a = {'condition': 'easy'}; return space(contrasts=({'first': a, 'second': a, 'test_level': 1},"
    "))": "Space.contrasts[0].test_level: must be a text (got 1)\n",
    "return Condition(name='c', levels='easy')": "Condition.levels: expected a tuple: a single",
    "return SelfTraining(threshold=True)": "SelfTraining.threshold: must be a number (got True)\n",
    "return Level('easy', 1, 2)": "pass fields by name, as in Level(name='easy', low=1",
    "return micro().model_copy(update={'sedes': 3})": "Space.sedes: there is no such field (did",
    "r = LoRA().model_copy(update={'rank': True}); return space(methods=(r,), contrasts=())": (
        "Space.methods[0].rank: must be a number (got True)\n"
    ),
    "m = micro(); m.seeds = 3; return m": "Space.seeds: cannot be changed: make another with",
    "return None": "must return a Space, it returned None\n",
    "return micro(),": "must return a Space, it returned (Space(",
    "return Space": "must return a Space, it returned the class Space\n",
    "sys.exit(3)": "calling the function ends with sys.exit(3); drop it\n",
    "raise SystemExit('two\\nlines')": "ends with sys.exit('two\\nlines'); drop it\n",
    "raise GeneratorExit": "calling the function fails with GeneratorExit",
    "raise RuntimeError('two\\nlines ' + 9999 * '-')": "fails with RuntimeError: two lines ------",
    "return mine()": "fails with RecursionError: maximum recursion depth exceeded",
}


def refused(
    folder: Path, text: str, capsys: pytest.CaptureFixture[str], function: str = "mine"
) -> str:
    """Runs the space and returns the one line that says why it is not run."""
    file, out = folder / "own.py", folder / "runs"
    file.write_text(text)
    arguments = [f"{file}:{function}", "--out", str(out), "--address", "in-process"]
    assert main(arguments) == BAD_INPUT
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert len(printed.err) < 1000 and "pydantic" not in printed.err
    assert not out.exists()
    return printed.err


@pytest.mark.parametrize("body", FAULTS)
def test_a_space_is_refused_in_one_line_of_its_own_words(
    tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FAULTS[body] in refused(tmp_path, f"{HEAD}def mine():\n    {body}\n", capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(1)\n", "own.py' ends with sys.exit(1); drop it"),
        ("def f():\n    f()\nf()\n", "fails with RecursionError"),
        ("def mine(\n", "fails with SyntaxError"),
        (f"{HEAD}def mine(size, *more, seeds=3): ...\n", "it needs size: give each argument a de"),
        (f"{HEAD}mine = micro()\n", "'mine' is a Space; name a function that returns it"),
        (f"{HEAD}mine = 3\n", "has no function 'mine'"),
    ],
)
def test_a_file_without_a_usable_function_is_refused(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(tmp_path, text, capsys)


@pytest.mark.parametrize(
    "name", [*sorted(layout.FOLDERS), layout.LOCK, "Sweep.JSON", "CELLS", "other.measures"]
)
def test_a_space_may_not_have_a_name_of_the_run_folders_own(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{HEAD}def mine():\n    return space(name={name!r})\n"
    assert f"a space may not be named {name!r}, which the run folder" in refused(
        tmp_path, text, capsys
    )
    space, out = f"{tmp_path / 'own.py'}:mine", ["--out", str(tmp_path / "runs")]
    assert plan.main([space, *out]) == BAD_INPUT
    assert measure.main([space, *out]) == BAD_INPUT
    assert tune.main([space, "--method", "lora", *out]) == BAD_INPUT
    assert capsys.readouterr().err.count("which the run folder reserves") == 3
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_in_a_space_is_no_fault_of_the_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.py"
    file.write_text("def mine():\n    raise KeyboardInterrupt\n")
    assert main([f"{file}:mine", "--out", str(tmp_path / "runs")]) == 130
    assert "Stopped." in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
