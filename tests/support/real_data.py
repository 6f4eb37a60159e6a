"""Real data sets and models, which are not in the repository: where they are, and the skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(
    os.environ.get("SCARCE_LABELS_DATA")
    or Path(__file__).resolve().parents[2].parent / "shared" / "data"
)


def needs(task: str) -> pytest.MarkDecorator:
    """Skips a test where the data of a task is not at hand; `pytest -ra` prints the reason."""
    folder = ROOT / task
    return pytest.mark.skipif(
        not folder.is_dir(),
        reason=f"no real data at {folder}; SCARCE_LABELS_DATA names another folder",
    )


MODEL = os.environ.get("SCARCE_LABELS_MODEL", "")
"""Folder of a real model."""

needs_model = pytest.mark.skipif(
    not MODEL, reason="SCARCE_LABELS_MODEL names no folder of a real model"
)
"""Skips a test where no real model is at hand."""
