"""A rule for a cluster's machines: their NVIDIA driver runs the torch that is installed on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.findings import Finding, note, number, problem
from study.node_keys import parts_at
from study.node_types import NodeType
from study.shell_calls import shell_calls
from trainables.cuda_drivers import OLDEST_DRIVER, WHEEL_CUDA, WHEEL_TORCH

NAMED_DRIVER = re.compile(r"nvidia-(\d{3})(?!\d)")
"""Names of Google's images end with the major version of their driver."""

KEPT_NEW = re.compile(r"/base-oss-nvidia-driver-gpu-[^/]+/latest/")
"""The newest of Amazon's images of this series: release notes (of those for ARM64) say driver
580.105 in December 2025 and 595.91 in October 2026."""

OTHER_BUILD = re.compile(r"(?<![a-z])cu(\d{2})\d(?!\d)")
"""What names a build of torch for one CUDA, in an index or a version: `cu126` is CUDA 12.6."""


def old_drivers(workers: Sequence[NodeType], config: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields the GPU workers whose image has a driver that is too old, or hides which it has."""
    cuda = _cuda(config)
    oldest = OLDEST_DRIVER.get(cuda, max(OLDEST_DRIVER.values()))
    for worker in workers:
        if not number(worker.resources.get("GPU")):
            continue
        for key, image in _images(worker):
            named = NAMED_DRIVER.search(image)
            if named and int(named.group(1)) < oldest:
                yield problem(
                    worker.key(key),
                    f"its image has the NVIDIA driver {named.group(1)}, but torch {WHEEL_TORCH} is "
                    f"installed as built for CUDA {cuda}, which needs {oldest} or newer",
                    f"take an image with {oldest} or newer, or install torch's build for CUDA 12.6 "
                    "(cu126), which runs on 525 or newer",
                )
            elif not named and not KEPT_NEW.search(image):
                yield note(
                    worker.key(key),
                    f"which NVIDIA driver the image has cannot be seen here; torch {WHEEL_TORCH} "
                    f"needs {oldest} or newer",
                    "`python -m study.doctor` on a node of this type says",
                )


def _images(worker: NodeType) -> Iterator[tuple[str, str]]:
    """Yields the images of a node type, each with its key."""
    if worker.cloud == "aws":
        image = worker.config.get("ImageId")
        if image is not None:
            yield "node_config.ImageId", str(image)
        return
    for disk in parts_at(worker.config, "disks.initializeParams"):
        if "sourceImage" in disk:
            yield "node_config.disks.initializeParams.sourceImage", str(disk["sourceImage"])


def _cuda(config: Mapping[str, Any]) -> int:
    """Returns the major version of CUDA of the torch that the setup installs."""
    for call in (call for calls in shell_calls(config.get("setup_commands")) for call in calls):
        if call.has("pip", "install") or call.has("python", "-m", "pip", "install"):
            build = OTHER_BUILD.search(" ".join(call.words))
            if build:
                return int(build.group(1))
    return WHEEL_CUDA
