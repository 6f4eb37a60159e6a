"""Rules for a `ray up` file: Ray's own schema, then spot market, scaling, access and price."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from study.cluster_lint.findings import Finding, number, part_at, parts_at
from study.cluster_lint.node_types import NodeType, head_and_workers
from study.cluster_lint.price_ceiling import price_findings
from study.cost.prices import PriceTable

CLOUDS = ("aws", "gcp")
MAX_IDLE_MINUTES = 30
LOCAL_HOSTS = {"127.0.0.1", "localhost", "::1"}
PUBLIC_ADDRESSES = {
    "NetworkInterfaces": "AssociatePublicIpAddress",
    "networkInterfaces": "accessConfigs",
}
"""Keys by which a machine of AWS and of Google Cloud gets a public address."""


def lint_ray_up(
    config: Mapping[str, Any], prices: PriceTable, *, max_hourly_cost: float | None = None
) -> list[Finding]:
    """Returns problems and notes of a `ray up` file; if it breaks Ray's schema, only those.

    Args:
        config: Its content as written, without Ray's defaults.
        prices: Prices of machines.
        max_hourly_cost: The most that the cluster may cost, $ an hour; None: no limit.
    """
    faults = list(_schema(config))
    if faults:
        return faults
    cloud = config["provider"]["type"]
    if cloud not in CLOUDS:
        text = f"only files for {' and '.join(CLOUDS)} can be checked, this one is for {cloud!r}"
        return [Finding("provider.type", f"{text}; use one of these, or KubeRay")]
    head, workers = head_and_workers(config)
    if head is None:
        return [Finding("head_node_type", "it must name one of available_node_types")]
    nodes = (head, *workers)
    return [
        *_spot_market(head, [worker for worker in workers if worker.max_workers != 0]),
        *_scaling(config, nodes),
        *_token(config),
        *_open_ports(config, nodes),
        *price_findings(config, prices, max_hourly_cost),
    ]


def _schema(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields violations of Ray's schema, which leaves `node_config` to the cloud."""
    path = Path(str(distribution("ray").locate_file("ray/autoscaler/ray-schema.json")))
    validator = Draft7Validator(json.loads(path.read_text()))
    try:
        for error in validator.iter_errors(config):
            key = ".".join(map(str, error.absolute_path)) or "(file)"
            yield Finding(key, f"Ray's schema: {error.message}")
    except TypeError as error:
        yield Finding("(file)", f"every key must be text ({error}); quote the others")


def _spot_market(head: NodeType, workers: Sequence[NodeType]) -> Iterator[Finding]:
    if head.is_spot:
        yield Finding(f"{head.key}.node_config", "the head runs the drivers; make it on-demand")
    spot = [worker.content.get("priority", 0) for worker in workers if worker.is_spot]
    on_demand = [worker for worker in workers if not worker.is_spot]
    if not spot:
        yield Finding(
            "available_node_types",
            "at least one worker type must be on the spot market; set its node_config."
            "InstanceMarketOptions.MarketType: spot, or scheduling.provisioningModel: SPOT (GCP)",
        )
    elif not on_demand:
        yield Finding(
            "available_node_types",
            "an on-demand worker type must be the fall-back for sold-out spot machines; add one "
            "with a lower priority",
        )
    for worker in on_demand if spot else ():
        if worker.content.get("priority", 0) >= min(spot):
            yield Finding(
                f"{worker.key}.priority",
                f"an on-demand type is the fall-back; set its priority below {min(spot)}, the spot "
                "types' lowest (a type with a misspelled spot market counts as on-demand)",
            )


def _scaling(config: Mapping[str, Any], nodes: Sequence[NodeType]) -> Iterator[Finding]:
    if (number(config.get("max_workers")) or 0) < 1:
        yield Finding("max_workers", "workers need a ceiling; set how many may run at once")
    idle = [("idle_timeout_minutes", config.get("idle_timeout_minutes", 0), MAX_IDLE_MINUTES)]
    for node in nodes:
        if node.content.get("min_workers", 0) != 0:
            yield Finding(f"{node.key}.min_workers", "an idle cluster has no workers; set it to 0")
        if "idle_timeout_s" in node.content:
            seconds = node.content["idle_timeout_s"]
            idle.append((f"{node.key}.idle_timeout_s", seconds, 60 * MAX_IDLE_MINUTES))
    for key, value, limit in idle:
        if not 0 < value <= limit:
            yield Finding(key, f"idle workers must go; set it above 0 and to {limit} at most")


def _token(config: Mapping[str, Any]) -> Iterator[Finding]:
    places = [part_at(config, "docker").get("run_options")]
    places += [config.get(f"{kind}_start_ray_commands") for kind in ("head", "worker")]
    everywhere, on_head, on_workers = ("RAY_AUTH_MODE=token" in str(place) for place in places)
    modes = set(re.findall(r"RAY_AUTH_MODE\W+(\w+)", str(config)))
    if not (everywhere or (on_head and on_workers)) or modes != {"token"}:
        yield Finding(
            "docker.run_options",
            "without Ray's token whoever reaches a port runs code; add `-e RAY_AUTH_MODE=token` "
            "(without docker: export it before every `ray start`), and set no other mode",
        )
    if not any(str(path).endswith(".ray/auth_token") for path in config.get("file_mounts", {})):
        yield Finding(
            "file_mounts",
            "every node needs the token; run `ray get-auth-token --generate`, and mount "
            "/home/ray/.ray/auth_token: ~/.ray/auth_token",
        )


def _open_ports(config: Mapping[str, Any], nodes: Sequence[NodeType]) -> Iterator[Finding]:
    starts = "\n".join(config.get("head_start_ray_commands", []))
    hosts = set(re.findall(r"--dashboard-host[=\s]+([^\s;]+)", starts))
    if not hosts or not hosts <= LOCAL_HOSTS:
        yield Finding(
            "head_start_ray_commands",
            "the dashboard runs jobs, so only the head itself may reach it; start Ray with "
            "--dashboard-host=127.0.0.1, and use `ray dashboard` (a tunnel)",
        )
    provider = config["provider"]
    group = provider.get("security_group", {})
    if group.get("IpPermissions"):
        yield Finding("provider.security_group.IpPermissions", "no port may be open; remove it")
    own_groups = ({"SecurityGroupIds", "NetworkInterfaces"} & set(n.node_config) for n in nodes)
    if provider["type"] == "aws" and "GroupName" not in group and not all(own_groups):
        text = "without a security group of yours Ray opens port 22 to the world; name one"
        yield Finding("provider.security_group.GroupName", text)
    if provider.get("use_internal_ips") is not True:
        text = "no node may have a public address; set it to true, and auth.ssh_proxy_command"
        yield Finding("provider.use_internal_ips", text)
    for node in nodes:
        for interfaces, address in PUBLIC_ADDRESSES.items():
            if any(network.get(address) for network in parts_at(node.node_config, interfaces)):
                key = f"{node.key}.node_config.{interfaces}.{address}"
                yield Finding(key, "no node may have a public address; remove it")
