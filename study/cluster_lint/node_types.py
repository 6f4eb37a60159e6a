"""The node types of a `ray up` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.cluster_lint.findings import number, part_at, parts_at


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """One entry of `available_node_types`."""

    key: str
    """Its place in the file."""
    content: Mapping[str, Any]

    @property
    def node_config(self) -> Mapping[str, Any]:
        """The machine as the cloud's API receives it."""
        return part_at(self.content, "node_config")

    @property
    def is_spot(self) -> bool:
        """Whether the cloud may reclaim the machine."""
        aws = part_at(self.node_config, "InstanceMarketOptions").get("MarketType") == "spot"
        return aws or any(
            options.get("preemptible") is True or options.get("provisioningModel") == "SPOT"
            for options in parts_at(self.node_config, "scheduling")
        )

    @property
    def instance(self) -> str | None:
        """The cloud's machine type, without the zone that may precede it on Google Cloud."""
        name = self.node_config.get("InstanceType", self.node_config.get("machineType"))
        return name.rpartition("/")[2] if isinstance(name, str) else None

    @property
    def max_workers(self) -> int | None:
        """Limit on nodes of this type; None: only the cluster's limit applies."""
        count = number(self.content.get("max_workers"))
        return None if count is None else int(count)


def head_and_workers(config: Mapping[str, Any]) -> tuple[NodeType | None, tuple[NodeType, ...]]:
    """Returns the head's type (None if the file names none) and the worker types."""
    types = {
        str(name): NodeType(key=f"available_node_types.{name}", content=content)
        for name, content in part_at(config, "available_node_types").items()
    }
    head = types.pop(str(config.get("head_node_type")), None)
    return head, tuple(types.values())
