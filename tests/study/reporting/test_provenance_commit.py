"""The commit in a report is that of this code, never of another project around it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from study.reporting import provenance


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


def test_code_installed_in_another_checkout_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "--message", "Another project")
    code = tmp_path / "environment" / "provenance.py"
    code.parent.mkdir()
    code.write_text("", encoding="utf-8")
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert provenance.commit() is None
    git(tmp_path, "add", "environment")
    git(tmp_path, "commit", "--message", "This project")
    assert len(provenance.commit() or "") == 40
