"""The size that a Ray cluster may grow to, and the blocks that it can then hold.

With autoscaling from 0, a cluster that can hold a study may have no worker yet and looks like one
that never can. Ray does not expose its autoscaler's configuration, so this module reads it from
three places: the cluster's state, the file that `ray up` leaves on the head, and Kubernetes for a
KubeRay cluster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.base_models import EngineName, Footprint, workers_on
from search_spaces.explain import count
from trainables.errors import ClusterError

BOOTSTRAP_FILE = "~/ray_bootstrap_config.yaml"
"""Where `ray up` puts the cluster's configuration on the head."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder of a pod's credentials for the Kubernetes API."""

HEAD_RESOURCE = "node:__internal_head__"
"""A resource that Ray gives to every head node, and to no other node."""

UNLIMITED = sys.maxsize

IN_PROCESS = "in-process"
"""The `--address` that runs cells in the command's own process, without Ray."""

HEAD_BYTES_PER_BLOCK = 1.2e9
"""Memory of the head that a running block takes: a trial's actor (390 MB), its Train controller
(380 MB) and two helper actors (200 MB each), as measured with Ray 2.60."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """The size of one block of a footprint, and how many of them the cluster can run at once."""

    slots: int
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    engine: EngineName = "plain"
    offload: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeKind:
    """Nodes of one type."""

    name: str
    resources: Mapping[str, float]
    count: int
    """How many the cluster may have at once."""

    def holds(self, *, cpus: int, gpus: float) -> int:
        """Returns how many workers of this size fit on one node."""
        by_cpu = int(self.resources.get("CPU", 0) // cpus)
        return min(by_cpu, workers_on(self.resources.get("GPU", 0), gpus)) if gpus else by_cpu

    @property
    def text(self) -> str:
        """The node type as a message names it."""
        has = " + ".join(count(self.resources.get(f"{unit}PU", 0), f"{unit}PU") for unit in "CG")
        return f"{self.name} ({has})" if self.name else has


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterLimits:
    """The nodes that a cluster may have."""

    kinds: tuple[NodeKind, ...]
    most_workers: int = UNLIMITED
    """How many nodes of all types the cluster may have at once, without the head."""
    is_autoscaled: bool = False
    """If not, the kinds are the living nodes."""

    def nodes_that_hold(self, workers: int, *, cpus: int, gpus: float) -> int:
        """Returns how many nodes the cluster may have at once that each hold these workers."""
        able = [kind for kind in self.kinds if kind.holds(cpus=cpus, gpus=gpus) >= workers]
        heads = sum(kind.count for kind in able if HEAD_RESOURCE in kind.resources)
        return heads + min(sum(kind.count for kind in able) - heads, self.most_workers)


def growth(nodes: list[Mapping[str, Any]]) -> ClusterLimits:
    """Returns the nodes that the connected cluster may have.

    Args:
        nodes: Its living nodes, as `ray.nodes()` gives them.
    """
    limits = _of_state() or _of_bootstrap_file(nodes) or _of_kubernetes()
    living = tuple(NodeKind(name="", resources=node["Resources"], count=1) for node in nodes)
    if limits is None:
        return ClusterLimits(kinds=living)
    heads = tuple(kind for kind in living if HEAD_RESOURCE in kind.resources)
    return ClusterLimits(
        kinds=(*heads, *limits.kinds), most_workers=limits.most_workers, is_autoscaled=True
    )


def growth_of_config(config: Mapping[str, Any]) -> ClusterLimits:
    """Returns the worker types of a `ray up` configuration.

    A type without its own maximum has that of the cluster.
    """
    most = int(config.get("max_workers", 0))
    kinds = tuple(
        NodeKind(
            name=str(name),
            resources={key: float(value) for key, value in content.get("resources", {}).items()},
            count=min(int(content.get("max_workers", most)), most),
        )
        for name, content in config.get("available_node_types", {}).items()
        if name != config.get("head_node_type")
    )
    return ClusterLimits(kinds=kinds, most_workers=most, is_autoscaled=True)


def _of_state() -> ClusterLimits | None:
    """Returns the limits that the cluster's state holds, where a Ray platform has set them."""
    from ray._private.state import state

    config = state.get_cluster_config()
    if config is None or not config.node_group_configs:
        return None
    kinds = tuple(
        NodeKind(
            name=group.name,
            resources={key: float(value) for key, value in group.resources.items()},
            count=UNLIMITED if group.max_count < 0 else group.max_count,
        )
        for group in config.node_group_configs
    )
    return ClusterLimits(kinds=kinds, is_autoscaled=True)


