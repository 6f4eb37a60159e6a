"""The keys of a cloud's machine that a cluster file may use: Ray hands them on without looking.

Sources: parameters of EC2's RunInstances (and Ray's own `SubnetIds`, `IamInstanceProfile`), fields
of Compute Engine's instances.insert. A key that is not here is most likely a typing error, and a
cloud would either refuse it when the first node starts or, worse, ignore it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

AWS_NODE = frozenset(
    [
        "AdditionalInfo",
        "BlockDeviceMappings",
        "CapacityReservationSpecification",
        "ClientToken",
        "CpuOptions",
        "CreditSpecification",
        "DisableApiStop",
        "DisableApiTermination",
        "EbsOptimized",
        "ElasticGpuSpecification",
        "ElasticInferenceAccelerators",
        "EnablePrimaryIpv6",
        "EnclaveOptions",
        "HibernationOptions",
        "IamInstanceProfile",
        "ImageId",
        "InstanceInitiatedShutdownBehavior",
        "InstanceMarketOptions",
        "InstanceType",
        "Ipv6AddressCount",
        "Ipv6Addresses",
        "KernelId",
        "KeyName",
        "LaunchTemplate",
        "LicenseSpecifications",
        "MaintenanceOptions",
        "MetadataOptions",
        "Monitoring",
        "NetworkInterfaces",
        "NetworkPerformanceOptions",
        "Operator",
        "Placement",
        "PrivateDnsNameOptions",
        "PrivateIpAddress",
        "RamdiskId",
        "SecurityGroupIds",
        "SecurityGroups",
        "SubnetId",
        "SubnetIds",
        "TagSpecifications",
        "UserData",
    ]
)

GCP_NODE = frozenset(
    [
        "advancedMachineFeatures",
        "canIpForward",
        "confidentialInstanceConfig",
        "deletionProtection",
        "description",
        "disks",
        "displayDevice",
        "guestAccelerators",
        "hostname",
        "instanceEncryptionKey",
        "keyRevocationActionType",
        "labels",
        "machineType",
        "metadata",
        "minCpuPlatform",
        "name",
        "networkInterfaces",
        "networkPerformanceConfig",
        "params",
        "privateIpv6GoogleAccess",
        "reservationAffinity",
        "resourcePolicies",
        "scheduling",
        "serviceAccounts",
        "shieldedInstanceConfig",
        "sourceInstanceTemplate",
        "sourceMachineImage",
        "tags",
        "workloadIdentityConfig",
    ]
)

NESTED: Mapping[str, frozenset[str]] = {
    "InstanceMarketOptions": frozenset({"MarketType", "SpotOptions"}),
    "InstanceMarketOptions.SpotOptions": frozenset(
        {
            "MaxPrice",
            "SpotInstanceType",
            "BlockDurationMinutes",
            "ValidUntil",
            "InstanceInterruptionBehavior",
        }
    ),
    "MetadataOptions": frozenset(
        {
            "HttpTokens",
            "HttpPutResponseHopLimit",
            "HttpEndpoint",
            "HttpProtocolIpv6",
            "InstanceMetadataTags",
        }
    ),
    "IamInstanceProfile": frozenset({"Arn", "Name"}),
    "scheduling": frozenset(
        {
            "automaticRestart",
            "availabilityDomain",
            "hostErrorTimeoutSeconds",
            "instanceTerminationAction",
            "localSsdRecoveryTimeout",
            "locationHint",
            "maxRunDuration",
            "minNodeCpus",
            "nodeAffinities",
            "onHostMaintenance",
            "onInstanceStopAction",
            "preemptible",
            "provisioningModel",
            "skipGuestOsShutdown",
            "terminationTime",
        }
    ),
}
"""Where a typing error would silently cost money or safety: what may stand in these keys."""

VALUES: Mapping[str, frozenset[str]] = {
    "InstanceMarketOptions.MarketType": frozenset({"spot", "capacity-block"}),
    "MetadataOptions.HttpTokens": frozenset({"required", "optional"}),
    "scheduling.provisioningModel": frozenset({"SPOT", "STANDARD", "RESERVATION_BOUND"}),
    "scheduling.onHostMaintenance": frozenset({"MIGRATE", "TERMINATE"}),
}
"""Keys with few allowed values."""


def unknown_keys(cloud: str, node_config: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yields the keys that the cloud's machines do not have, each with those that stand beside it.

    Args:
        cloud: `aws` or `gcp`; of another cloud nothing is known.
        node_config: A node type's `node_config`.
    """
    allowed = {"aws": AWS_NODE, "gcp": GCP_NODE}.get(cloud)
    if allowed is None:
        return
    for key in node_config:
        if key not in allowed:
            yield str(key), sorted(allowed)
    for path, names in NESTED.items():
        for part in parts_at(node_config, path):
            yield from ((f"{path}.{key}", sorted(names)) for key in part if key not in names)


def unknown_values(node_config: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yields the values that a key with few allowed ones does not take: key, value, allowed."""
    for path, allowed in VALUES.items():
        parent, _, key = path.rpartition(".")
        for part in parts_at(node_config, parent):
            if key in part and str(part[key]) not in allowed:
                yield path, str(part[key]), sorted(allowed)


def parts_at(node_config: Mapping[str, Any], path: str) -> Iterator[Mapping[str, Any]]:
    """Yields the mappings at a dotted path; a list on the way (GCP) stands for each element."""
    parts: list[Any] = [node_config]
    for key in path.split("."):
        found = [part[key] for part in parts if isinstance(part, Mapping) and key in part]
        parts = [e for value in found for e in (value if isinstance(value, list) else [value])]
    yield from (part for part in parts if isinstance(part, Mapping))
