"""Rules for KubeRay's files (RayJob, RayCluster): those of `study.cluster_lint` that apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from study.cluster_lint import fill_ins
from study.findings import Finding, mapping, note, number, problem
from study.node_keys import parts_at
from study.node_types import as_text
from trainables.cuda_drivers import OLDEST_DRIVER, WHEEL_CUDA, WHEEL_TORCH

KINDS = ("RayJob", "RayCluster")
SHORTEST_GRACE_S = 30
"""Ray drains its node for up to 30 s when it is told to end (RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S,
Ray 2.60), which is also what Kubernetes grants where a file says nothing."""

Use = Literal["requires", "prefers", "no"]


def is_kuberay(config: Mapping[str, Any]) -> bool:
    """Says whether a file is one for KubeRay's operator."""
    return str(config.get("apiVersion", "")).startswith("ray.io/") or config.get("kind") in KINDS


def lint_kuberay(config: Mapping[str, Any], *, ray_version: str) -> list[Finding]:
    """Returns what is wrong with, or worth knowing of, a RayJob or RayCluster.

    Args:
        config: The file's content.
        ray_version: The Ray of this environment: all nodes need the same.
    """
    if config.get("kind") not in KINDS:
        rule = f"it must be one of {', '.join(KINDS)}, got {config.get('kind')!r}"
        return [problem("kind", rule, "use deploy/rayjob.yaml")]
    spec = mapping(config.get("spec"))
    is_job = config["kind"] == "RayJob"
    cluster = mapping(spec.get("rayClusterSpec")) if is_job else spec
    path = "spec.rayClusterSpec" if is_job else "spec"
    return [
        *(_job(spec) if is_job else ()),
        *_cluster(cluster, path, ray_version),
        *_head(mapping(cluster.get("headGroupSpec")), f"{path}.headGroupSpec"),
        *_groups(cluster.get("workerGroupSpecs"), f"{path}.workerGroupSpecs"),
        *_driver(cluster.get("workerGroupSpecs"), f"{path}.workerGroupSpecs"),
        *fill_ins(config),
    ]


def _job(spec: Mapping[str, Any]) -> Iterator[Finding]:
    entrypoint = str(spec.get("entrypoint", ""))
    if "study.sweep" in entrypoint and not any(s in entrypoint for s in ("s3://", "gs://")):
        yield problem(
            "spec.entrypoint",
            "records must go to a bucket: the pods' disks end with the job",
            "add --out gs://... or --out s3://...",
        )
    if "driver" not in str(spec.get("entrypointResources", "")):
        yield problem(
            "spec.entrypointResources",
            "the driver must run on the head",
            "set it to '{\"driver\": 1}'",
        )
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield problem(
            "spec.shutdownAfterJobFinishes", "a finished job must end its cluster", "set it to true"
        )


def _cluster(cluster: Mapping[str, Any], path: str, ray_version: str) -> Iterator[Finding]:
    if mapping(cluster.get("authOptions")).get("mode") != "token":
        yield problem(
            f"{path}.authOptions.mode",
            "every pod must ask for the token: without it who reaches a port runs code",
            "set it to token",
        )
    if cluster.get("enableInTreeAutoscaling") is not True:
        yield problem(
            f"{path}.enableInTreeAutoscaling", "workers come and go with the work", "set it to true"
        )
    options = mapping(cluster.get("autoscalerOptions"))
    if not number(options.get("idleTimeoutSeconds")):
        yield problem(
            f"{path}.autoscalerOptions.idleTimeoutSeconds",
            "an idle worker must go",
            "set it to 300",
        )
    if str(cluster.get("rayVersion")) != ray_version:
        yield problem(
            f"{path}.rayVersion",
            f"it is {cluster.get('rayVersion')}, this environment's is {ray_version}; a cluster "
            "needs one version",
            f"set it to {ray_version}, and use an image with it",
        )


