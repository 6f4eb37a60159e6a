"""The vendored charting library is what its manifest says."""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from study.reporting.charts.vega import scripts

FOLDER = Path(str(files("study.reporting"))) / "vendor"
PARTS = tomllib.loads((FOLDER / "vendored.toml").read_text())


@pytest.mark.parametrize("name", PARTS)
def test_a_file_is_the_one_of_its_version(name: str) -> None:
    part = PARTS[name]
    content = (FOLDER / part["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == part["sha256"]
    assert f'"{part["version"]}"'.encode() in content
    assert part["licence"] == "BSD-3-Clause"


def test_nothing_else_is_vendored_and_the_page_has_every_licence() -> None:
    named = {part["file"] for part in PARTS.values()}
    licences = {file for part in PARTS.values() for file in part["licence_files"]}
    assert {path.name for path in FOLDER.iterdir()} == {*named, *licences, "vendored.toml"}
    page = scripts()
    assert len(page) < 1e6
    for licence in licences:
        assert (FOLDER / licence).read_text() in page
    assert "</script" not in page
