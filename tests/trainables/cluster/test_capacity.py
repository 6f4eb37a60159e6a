"""What a cluster may grow to, and which blocks it can hold then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.base_models import Footprint
from trainables.cluster import capacity as room
from trainables.cluster.capacity import (
    HEAD_BYTES_PER_BLOCK,
    HEAD_RESOURCE,
    ClusterLimits,
    NodeKind,
    fit_worker_group,
    growth,
    growth_of_config,
    max_blocks_on_head,
)
from trainables.cluster.ray_executor import RayExecutor
from trainables.errors import ClusterError
from trainables.storage.filesystem import open_storage

HEAD: Mapping[str, Any] = {
    "Resources": {HEAD_RESOURCE: 1.0, "driver": 4.0, "memory": 3.5 * HEAD_BYTES_PER_BLOCK},
    "NodeManagerAddress": "10.0.0.1",
    "Alive": True,
}
AWS = Path(__file__).parents[3] / "cluster.yaml"


def one(**wanted: Any) -> Footprint:
    return Footprint.model_validate(wanted)


@pytest.mark.parametrize(
    ("gpus", "fraction", "workers"),
    [(1, 0.5, 2), (1, 0.3, 3), (1, 0.1, 10), (1, 0.9, 1), (4, 0.4, 8), (4, 2, 2), (0, 0.5, 0)],
)
def test_workers_that_share_gpus_are_counted_gpu_by_gpu(
    gpus: int, fraction: float, workers: int
) -> None:
    node = NodeKind(name="", resources={"CPU": 16, "GPU": gpus}, count=1)
    assert node.holds(cpus=1, gpus=fraction) == workers
    assert node.holds(cpus=8, gpus=fraction) == min(workers, 2), "CPUs are not shared"


def test_a_block_of_a_fraction_fills_the_gpus_of_a_node(aws: ClusterLimits) -> None:
    """By hand: two workers on each of the four GPUs of the largest type, of which there are 2."""
    fits = fit_worker_group(aws, one(workers=8, gpus_per_worker=0.5))
    assert (fits.slots, fits.workers, fits.gpus_per_worker) == (2, 8, 0.5)
    with pytest.raises(ClusterError, match=r"9 workers with 1 CPU and 0\.5 GPUs each"):
        fit_worker_group(aws, one(workers=9, gpus_per_worker=0.5))


@pytest.fixture
def aws() -> ClusterLimits:
    return growth_of_config(yaml.safe_load(AWS.read_text()))


def test_shipped_cluster_without_a_worker_holds_what_its_types_hold(aws: ClusterLimits) -> None:
    """By hand: 20 nodes with a GPU in four types, of which 12 may be there at once."""
    fits = fit_worker_group(aws, one())
    assert (fits.slots, fits.workers, fits.gpus_per_worker) == (12, 1, 1)
    of_four = fit_worker_group(aws, one(workers=4))
    assert (of_four.slots, of_four.workers) == (2, 4)


def test_what_no_type_holds_is_an_error_that_names_the_types(aws: ClusterLimits) -> None:
    with pytest.raises(ClusterError) as refused:
        fit_worker_group(aws, one(workers=8))
    said = str(refused.value)
    assert "8 workers with 1 CPU and 1 GPU each" in said and "it grows by itself" in said
    assert "8 spot-l4 (8 CPUs + 1 GPU)" in said and "2 spot-l4-x4 (48 CPUs + 4 GPUs)" in said
    with pytest.raises(ClusterError, match="no node"):
        fit_worker_group(ClusterLimits(kinds=()), one())


def test_few_large_nodes_are_taken_where_they_hold_more_workers() -> None:
    large = NodeKind(name="large", resources={"CPU": 64}, count=1)
    small = NodeKind(name="small", resources={"CPU": 2}, count=3)
    assert fit_worker_group(ClusterLimits(kinds=(large, small)), one()).workers == 64
    many = NodeKind(name="small", resources={"CPU": 2}, count=40)
    fits = fit_worker_group(ClusterLimits(kinds=(large, many)), one())
    assert (fits.workers, fits.slots) == (2, 41)


def test_ceiling_of_the_cluster_is_for_workers_and_not_for_the_head() -> None:
    head = NodeKind(name="", resources={"CPU": 4, HEAD_RESOURCE: 1}, count=1)
    worker = NodeKind(name="w", resources={"CPU": 4}, count=9)
    assert (
        fit_worker_group(ClusterLimits(kinds=(head, worker), most_workers=2), one(workers=4)).slots
        == 3
    )


def test_living_nodes_count_where_nothing_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_of_state", lambda: None)
    monkeypatch.setattr(room, "_of_bootstrap_file", lambda nodes: None)
    node = {"Resources": {"CPU": 2.0}, "Alive": True}
    limits = growth([HEAD, node, node])
    assert not limits.is_autoscaled and fit_worker_group(limits, one()).slots == 2
    with pytest.raises(ClusterError, match=r"its nodes are 0 CPUs.*2 2 CPUs"):
        fit_worker_group(limits, one(workers=3))


def test_file_of_ray_up_is_read_on_its_own_head_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_of_state", lambda: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ray_bootstrap_config.yaml").write_text(AWS.read_text())
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.1")
    limits = growth([HEAD])
    assert limits.is_autoscaled and limits.most_workers == 12
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.2")
    assert not growth([HEAD]).is_autoscaled


def test_kubernetes_is_asked_by_a_pod_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_of_state", lambda: None)
    monkeypatch.setattr(room, "_of_bootstrap_file", lambda nodes: None)
    monkeypatch.setattr(room, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "namespace").write_text("default\n")
    monkeypatch.setenv("RAY_CLUSTER_NAME", "study")
    asked = []

    class Producer:
        def __init__(self, name: str, namespace: str) -> None:
            asked.append((name, namespace))

        def __call__(self) -> Mapping[str, Any]:
            types = {"gpu": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 5}}
            return {"max_workers": 5, "head_node_type": "head", "available_node_types": types}

    place = "ray.autoscaler._private.kuberay.autoscaling_config.AutoscalingConfigProducer"
    monkeypatch.setattr(place, Producer)
    assert fit_worker_group(growth([HEAD]), one()).slots == 5
    assert asked == [("study", "default")]

    def refuse(name: str, namespace: str) -> None:
        raise OSError("403")

    monkeypatch.setattr(place, refuse)
    assert not growth([HEAD]).is_autoscaled


def test_blocks_are_as_many_as_the_head_s_memory_holds() -> None:
    assert max_blocks_on_head([HEAD]) == 3
    small = {"Resources": {HEAD_RESOURCE: 1.0, "memory": 1.0}}
    assert max_blocks_on_head([small]) == 1, "one runs whatever the memory is"
    assert max_blocks_on_head([{"Resources": {"CPU": 1.0}}]) > 1e6


@pytest.mark.ray
def test_cluster_s_own_state_is_asked_first(local_ray: None, tmp_path: Path) -> None:
    """Infeasible at once, on a living Ray whose state says what it may grow to."""
    from ray import _raylet as names
    from ray.core.generated import autoscaler_pb2
    from ray.experimental.internal_kv import _internal_kv_put

    fit = RayExecutor(open_storage(str(tmp_path)), "ray").fit
    assert fit(one(workers=1, gpus_per_worker=0)).slots == 1
    with pytest.raises(ClusterError, match="1 GPU each; its nodes"):
        fit(one(workers=1, gpus_per_worker=1))
    config = autoscaler_pb2.ClusterConfig()
    group = config.node_group_configs.add(name="gpus", max_count=-1)
    group.resources.update({"CPU": 8, "GPU": 2})
    _internal_kv_put(
        names.GCS_AUTOSCALER_CLUSTER_CONFIG_KEY,  # type: ignore[attr-defined]
        config.SerializeToString(),
        namespace=names.GCS_AUTOSCALER_STATE_NAMESPACE.encode(),  # type: ignore[attr-defined]
    )
    fits = fit(one(workers=2, gpus_per_worker=1))
    assert fits.workers == 2 and fits.slots >= 1
    with pytest.raises(ClusterError, match="any number of gpus"):
        fit(one(workers=3, gpus_per_worker=1))


@pytest.fixture
def local_ray() -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
