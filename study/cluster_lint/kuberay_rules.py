"""Rules for KubeRay's RayJob and RayCluster: spot market, scaling and access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.cluster_lint.findings import Finding, number, part_at, parts_at

KINDS = ("RayJob", "RayCluster")
MAX_IDLE_S = 1800

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.matchExpressions"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution.preference.matchExpressions"


def is_kuberay(document: Mapping[str, Any]) -> bool:
    """Returns whether a document is one for KubeRay's operator."""
    version = str(document.get("apiVersion"))
    return version.startswith("ray.io/") or document.get("kind") in KINDS


def lint_kuberay(document: Mapping[str, Any]) -> list[Finding]:
    """Returns what is wrong with a RayJob or RayCluster."""
    kind = document.get("kind")
    if kind not in KINDS:
        return [Finding("kind", f"it must be one of {', '.join(KINDS)}, got {kind!r}")]
    path = "spec.rayClusterSpec" if kind == "RayJob" else "spec"
    cluster = part_at(document, path)
    head, workers = f"{path}.headGroupSpec", f"{path}.workerGroupSpecs"
    findings = [*_cluster(cluster, path), *_head(cluster, head), *_workers(cluster, workers)]
    if kind == "RayJob" and part_at(document, "spec").get("shutdownAfterJobFinishes") is not True:
        text = "a finished job must end its cluster; set it to true"
        findings.append(Finding("spec.shutdownAfterJobFinishes", text))
    return findings


def _cluster(cluster: Mapping[str, Any], path: str) -> Iterator[Finding]:
    if part_at(cluster, "authOptions").get("mode") != "token":
        text = "without Ray's token whoever reaches a port runs code; set it to token"
        yield Finding(f"{path}.authOptions.mode", text)
    if cluster.get("enableInTreeAutoscaling") is not True:
        text = "workers must come and go with the work; set it to true"
        yield Finding(f"{path}.enableInTreeAutoscaling", text)
    idle = number(part_at(cluster, "autoscalerOptions").get("idleTimeoutSeconds"))
    if not 0 < (idle or 0) <= MAX_IDLE_S:
        text = f"idle workers must go; set it above 0 and to {MAX_IDLE_S} at most"
        yield Finding(f"{path}.autoscalerOptions.idleTimeoutSeconds", text)


def _head(cluster: Mapping[str, Any], path: str) -> Iterator[Finding]:
    head = part_at(cluster, "headGroupSpec")
    if head.get("serviceType", "ClusterIP") != "ClusterIP" or head.get("enableIngress"):
        yield Finding(
            f"{path}.serviceType",
            "the dashboard runs jobs, so only the Kubernetes cluster itself may reach it; set it "
            "to ClusterIP without enableIngress, and use `kubectl port-forward`",
        )
    pod = part_at(head, "template.spec")
    if _requires_spot(pod) or _prefers_spot(pod) or "spot" in str(pod.get("tolerations")).lower():
        text = "the head runs the drivers; remove its spot selector, affinity and toleration"
        yield Finding(f"{path}.template.spec", text)
    yield from _open_ports(pod, path)


def _workers(cluster: Mapping[str, Any], path: str) -> Iterator[Finding]:
    groups = list(parts_at(cluster, "workerGroupSpecs"))
    pods = [part_at(group, "template.spec") for group in groups]
    for index, (group, pod) in enumerate(zip(groups, pods, strict=True)):
        if group.get("minReplicas", 0) != 0 or group.get("replicas", 0) != 0:
            text = "an idle cluster has no workers; set it and replicas to 0"
            yield Finding(f"{path}.{index}.minReplicas", text)
        if number(group.get("maxReplicas")) is None:
            yield Finding(f"{path}.{index}.maxReplicas", "workers need a ceiling; set it")
        yield from _open_ports(pod, f"{path}.{index}")
    if not any(_requires_spot(pod) or _prefers_spot(pod) for pod in pods):
        yield Finding(
            path,
            "at least one worker group must use spot machines; prefer them by nodeAffinity "
            "(cloud.google.com/gke-spot, karpenter.sh/capacity-type)",
        )
    elif all(map(_requires_spot, pods)):
        yield Finding(
            path,
            "an on-demand fall-back must exist for sold-out spot machines; in one group prefer "
            "spot (preferredDuringScheduling...) instead of requiring it",
        )


def _open_ports(pod: Mapping[str, Any], path: str) -> Iterator[Finding]:
    ports = parts_at(pod, "containers.ports")
    if pod.get("hostNetwork") is True or any("hostPort" in port for port in ports):
        text = "no port of the machine may be open; remove hostNetwork and hostPort"
        yield Finding(f"{path}.template.spec", text)


def _requires_spot(pod: Mapping[str, Any]) -> bool:
    affinity = part_at(pod, "affinity.nodeAffinity")
    is_selected = "spot" in str(pod.get("nodeSelector")).lower()
    return is_selected or any(map(_names_spot, parts_at(affinity, REQUIRED)))


def _prefers_spot(pod: Mapping[str, Any]) -> bool:
    affinity = part_at(pod, "affinity.nodeAffinity")
    return any(map(_names_spot, parts_at(affinity, PREFERRED)))


def _names_spot(expression: Mapping[str, Any]) -> bool:
    text = f"{expression.get('key')} {expression.get('values')}".lower()
    return "spot" in text and expression.get("operator") not in ("DoesNotExist", "NotIn")
