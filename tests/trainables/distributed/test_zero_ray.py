"""Two Ray Train workers run every cell of a block together, with ZeRO-3."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from study.sweep import main
from tests.support.small_study import SmallStudy

pytestmark = pytest.mark.ray

TOLERANCE = 1e-4
"""Of a log-probability in fp32 (class B)."""
ROUNDING = 1e-5
"""Relative: log-probabilities of unlikely texts are sums of large float32 numbers."""


def records_of(out: Path) -> dict[str, dict]:
    return {
        path.parent.name: json.loads(path.read_text())
        for path in (out / "cells").glob("*/record.json")
    }


def test_two_workers_run_a_studys_cells_together(tmp_path: Path) -> None:
    study = SmallStudy(folder=tmp_path / "study", workers=2, epochs=5)
    space = tmp_path / "study" / "space.py"
    space.write_text(space.read_text().replace("seeds=2", "seeds=1"))
    plain, shared = tmp_path / "plain", tmp_path / "shared"
    assert main([*study.arguments, "--out", str(plain), "--address", "in-process"]) == 0
    space.write_text(space.read_text().replace("workers=2)", 'workers=2, engine="zero-3")'))
    status, said = study.run(shared)
    assert status == 0, said
    alone, together = records_of(plain), records_of(shared)
    assert set(alone) == set(together) and len(alone) == 1 + 3 * 3
    for id_, record in together.items():
        assert record["execution"]["class"] == "B"
        assert (record["execution"]["engine"], record["execution"]["workers"]) == ("zero-3", 2)
        one, two = (
            pq.read_table(out / "cells" / id_ / "scores.parquet") for out in (plain, shared)
        )
        assert one["item_id"] == two["item_id"]
        for ours, theirs in zip(
            one["log_probs"].to_pylist(), two["log_probs"].to_pylist(), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=TOLERANCE)