def _head(head: Mapping[str, Any], path: str) -> Iterator[Finding]:
    parameters = mapping(head.get("rayStartParams"))
    if str(parameters.get("num-cpus")) != "0":
        yield problem(
            f"{path}.rayStartParams.num-cpus", "the head runs drivers only", 'set it to "0"'
        )
    if "driver" not in str(parameters.get("resources", "")):
        yield problem(
            f"{path}.rayStartParams.resources",
            "the head counts its drivers by the resource `driver`",
            'set it to \'"{\\"driver\\": 4}"\'',
        )
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        yield problem(
            f"{path}.serviceType",
            "the dashboard runs jobs, so it must not be reached from outside",
            "set it to ClusterIP and use `kubectl port-forward`",
        )
    pod = _pod(head)
    if _spot(pod) != "no" or "spot" in as_text(pod.get("tolerations")).lower():
        yield problem(
            f"{path}.template.spec",
            "the head must be on-demand: a lost head ends every driver",
            "take the spot selector and toleration out",
        )
    yield from _open_ports(pod, path)


def _groups(groups: Any, path: str) -> Iterator[Finding]:
    groups = [mapping(group) for group in groups] if isinstance(groups, list) else []
    uses: list[Use] = []
    for index, group in enumerate(groups):
        key = f"{path}.{index}"
        pod = _pod(group)
        uses.append(_spot(pod))
        if number(group.get("minReplicas")) not in (None, 0.0) or number(group.get("replicas")):
            yield problem(
                f"{key}.minReplicas", "a cluster without work has no workers", "set it to 0"
            )
        if number(group.get("maxReplicas")) is None:
            yield problem(f"{key}.maxReplicas", "each worker group must have a ceiling", "set it")
        if "driver" in str(mapping(group.get("rayStartParams")).get("resources", "")):
            yield problem(
                f"{key}.rayStartParams.resources", "drivers run on the head only", "take it out"
            )
        grace = number(pod.get("terminationGracePeriodSeconds"))
        if grace is not None and grace < SHORTEST_GRACE_S:
            yield problem(
                f"{key}.template.spec.terminationGracePeriodSeconds",
                f"Ray needs {SHORTEST_GRACE_S} s to drain a node, got {grace:g}",
                "set it to 60",
            )
        yield from _open_ports(pod, key)
    if all(use == "no" for use in uses):
        yield problem(
            path,
            "at least one worker group must use spot machines",
            "prefer them by nodeAffinity (cloud.google.com/gke-spot, karpenter.sh/capacity-type)",
        )
    elif all(use == "requires" for use in uses):
        yield problem(
            path,
            "there must be an on-demand fall-back where spot is sold out",
            "prefer spot machines in at least one group (preferredDuringScheduling...) instead of "
            "requiring them",
        )


def _driver(groups: Any, path: str) -> Iterator[Finding]:
    """Yields what the nodes of GPU groups need: their driver is not the pod's."""
    pods = [_pod(mapping(group)) for group in groups] if isinstance(groups, list) else []
    asked = [part for pod in pods for part in parts_at(pod, "containers.resources")]
    if "nvidia.com/gpu" in as_text(asked):
        oldest = OLDEST_DRIVER[WHEEL_CUDA]
        yield note(
            path,
            f"nodes with GPUs need the NVIDIA driver {oldest} or newer, as torch {WHEEL_TORCH} is "
            f"built for CUDA {WHEEL_CUDA}; which one they have cannot be seen here",
            "look at `nvidia-smi` on one; on GKE make the pool with gpu-driver-version=latest",
        )


def _open_ports(pod: Mapping[str, Any], path: str) -> Iterator[Finding]:
    if pod.get("hostNetwork") is True or "hostPort" in as_text(pod):
        yield problem(
            f"{path}.template.spec",
            "no port may be open on the machines themselves",
            "take hostNetwork and hostPort out",
        )


def _pod(group: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(group.get("template")).get("spec"))


def _spot(pod: Mapping[str, Any]) -> Use:
    """Says how a pod chooses spot machines: by a selector or an affinity that names them."""
    affinity = mapping(mapping(pod.get("affinity")).get("nodeAffinity"))
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if _names_spot(pod.get("nodeSelector")) or _names_spot(required):
        return "requires"
    if _names_spot(affinity.get("preferredDuringSchedulingIgnoredDuringExecution")):
        return "prefers"
    return "no"


def _names_spot(part: Any) -> bool:
    """Says whether a selector asks for spot machines; asking for others is not it."""
    if isinstance(part, list):
        return any(map(_names_spot, part))
    if isinstance(part, Mapping):
        if part.get("operator") in ("DoesNotExist", "NotIn"):
            return False
        return any("spot" in str(key).lower() or _names_spot(value) for key, value in part.items())
    return "spot" in str(part).lower()
