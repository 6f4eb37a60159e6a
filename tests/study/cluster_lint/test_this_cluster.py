"""Which machines a study would be paid on: those of the head's configuration, or nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from study.cli.command import BAD_INPUT, OK
from study.cli.pricing import load_pricing
from study.cluster_lint import this_cluster
from study.cluster_lint.this_cluster import is_on_cluster, machine_types
from study.measure import main as measure_main
from study.sweep import main
from study.tune import main as tune_main
from tests.study.cluster_lint.cluster_files import AWS, GCP
from tests.support.small_study import SmallStudy
from trainables.errors import ClusterError, CostError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A laptop: no head's file, no cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(this_cluster, "cluster_of_this_machine", lambda: None)
    return tmp_path


def be_head(home: Path, text: str) -> None:
    (home / "ray_bootstrap_config.yaml").write_text(text)


def test_types_of_the_shipped_clusters(home: Path) -> None:
    be_head(home, AWS.read_text())
    assert machine_types(None) == ("g6.2xlarge", "g5.2xlarge", "g6.12xlarge")
    be_head(home, GCP.read_text())
    types = machine_types(None)
    assert types and all(name.startswith(("g2-", "a2-", "a3-")) for name in types)
    assert set(types) <= load_pricing(None, None).prices.instances.keys()


def test_the_head_counts_where_blocks_may_run_on_it(home: Path) -> None:
    config = yaml.safe_load(AWS.read_text())
    del config["available_node_types"]["head"]["resources"]["CPU"]
    config["available_node_types"]["spot-l4"]["max_workers"] = 0
    be_head(home, yaml.safe_dump(config))
    assert machine_types(None) == ("g5.2xlarge", "g6.12xlarge", "m7i.4xlarge")
    config["max_workers"] = 0
    be_head(home, yaml.safe_dump(config))
    assert machine_types(None) == ("m7i.4xlarge",)


def test_types_without_a_machine_s_name_are_not_known(home: Path) -> None:
    config = yaml.safe_load(AWS.read_text())
    config["available_node_types"]["spot-l4"]["node_config"] = {}
    be_head(home, yaml.safe_dump(config))
    assert machine_types(None) is None


@pytest.mark.parametrize("address", [None, "127.0.0.1:6379", "auto", "ray://localhost:10001"])
def test_an_address_of_this_machine_is_its_cluster(home: Path, address: str | None) -> None:
    be_head(home, AWS.read_text())
    assert machine_types(address)


@pytest.mark.parametrize("by_environment", [False, True])
def test_an_address_of_another_machine_is_another_cluster(
    home: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    be_head(home, AWS.read_text())
    elsewhere = "192.0.2.7:6379"  # of a network that is for examples only
    if by_environment:
        monkeypatch.setenv("RAY_ADDRESS", elsewhere)
    assert machine_types(None if by_environment else elsewhere) is None


def test_market_of_a_head_has_its_types_only(home: Path) -> None:
    be_head(home, AWS.read_text())
    pricing = load_pricing(None, None, max_cost=1.0)
    assert pricing.types == ("g6.2xlarge", "g5.2xlarge", "g6.12xlarge") and pricing.has_gpus
    assert load_pricing(None, "p5.48xlarge", max_cost=1.0).types is None, "the user knows better"
    assert load_pricing(None, None, address="in-process", max_cost=1.0).types is None
    config = yaml.safe_load(AWS.read_text())
    config["available_node_types"] = {
        "head": config["available_node_types"]["head"],
        "cores": {"max_workers": 2, "node_config": {"InstanceType": "m7i.2xlarge"}},
    }
    be_head(home, yaml.safe_dump(config))
    assert not load_pricing(None, None).has_gpus


def test_a_budget_on_a_cluster_of_unknown_machines_needs_their_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CostError, match=r"node types of this cluster are unknown .* --instance"):
        load_pricing(None, None, address="192.0.2.7:6379", max_cost=5.0)
    load_pricing(None, None, address="192.0.2.7:6379")
    load_pricing(None, "g6.xlarge", address="192.0.2.7:6379", max_cost=5.0)
    monkeypatch.setattr(this_cluster, "cluster_of_this_machine", lambda: "10.0.0.1:6379")
    with pytest.raises(CostError, match="--instance"):
        load_pricing(None, None, max_cost=5.0)
    load_pricing(None, None, address="in-process", max_cost=5.0)


def test_a_laptop_without_a_cluster_needs_nothing(home: Path) -> None:
    assert not is_on_cluster(None)
    pricing = load_pricing(None, None, max_cost=5.0)
    assert pricing.types is None and not pricing.is_known


def test_a_budget_needs_the_price_of_every_machine_that_may_start(home: Path) -> None:
    be_head(home, AWS.read_text().replace("g6.12xlarge", "g7.12xlarge"))
    with pytest.raises(CostError, match=r"may start g7.12xlarge, .* --prices"):
        load_pricing(None, None, max_cost=5.0)
    assert load_pricing(None, None).types == ("g6.2xlarge", "g5.2xlarge", "g7.12xlarge")


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "\x00"])
def test_a_broken_file_of_the_head_is_said(home: Path, text: str) -> None:
    be_head(home, text)
    with pytest.raises(ClusterError, match="ray_bootstrap_config"):
        load_pricing(None, None)


def test_a_sweep_on_the_head_is_priced_on_its_machines_and_refused_where_none_holds_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    be_head(home, AWS.read_text())
    study = SmallStudy(folder=tmp_path / "study")
    planned = [*study.arguments, "--dry-run"]
    assert main([*planned, "--max-cost", "1"]) == OK
    assert "g6.2xlarge" in capsys.readouterr().out, "the table's cheapest is a g6.xlarge"
    of_eight = study.folder / "space.py"
    of_eight.write_text(of_eight.read_text().replace("workers=None", "workers=8"))
    assert main(planned) == BAD_INPUT
    said = capsys.readouterr()
    assert "base model micro-s: a block needs 8 x " in said.err
    assert "g6.12xlarge has 4 x 22 GiB" in said.err and "points" in said.out


def test_a_sweep_that_no_machine_holds_starts_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = SmallStudy(folder=tmp_path / "study", workers=2)
    out = tmp_path / "runs"
    named = ["--instance", "g6.xlarge", "--address", "in-process"]
    assert main([*study.arguments, "--out", str(out), *named]) == BAD_INPUT
    assert "a block needs 2 x " in capsys.readouterr().err
    assert not list(out.rglob("plan.json")) and not list(out.rglob("record.json"))


@pytest.mark.parametrize("command", [main, tune_main, measure_main])
def test_no_command_keeps_a_budget_on_machines_that_nobody_knows(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[Sequence[str]], int],
) -> None:
    study = SmallStudy(folder=tmp_path / "study")
    asked = [*study.arguments, "--out", str(tmp_path / "runs"), "--address", "192.0.2.7:6379"]
    method = ["--method", "lora"] if command is tune_main else []
    assert command([*asked, *method, "--max-cost", "5"]) == BAD_INPUT
    assert "name the type with --instance TYPE" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
