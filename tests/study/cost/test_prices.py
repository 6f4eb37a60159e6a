"""The price table: its rules, and sums over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.cost.prices import Cost, NodeNeed, gpu_cost, node_cost, read_prices

OWN = """
[clouds.mine]
region = "cellar"
date = "2026-01-31"
source = "the electricity bill"
spot_share = 0.5

[instances.big]
cloud = "mine"
gpu = "A"
gpus = 4
gpu_memory_gib = 40
vcpus = 8
memory_gib = 256
on_demand = 8.0
spot = 2.0

[instances.small]
cloud = "mine"
gpu = "B"
gpus = 1
gpu_memory_gib = 16
vcpus = 4
on_demand = 3.0

[instances.head]
cloud = "mine"
gpus = 0
vcpus = 4
on_demand = 0.1
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "prices.toml"
    file.write_text(OWN)
    return file


def test_gpu_second_is_its_share_of_the_instance(own: Path) -> None:
    table = read_prices(own)
    # Half an hour on 4 GPUs is half an hour of the instance: 8 / 2 and 2 / 2 dollars.
    assert gpu_cost(table, "big", 4 * 1800) == Cost(on_demand=4.0, spot=1.0)
    assert node_cost(table, "big", 1800) == Cost(on_demand=4.0, spot=1.0)


def test_spot_price_of_its_own_beats_the_share_of_the_cloud(own: Path) -> None:
    table = read_prices(own)
    assert table.hourly("big", is_spot=True) == 2.0
    assert table.hourly("small", is_spot=True) == 1.5
    assert table.hourly("small", is_spot=False) == 3.0


def test_cheapest_type_holds_what_is_asked(own: Path) -> None:
    table = read_prices(own)
    found = {
        need: table.cheapest(NodeNeed(gpus=need[0], gpu_memory_gib=need[1]))
        for need in ((1, 10), (1, 20), (2, 10), (0, 0), (1, 80))
    }
    assert list(found.values()) == ["small", "big", "big", "head", None]


def test_only_types_that_there_are_are_taken(own: Path) -> None:
    table = read_prices(own)
    one = NodeNeed(gpus=1, gpu_memory_gib=10)
    assert table.cheapest(one, among=("big", "head")) == "big"
    assert table.cheapest(one, among=("head",)) is None


def test_offloading_takes_memory_that_the_table_knows_of(own: Path) -> None:
    table = read_prices(own)
    assert table.cheapest(NodeNeed(gpus=1, memory_gib=100)) == "big"
    assert table.cheapest(NodeNeed(gpus=1, memory_gib=300)) is None
    assert not table.find("small").holds(NodeNeed(gpus=1, memory_gib=1)), "not known, so none"


def test_costs_add() -> None:
    total = Cost(on_demand=1, spot=0.5) + Cost(on_demand=2, spot=0.25)
    assert total == Cost(on_demand=3, spot=0.75)


def test_shipped_table_is_dated_and_has_both_clouds() -> None:
    table = read_prices()
    assert set(table.clouds) == {"aws", "gcp"}
    families = {name.split(".")[0].split("-")[0] for name in table.instances}
    assert {"g5", "g6", "p4d", "p5", "a2", "a3", "g2"} <= families
    for cloud in table.clouds.values():
        assert cloud.date.year >= 2025 and "https://" in cloud.source
    for name, instance in table.instances.items():
        # The clouds give 2 to 12 GiB a vCPU.
        assert instance.memory_gib and 2 <= instance.memory_gib / instance.vcpus <= 15
        assert table.hourly(name, is_spot=True) < table.hourly(name, is_spot=False)


def test_what_the_table_does_not_know_is_refused(own: Path) -> None:
    table = read_prices(own)
    with pytest.raises(ValueError, match=r"'huge'.*big, head, small.*--prices"):
        gpu_cost(table, "huge", 1)
    with pytest.raises(ValueError, match="no GPU"):
        gpu_cost(table, "head", 1)
    with pytest.raises(ValueError, match="negative"):
        node_cost(table, "head", -1)
