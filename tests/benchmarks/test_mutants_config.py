"""The configuration of `make mutants` names modules and tests that exist."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = tomllib.loads((ROOT / "benchmarks/mutants.toml").read_text())["part"]


def test_every_module_stands_in_one_part() -> None:
    modules = [module for part in PARTS for module in part["modules"]]
    assert len(set(modules)) == len(modules)
    assert [module for module in modules if not (ROOT / module).is_file()] == []


def test_every_test_exists() -> None:
    for name in {test for part in PARTS for test in part["tests"]}:
        path, _, function = name.partition("::")
        assert f"def {function}" in (ROOT / path).read_text(), name
