"""What a Ray cluster may grow to, and which blocks it can hold then.

With autoscaling from 0 a cluster that can hold a study may have no worker yet, and one that never
can looks the same. Ray keeps what its autoscaler was configured with to itself unless a host of Ray
tells it, so three places are asked: the cluster's own state, the file that `ray up` leaves on the
head, and Kubernetes for a cluster of KubeRay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.base_models import workers_on
from trainables.errors import ClusterError

BOOTSTRAP_FILE = "~/ray_bootstrap_config.yaml"
"""Where `ray up` puts the cluster's configuration on the head."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts what a pod may ask it with."""

HEAD_RESOURCE = "node:__internal_head__"
"""A resource that every head of Ray has, and nothing else."""

UNLIMITED = sys.maxsize

IN_PROCESS = "in-process"
"""The `--address` of no cluster: cells are run in the command's own process, without Ray."""

HEAD_BYTES_PER_BLOCK = 1.2e9
"""Of the head's memory while a block runs: a trial's actor (390 MB), its Train controller (380 MB)
and two helper actors (200 MB each), as measured with Ray 2.60."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What one block may take of the cluster, and how many of them fit beside each other."""

    slots: int
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeKind:
    """Nodes that are alike."""

    name: str
    resources: Mapping[str, float]
    count: int
    """There may be so many of them at once."""

    def holds(self, *, cpus: int, gpus: float) -> int:
        """Returns how many workers of this size fit on one node."""
        by_cpu = int(self.resources.get("CPU", 0) // cpus)
        return min(by_cpu, workers_on(self.resources.get("GPU", 0), gpus)) if gpus else by_cpu

    @property
    def text(self) -> str:
        """The node type as a message names it."""
        has = f"{self.resources.get('CPU', 0):g} CPUs + {self.resources.get('GPU', 0):g} GPUs"
        return f"{self.name} ({has})" if self.name else has


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterLimits:
    """The nodes that a cluster may have."""

    kinds: tuple[NodeKind, ...]
    most_workers: int = UNLIMITED
    """Nodes beside the head at once, of whatever type."""
    is_autoscaled: bool = False
    """Else the kinds are the living nodes."""

    def nodes_that_hold(self, workers: int, *, cpus: int, gpus: float) -> int:
        """Returns how many nodes at once can each hold so many workers of this size."""
        able = [kind for kind in self.kinds if kind.holds(cpus=cpus, gpus=gpus) >= workers]
        heads = sum(kind.count for kind in able if HEAD_RESOURCE in kind.resources)
        return heads + min(sum(kind.count for kind in able) - heads, self.most_workers)


def growth(nodes: list[Mapping[str, Any]]) -> ClusterLimits:
    """Returns what the connected cluster may grow to.

    Args:
        nodes: Its living nodes, as `ray.nodes()` gives them.
    """
    found = _of_state() or _of_bootstrap_file(nodes) or _of_kubernetes()
    living = tuple(NodeKind(name="", resources=node["Resources"], count=1) for node in nodes)
    if found is None:
        return ClusterLimits(kinds=living)
    heads = tuple(kind for kind in living if HEAD_RESOURCE in kind.resources)
    return ClusterLimits(
        kinds=(*heads, *found.kinds), most_workers=found.most_workers, is_autoscaled=True
    )


def growth_of_config(config: Mapping[str, Any]) -> ClusterLimits:
    """Returns the worker types of a `ray up` configuration.

    A type without a maximum of its own has the cluster's.
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
    """Returns what a host of Ray has told the cluster that it may grow to."""
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
    """Returns what the file of `ray up` says, on the head that the cluster is run from."""
    config = configuration_of_head()
    if config is None:
        return None
    from ray.util import get_node_ip_address

    heads = [node["NodeManagerAddress"] for node in nodes if HEAD_RESOURCE in node["Resources"]]
    return growth_of_config(config) if get_node_ip_address() in heads else None


def configuration_of_head() -> Mapping[str, Any] | None:
    """Returns the configuration that `ray up` left on this machine; None where it is no such head.

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
            f"{BOOTSTRAP_FILE}, which says what the cluster may grow to, cannot be read: {error}"
        ) from error
    if not isinstance(config, dict):
        raise ClusterError(f"{BOOTSTRAP_FILE} holds no cluster's configuration: `ray up` writes it")
    return config


def _of_kubernetes() -> ClusterLimits | None:
    """Returns what KubeRay's cluster of this pod may grow to, where the pod may ask for it."""
    name = os.environ.get("RAY_CLUSTER_NAME")
    namespace = SERVICE_ACCOUNT / "namespace"
    if not name or not namespace.is_file():
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    try:
        config = AutoscalingConfigProducer(name, namespace.read_text().strip())()
    except (OSError, ValueError, KeyError):  # no right to ask, or a cluster without an autoscaler
        return None
    return growth_of_config(config)


def describe(kinds: tuple[NodeKind, ...]) -> Iterator[str]:
    """Yields each different kind with how many of it there are or may be."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind.text] = counts.get(kind.text, 0) + kind.count
    for text, count in counts.items():
        yield text if count == 1 else f"{'any number of' if count >= UNLIMITED else count} {text}"


def fit_worker_group(
    cluster: ClusterLimits,
    *,
    workers: int | None,
    cpus_per_worker: int,
    gpus_per_worker: float | None,
) -> Capacity:
    """Returns how a cluster can hold worker groups, whatever the memory of its head.

    Raises:
        ClusterError: If no node that there is or may be can hold a block's workers.
    """
    kinds = [kind for kind in cluster.kinds if kind.count > 0]
    gpus = gpus_per_worker
    if gpus is None:
        gpus = 1 if any(kind.resources.get("GPU", 0) >= 1 for kind in kinds) else 0
    held = {kind.holds(cpus=cpus_per_worker, gpus=gpus) for kind in kinds}
    # As many workers as can be, in as few blocks as can be: a block loads every base once.
    sizes = [workers] if workers else sorted(held - {0}, reverse=True)
    fits = [
        (cluster.nodes_that_hold(size, cpus=cpus_per_worker, gpus=gpus), size) for size in sizes
    ]
    slots, wanted = max(fits, key=lambda fit: fit[0] * fit[1], default=(0, 0))
    if not slots:
        whose = "node types (it grows by itself)" if cluster.is_autoscaled else "nodes"
        raise ClusterError(
            f"no node of the cluster can hold {workers or 1} workers with {cpus_per_worker} CPUs "
            f"and {gpus:g} GPUs each; its {whose} are "
            + (", ".join(describe(cluster.kinds)) or "none")
        )
    return Capacity(
        slots=slots, workers=wanted, cpus_per_worker=cpus_per_worker, gpus_per_worker=gpus
    )


def max_blocks_on_head(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Returns how many blocks the head's memory lets run beside each other, at least one."""
    memory = [
        node["Resources"]["memory"]
        for node in nodes
        if HEAD_RESOURCE in node["Resources"] and "memory" in node["Resources"]
    ]
    return max(1, int(max(memory) // HEAD_BYTES_PER_BLOCK)) if memory else UNLIMITED
