"""Rules for a `ray up` file that Ray's schema does not see: what costs money, work or safety.

Each rule is a function of the file's content that yields findings. Ray's own check comes first
(`trainables.cluster_schema`); a rule must not fail on a file that breaks it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.cluster_driver import old_drivers
from study.cluster_machines import head_faults, machine_faults
from study.cluster_safety import unsafe
from study.findings import Finding, mapping, note, number, problem
from study.node_types import NodeType, as_text, head_and_workers
from study.shell_calls import shell_calls

LONGEST_IDLE_MINUTES = 30
FILL_IN = re.compile(r"\b(PROJECT_ID|BUCKET|IMAGE|REGISTRY)\b")
"""Words in the shipped files that stand for what only the user knows."""

CLOUDS = ("aws", "gcp")


def lint_cluster(config: Mapping[str, Any], *, ray_version: str) -> list[Finding]:
    """Returns what is wrong with, or worth knowing of, a `ray up` file.

    Args:
        config: Its content, as written (without Ray's defaults).
        ray_version: The Ray of this environment: all nodes need the same.
    """
    head, workers = head_and_workers(config)
    cloud = str(mapping(config.get("provider")).get("type"))
    if cloud not in CLOUDS:
        rule = f"only files for {' and '.join(CLOUDS)} can be checked, this one is for {cloud!r}"
        return [problem("provider.type", rule, "use one of these, or KubeRay")]
    if head is None:
        rule = "the head's type must be one of available_node_types"
        return [problem("head_node_type", rule, "name the head's type")]
    return [
        *head_faults(head, config),
        *_workers(workers),
        *_priorities(workers),
        *_scaling(config, workers),
        *_watcher(config, cloud),
        *unsafe(config, (head, *workers)),
        *machine_faults((head, *workers)),
        *old_drivers(workers, config),
        *_bucket(workers, cloud),
        *_environment(config, ray_version),
        *fill_ins(config),
    ]


def _workers(workers: Sequence[NodeType]) -> Iterator[Finding]:
    for worker in workers:
        if worker.has_driver:
            yield problem(
                worker.key("resources.driver"),
                "drivers run on the head only: a spot worker would take them with it",
                "take `driver` out of the worker's resources",
            )
    with_gpu = [worker for worker in workers if number(worker.resources.get("GPU"))]
    for worker in workers if with_gpu else ():
        if worker not in with_gpu:
            rule = "Ray is told of no GPU, while other worker types have some"
            yield note(worker.key("resources"), rule, "set GPU, if the machine has one")
    if not any(worker.is_spot for worker in workers):
        yield problem(
            "available_node_types",
            "at least one worker type must be on the spot market",
            "AWS: node_config.InstanceMarketOptions.MarketType: spot. "
            "GCP: node_config.scheduling: [{provisioningModel: SPOT}]",
        )


def _priorities(workers: Sequence[NodeType]) -> Iterator[Finding]:
    spot = [worker for worker in workers if worker.is_spot]
    others = [worker for worker in workers if not worker.is_spot]
    if spot and not others:
        yield problem(
            "available_node_types",
            "there must be an on-demand worker type to fall back to where spot is sold out",
            "add one with a lower priority than the spot types",
        )
    lowest = min((worker.priority for worker in spot), default=None)
    for worker in others:
        if lowest is not None and worker.priority >= lowest:
            yield problem(
                worker.key("priority"),
                f"on-demand is the fall-back, so its priority ({worker.priority:g}) must be below "
                f"every spot type's (the lowest is {lowest:g})",
                "lower it, or raise the spot types'",
            )


def _scaling(config: Mapping[str, Any], workers: Sequence[NodeType]) -> Iterator[Finding]:
    if "max_workers" not in config:
        yield problem(
            "max_workers", "the number of workers must have a ceiling", "set it (Ray takes 2)"
        )
    most = number(config.get("max_workers"))
    if most == 0 or (workers and all(worker.max_workers == 0 for worker in workers)):
        yield problem(
            "max_workers", "0 workers: no cell would ever start", "set it to how many may run"
        )
    for worker in workers:
        if worker.max_workers is None:
            yield problem(
                worker.key("max_workers"), "each worker type must have a ceiling", "set it"
            )
        if number(worker.content.get("min_workers")) not in (None, 0.0):
            yield problem(
                worker.key("min_workers"),
                "a cluster without work has no workers",
                "set it to 0, or leave it out",
            )
    idle = number(config.get("idle_timeout_minutes"))
    if idle is None or not 0 < idle <= LONGEST_IDLE_MINUTES:
        yield problem(
            "idle_timeout_minutes",
            f"an idle worker must go within {LONGEST_IDLE_MINUTES} minutes, got {idle}",
            "set it to 5",
        )
    if not number(config.get("upscaling_speed")):
        yield problem("upscaling_speed", "it must be set, above 0", "set it to 2.0")


def _watcher(config: Mapping[str, Any], cloud: str) -> Iterator[Finding]:
    key = "worker_start_ray_commands"
    calls = [call for line in shell_calls(config.get(key)) for call in line]
    rays = [i for i, c in enumerate(calls) if c.has("ray", "start") or c.has("ray", "stop")]
    watchers = [i for i, c in enumerate(calls) if c.has("python", "-m", "trainables.spot_watcher")]
    advice = (
        f"add `setsid nohup python -m trainables.spot_watcher --cloud {cloud} --address "
        "$RAY_HEAD_IP:6379 > ~/spot_watcher.log 2>&1 < /dev/null &` after `ray start`"
    )
    if not watchers:
        yield problem(key, "each worker must start the spot watcher", advice)
    elif watchers[-1] < max(rays, default=-1):
        yield problem(key, "the spot watcher must start after `ray stop` and `ray start`", advice)
    elif any(calls[i].option("--cloud") != cloud for i in watchers):
        yield problem(key, f"the spot watcher must watch for the notice of {cloud}", advice)
    elif not all(calls[i].is_background for i in watchers):
        rule = "the spot watcher does not end, so `ray up` would wait for it for ever"
        yield problem(key, rule, "end its command with `&`")


def _bucket(workers: Sequence[NodeType], cloud: str) -> Iterator[Finding]:
    key = "IamInstanceProfile" if cloud == "aws" else "serviceAccounts"
    for worker in workers:
        if not worker.config.get(key):
            yield problem(
                worker.key(f"node_config.{key}"),
                "workers write records to the bucket and need a role that may",
                "name one that may read and write there, and nothing else",
            )


def _environment(config: Mapping[str, Any], ray_version: str) -> Iterator[Finding]:
    if not _is_pinned(config):
        yield problem(
            "setup_commands",
            "all nodes must run the pinned environment",
            "`pip install --constraint constraints.txt --editable .` in the mounted repository",
        )
    image = str(mapping(config.get("docker")).get("image", ""))
    version = re.search(r"rayproject/ray[a-z-]*:(\d+\.\d+\.\d+)", image)
    if version and version.group(1) != ray_version:
        yield problem(
            "docker.image",
            f"its Ray is {version.group(1)}, this environment's is {ray_version}; a cluster "
            "needs one version",
            f"take rayproject/ray:{ray_version}-py311-gpu",
        )


def _is_pinned(config: Mapping[str, Any]) -> bool:
    """Says whether something is installed by the pins, and the repository is where it is."""
    lines = shell_calls(config.get("setup_commands"))
    installs = [
        call
        for calls in lines
        for call in calls
        if call.has("pip", "install") or call.has("python", "-m", "pip", "install")
    ]
    pinned = [
        call
        for call in installs
        if (call.option("--constraint", "-c") or "").rpartition("/")[2] == "constraints.txt"
    ]
    ours = [call for call in installs if any(word.startswith(".") for word in call.words)]
    return bool(pinned) and all(call in pinned for call in ours)


def fill_ins(config: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields what the user still has to fill in."""
    words = sorted(set(FILL_IN.findall(as_text(config))))
    for word in words:
        yield note("(file)", f"{word} has to be filled in", f"replace {word} everywhere")
