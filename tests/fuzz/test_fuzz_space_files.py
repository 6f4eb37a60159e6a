"""Files and names that give no space: refused, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study import plan, sweep
from tests.fuzz.harness import examples, refused, run
from tests.fuzz.space_fields import BASE
from tests.fuzz.space_folder import HEADER, Folder, text_of

commands = st.sampled_from(["sweep", "plan"])

FILES = {
    "no Python": "def own(:",
    "another function": "def other(): pass",
    "no function": "own = 5",
    "a space itself": text_of(BASE) + "\nown = own()\n",
    "an import that fails": "import nowhere",
    "an error at import": "raise RuntimeError('two\\nlines')",
    "an exit at import": "import sys; sys.exit(3)",
    "an error in the function": "def own(): return 1 / 0",
    "an exit in the function": "import sys\ndef own(): sys.exit(0)",
    "an argument": "def own(one): pass",
    "no space": "def own(): return {'name': 'own'}",
    "nothing": "",
    "a null byte": "\0",
    "a message of another kind": "def own(): raise ValueError(b'\\x1b[2J', '\\x1b]0;x\\x07')",
    "no message": "def own(): raise AssertionError",
    "endless": "def own(): return own()",
    "a space that was never checked": HEADER
    + "def own(): return Space.model_construct(name='own', seeds=5)",
    "a copy that was never checked": text_of(BASE).replace(
        "return space", "return space.model_copy(update={'seeds': 0})"
    ),
    "a copy with a field of its own": text_of(BASE).replace(
        "return space", "return space.model_copy(update={'sedes': 3})"
    ),
}


SAYS_OF_FILE = {
    "another function": "no function 'own'",
    "no function": "no function 'own'",
    "a space itself": "'own' is a Space",
    "an error at import": "RuntimeError",
    "an error in the function": "ZeroDivisionError",
    "an exit at import": "sys.exit",
    "an exit in the function": "sys.exit",
    "an argument": "default",
    "no space": "returned",
}
"""What a message says beside the file's name."""


@pytest.mark.parametrize("content", FILES)
def test_a_file_that_gives_no_space_is_refused(content: str, folder: Folder) -> None:
    refused(folder.run(FILES[content], "sweep"), "space_", SAYS_OF_FILE.get(content, ""))


def test_a_file_that_is_not_there_is_refused(folder: Folder) -> None:
    refused(run(plan.main, f"{folder.root}/none.py:own", keeps=folder.root), "no file")


@examples(20)
@given(content=st.text(max_size=40), function=st.text("abc_.: ", max_size=5), command=commands)
def check_any_file(folder: Folder, content: str, function: str, command: str) -> None:
    refused(folder.run(content, command, function), "space")


def test_any_text_is_refused(folder: Folder) -> None:
    check_any_file(folder)


@examples(20)
@given(name=st.text(max_size=20), command=commands)
def check_any_name(folder: Folder, name: str, command: str) -> None:
    main = plan.main if command == "plan" else sweep.main
    arguments = ["--out", str(folder.root / "runs"), "--", name]
    refused(run(main, *arguments, keeps=folder.root), "space")


def test_any_name_that_no_space_has_is_refused(folder: Folder) -> None:
    check_any_name(folder)
