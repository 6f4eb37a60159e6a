"""A corner of `benchmarks/coverage.py`: the set holds the truth often enough, everywhere here."""

import importlib
import pathlib
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(name="coverage")
def load_coverage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.coverage")


def test_short_coverage(coverage: ModuleType) -> None:
    for index, cell in enumerate(coverage.quick_grid()):
        found = coverage.cover(
            cell, num_draws=1000, num_resamples=100, rng=np.random.default_rng([1, index])
        )
        # 0.93 is demanded of 2,000 draws; of 1,000 it may fall short by two standard errors.
        assert found.fieller >= 0.915, cell
        assert found.upper >= 0.955, cell
        if found.given_resolved is not None:
            assert found.given_resolved >= 0.88, cell
        # The published "+/-" fails where rounding hides a zero denominator.
        if cell.gap == 0.02:
            assert found.resolved < 0.15


def test_grid_is_the_one_demanded(coverage: ModuleType) -> None:
    grid = coverage.full_grid()
    assert len(grid) == len(set(grid)) == 3 * 3 * 4 * 4 * 3
    assert {cell.seed_sd for cell in grid} == {0.0, 0.005, 0.02, 0.05}
    assert {cell.item_sd for cell in grid} == {0.3, 1.0, 3.0}


def test_table_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.coverage", "--quick", "--draws", "120"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "4 grid cells x 120 draws" in done.stdout
    assert "Warning" not in done.stderr
