"""Small folders, `__init__` without code, one meaning per class name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_spaces", "trainables", "study")
MAX_MODULES = 15
MAX_COMMANDS = 18
"""Modules of study/ itself: the commands and what they share."""

FOLDERS = sorted(
    folder
    for package in PACKAGES
    for folder in (ROOT / package, *(ROOT / package).rglob("*"))
    if folder.is_dir() and any(folder.rglob("*.py"))
)
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_package_has_a_charter_and_no_code(folder: Path) -> None:
    tree = parsed(folder / "__init__.py")
    assert ast.get_docstring(tree), f"{name_of(folder)}/__init__.py has no docstring"
    code = [ast.unparse(node).splitlines()[0] for node in tree.body[1:]]
    assert not code, f"{name_of(folder)}/__init__.py does more than its docstring: {code}"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_charter_names_modules_that_exist(folder: Path) -> None:
    charter = ast.get_docstring(parsed(folder / "__init__.py")) or ""
    words = {word for word in charter.split("`")[1::2] if word.islower() and word.isidentifier()}
    known = {path.stem for path in folder.iterdir()} | {"pydantic"}
    functions = {
        node.name
        for path in folder.glob("*.py")
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef)
    }
    assert words <= known | functions, f"{name_of(folder)}: {sorted(words - known - functions)}"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_has_few_modules(folder: Path) -> None:
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    limit = MAX_COMMANDS if folder == ROOT / "study" else MAX_MODULES
    assert len(modules) <= limit, f"{name_of(folder)} has {len(modules)}: {sorted(modules)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_about(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


def test_a_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name_of(path))
    twice = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert not twice
