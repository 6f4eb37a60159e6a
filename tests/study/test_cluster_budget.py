"""What a cluster may cost: the ceiling by hand, and machines that are none of the cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.cluster import BAD_INPUT, OK, main
from study.cluster_file import read_documents
from study.cluster_price import hourly_ceiling
from study.instance_names import name_fault
from study.prices import read_prices
from tests.study.cluster_files import AWS, GCP, changed, problems


def test_budget_is_that_of_the_dearest_workers_that_may_run() -> None:
    """By hand: 2 x g6.12xlarge on spot, 2 x g5.2xlarge on demand, 8 of 16 on spot, and the head."""
    table = read_prices()
    share = table.clouds["aws"].spot_share
    by_hand = 0.8064 + 2 * 4.6016 * share + 2 * 1.212 + 8 * 1.212 * share
    hourly, unknown = hourly_ceiling(read_documents(AWS)[0][0], table)
    assert hourly == pytest.approx(by_hand) and unknown == []


def test_cluster_above_the_budget_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(AWS), "--max-hourly-cost", "100"]) == OK
    capsys.readouterr()
    assert main([str(AWS), "--max-hourly-cost", "5"]) == BAD_INPUT
    assert "is more than --max-hourly-cost 5" in capsys.readouterr().err


def test_machine_without_a_price_is_refused_only_under_a_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(AWS.read_text().replace("g6.12xlarge", "x9.huge"))
    assert main([str(file)]) == OK
    assert "no price of 'x9.huge'" in capsys.readouterr().out
    assert main([str(file), "--max-hourly-cost", "1000"]) == BAD_INPUT


def test_a_thousand_million_workers_are_reckoned_with_not_listed(tmp_path: Path) -> None:
    text = AWS.read_text().replace("max_workers: 12", "max_workers: 1000000000")
    file = tmp_path / "cluster.yaml"
    file.write_text(text.replace("    max_workers: 8\n", "    max_workers: 900000000\n"))
    table = read_prices()
    share = table.clouds["aws"].spot_share
    hourly, _ = hourly_ceiling(read_documents(file)[0][0], table)
    # Both types of 900,000,000 together are more than are left.
    left = 10**9 - 2 - 2
    spot = 900_000_000 * 1.212 * share + (left - 900_000_000) * 0.9776 * share
    assert hourly == pytest.approx(0.8064 + 2 * 4.6016 * share + 2 * 1.212 + spot)


@pytest.mark.parametrize("cost", ["nan", "inf", "-1", "much"])
def test_ceiling_that_is_no_sum_of_money_is_refused(
    cost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(AWS), f"--max-hourly-cost={cost}"])
    assert stop.value.code == BAD_INPUT
    assert "dollars are a number, 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--max-hourly-cost", "1000"]])
def test_cloud_without_rules_is_no_cluster_to_start(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(AWS, tmp_path, "type: aws", "type: azure")
    assert main([str(file), *flags]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "only files for aws and gcp can be checked, this one is for 'azure'" in said
    assert ("--max-hourly-cost 1000 cannot be checked" in said) == bool(flags)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (AWS, "g6.2xlarge", "g2-standard-8", "is a machine of gcp, this file is for aws"),
        (AWS, "g6.2xlarge", "n1-standard-8", "the name of a machine of gcp"),
        (AWS, "g6.2xlarge", "g6.2xlargee", "did you mean g6.2xlarge?"),
        (AWS, "m7i.4xlarge", "m7i.4xlarg", "head.node_config.InstanceType: aws has no machine"),
        (GCP, "g2-standard-8", "g2-standrad-8", "did you mean g2-standard-8?"),
        (GCP, "g2-standard-8", "g5.2xlarge", "is a machine of aws, this file is for gcp"),
        (GCP, "a2-highgpu-1g", "a2-higpu-1g", "did you mean a2-highgpu-1g?"),
    ],
)
def test_machine_that_the_cloud_does_not_have_is_a_problem(
    file: Path, old: str, new: str, message: str, tmp_path: Path
) -> None:
    found = problems(changed(file, tmp_path, old, new))
    assert any(message in text for text in found), found


@pytest.mark.parametrize(
    ("cloud", "names"),
    [
        (
            "aws",
            "g6.4xlarge g6f.2xlarge g4dn.12xlarge m7a.4xlarge m7i-flex.2xlarge r7iz.metal-16xl",
        ),
        ("aws", "p5en.48xlarge inf2.xlarge trn1.32xlarge u-6tb1.112xlarge t3.micro hpc7a.96xlarge"),
        ("gcp", "g2-standard-4 n2d-highmem-96 e2-medium c3-standard-8-lssd a3-megagpu-8g f1-micro"),
        ("gcp", "a2-ultragpu-2g n2-custom-4-8192 custom-8-16384 n1-ultramem-40 g4-standard-48"),
    ],
)
def test_machine_that_only_has_no_price_is_no_typing_error(cloud: str, names: str) -> None:
    table = read_prices().instances
    known = [name for name in table if table[name].cloud == cloud]
    assert [name for name in names.split() if name_fault(name, cloud, known)] == []
    other = {"aws": "gcp", "gcp": "aws"}[cloud]
    assert all(name_fault(name, other, list(table)) for name in names.split())
