from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz.space_folder import Folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # a command leaves no __pycache__
    return Folder(tmp_path)