def _of_bootstrap_file(nodes: list[Mapping[str, Any]]) -> ClusterLimits | None:
    """Returns the limits in the file of `ray up`, if this machine is the head of the cluster."""
    config = configuration_of_head()
    if config is None:
        return None
    from ray.util import get_node_ip_address

    heads = [node["NodeManagerAddress"] for node in nodes if HEAD_RESOURCE in node["Resources"]]
    return growth_of_config(config) if get_node_ip_address() in heads else None


def configuration_of_head() -> Mapping[str, Any] | None:
    """Returns the configuration that `ray up` left on this machine; None if there is none.

    Raises:
        ClusterError: If the file cannot be read.
    """
    path = Path(BOOTSTRAP_FILE).expanduser()
    if not path.is_file():
        return None
    import yaml

    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClusterError(
            f"{BOOTSTRAP_FILE}, the configuration of this cluster, cannot be read: {error}"
        ) from error
    if not isinstance(config, dict):
        raise ClusterError(f"{BOOTSTRAP_FILE} is not a configuration of `ray up`")
    return config


def _of_kubernetes() -> ClusterLimits | None:
    """Returns the limits of this pod's KubeRay cluster, if the pod may read them."""
    name = os.environ.get("RAY_CLUSTER_NAME")
    namespace = SERVICE_ACCOUNT / "namespace"
    if not name or not namespace.is_file():
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    try:
        config = AutoscalingConfigProducer(name, namespace.read_text().strip())()
    except (OSError, ValueError, KeyError):  # no permission, or a cluster without an autoscaler
        return None
    return growth_of_config(config)


def describe(kinds: tuple[NodeKind, ...]) -> Iterator[str]:
    """Yields each distinct kind with its number of nodes."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind.text] = counts.get(kind.text, 0) + kind.count
    for text, number in counts.items():
        many = "any number of" if number >= UNLIMITED else number
        yield text if number == 1 else f"{many} {text}"


def fit_worker_group(cluster: ClusterLimits, footprint: Footprint) -> Capacity:
    """Returns how a cluster can hold worker groups, whatever the memory of its head.

    Raises:
        ClusterError: If no node, existing or possible, can hold a block's workers.
    """
    kinds = [kind for kind in cluster.kinds if kind.count > 0]
    workers, cpus, gpus = footprint.workers, footprint.cpus_per_worker, footprint.gpus_per_worker
    if gpus is None:
        gpus = 1 if any(kind.resources.get("GPU", 0) >= 1 for kind in kinds) else 0
    sizes_of_kinds = {kind.holds(cpus=cpus, gpus=gpus) for kind in kinds}
    # As many workers in as few blocks as possible: a block loads every base once.
    sizes = [workers] if workers else sorted(sizes_of_kinds - {0}, reverse=True)
    fits = [(cluster.nodes_that_hold(size, cpus=cpus, gpus=gpus), size) for size in sizes]
    slots, size = max(fits, key=lambda fit: fit[0] * fit[1], default=(0, 0))
    if not slots:
        whose = "node types (it grows by itself)" if cluster.is_autoscaled else "nodes"
        raise ClusterError(
            f"no node of the cluster can hold {count(workers or 1, 'worker')} with "
            f"{count(cpus, 'CPU')} and {count(gpus, 'GPU')} each; its {whose} are "
            + (", ".join(describe(cluster.kinds)) or "none")
        )
    return Capacity(
        slots=slots,
        workers=size,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        engine=footprint.engine,
        offload=footprint.offload,
    )


def max_blocks_on_head(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Returns how many blocks fit into the head's memory at once, at least one."""
    memory = [
        node["Resources"]["memory"]
        for node in nodes
        if HEAD_RESOURCE in node["Resources"] and "memory" in node["Resources"]
    ]
    return max(1, int(max(memory) // HEAD_BYTES_PER_BLOCK)) if memory else UNLIMITED
