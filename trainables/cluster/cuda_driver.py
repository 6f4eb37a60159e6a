"""Which NVIDIA driver torch needs, and which one is here. Imports no torch."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Major version of CUDA -> oldest major version of the driver that runs programs built for it:
NVIDIA, "CUDA Compatibility", table "CUDA Toolkit 11.x, 12.x, and 13.x Driver Version Ranges"
(docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html)."""

LOADED = Path("/sys/module/nvidia/version")

ASK_TIMEOUT_S = 30.0
"""nvidia-smi starts the driver where nothing else has, which takes seconds a GPU."""


def major(version: str) -> int | None:
    """Returns the first number of a version; None where it does not begin with one."""
    match = re.match(r"\d+", version)
    return int(match.group()) if match else None


def installed_driver() -> str | None:
    """Returns the version of the NVIDIA driver of this machine, such as `580.95.05`; None: none."""
    if LOADED.is_file():
        return LOADED.read_text().strip()
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=ASK_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = said.stdout.split()
    return lines[0] if lines and major(lines[0]) is not None else None
