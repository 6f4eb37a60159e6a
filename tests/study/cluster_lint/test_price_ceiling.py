"""The highest price of a cluster, and the limit of `--max-hourly-cost`."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.cli.command import BAD_INPUT, OK
from study.cluster import main, read_documents
from study.cluster_lint.price_ceiling import hourly_ceiling
from study.cost.prices import read_prices
from tests.study.cluster_lint.cluster_files import AWS, changed

SPOT = read_prices().clouds["aws"].spot_share
BY_HAND = 0.8064 + 2 * 4.6016 * SPOT + 2 * 1.212 + 8 * 1.212 * SPOT
"""The head, 2 x g6.12xlarge on spot, 2 x g5.2xlarge on demand and 8 of 16 on spot."""


def test_ceiling_is_the_head_and_the_most_expensive_workers() -> None:
    hourly, unknown = hourly_ceiling(read_documents(AWS)[0], read_prices())
    assert hourly == pytest.approx(BY_HAND) and unknown == set()


def test_more_nodes_of_the_head_s_type_are_counted(tmp_path: Path) -> None:
    file = changed(AWS, tmp_path, "  head:\n", "  head:\n    max_workers: 12\n")
    hourly, _ = hourly_ceiling(read_documents(file)[0], read_prices())
    # The head's type is the fourth most expensive one: it takes the place of cheaper spot machines.
    dearer = 2 * 4.6016 * SPOT + 2 * 1.212
    assert hourly == pytest.approx(0.8064 + dearer + 8 * max(0.8064, 1.212 * SPOT))


def test_a_thousand_million_workers_are_counted_not_listed(tmp_path: Path) -> None:
    file = changed(AWS, tmp_path, "max_workers: 12", "max_workers: 1000000000")
    file = changed(file, tmp_path, "    max_workers: 8\n", "    max_workers: 900000000\n", count=-1)
    hourly, _ = hourly_ceiling(read_documents(file)[0], read_prices())
    left = 10**9 - 2 - 2  # fewer than both spot types of 900,000,000 together
    spot = 900_000_000 * 1.212 * SPOT + (left - 900_000_000) * 0.9776 * SPOT
    assert hourly == pytest.approx(0.8064 + 2 * 4.6016 * SPOT + 2 * 1.212 + spot)


def test_cluster_above_the_limit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(AWS), "--max-hourly-cost", f"{BY_HAND + 0.01}"]) == OK
    assert f"costs about ${BY_HAND:.2f} an hour" in capsys.readouterr().out
    assert main([str(AWS), "--max-hourly-cost", "5"]) == BAD_INPUT
    assert "is more than --max-hourly-cost 5" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x9.huge", "g2-standard-24"])
def test_machine_without_a_price_on_this_cloud_is_refused_only_under_a_limit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(changed(AWS, tmp_path, "g6.12xlarge", name))
    assert main([file]) == OK
    assert f"no price of '{name}'" in capsys.readouterr().out
    assert main([file, "--max-hourly-cost", "1000"]) == BAD_INPUT
    assert f"no price of '{name}'" in capsys.readouterr().err


@pytest.mark.parametrize("cost", ["nan", "inf", "-1", "much"])
def test_limit_that_is_no_sum_of_money_is_refused(
    cost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(AWS), f"--max-hourly-cost={cost}"]) == BAD_INPUT
    assert "dollars must be a number of 0 or more" in capsys.readouterr().err
