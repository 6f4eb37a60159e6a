"""Runs in Weights & Biases, online or offline: the only module that imports wandb, and lazily.

Without a key a run is written offline below the run folder, for `wandb sync`, without any prompt.
Everything that could carry a secret or private data (command line, environment, host and user
names, git remotes, console output) is switched off.
"""

from __future__ import annotations

import logging
import netrc
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from trainables.storage import layout
from trainables.storage.filesystem import Storage

PROJECT = "scarce-labels"

INIT_TIMEOUT_S = 20.0
"""Longest wait of an online run for the server before it is written offline."""

FINISH_TIMEOUT_S = 60.0
"""Longest wait for the upload at the end of a run."""


def tracking_mode() -> str:
    """Returns `WANDB_MODE` if it is set, else `online` with a key and `offline` without one."""
    mode = os.environ.get("WANDB_MODE", "").lower()
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true"):
        mode = "disabled"
    return mode or ("online" if _has_key() else "offline")


def statistics_disabled() -> bool:
    """Returns whether `WANDB_X_DISABLE_STATS` is set, W&B's switch for system statistics."""
    return os.environ.get("WANDB_X_DISABLE_STATS", "").lower() in ("1", "true")


def _has_key() -> bool:
    """Returns whether W&B would find a key; the key is neither stored nor passed on."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        return urlparse(address).hostname in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False


class WandbRuns:
    """Opens W&B runs of one study, online or offline."""

    def __init__(self, storage: Storage, space: str) -> None:
        self.space = space
        self._storage = storage
        self._is_unreachable = False
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if storage.is_local:
            self._folder = Path(storage.path(layout.wandb(self.space))).parent
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="wandb-")
            self._folder = Path(self._temporary.name)

    @property
    def is_online(self) -> bool:
        """Whether the last run was opened on the server, or the next one is going to be."""
        return tracking_mode() == "online" and not self._is_unreachable

    def open(self, name: str, *, job_type: str, config: Mapping[str, Any], run_id: str) -> Any:
        """Returns the study's run with this id, continued if W&B has it.

        A server that does not answer is asked once: this run and all later ones are offline.
        """
        wandb = self.module()
        self._folder.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "group": self.space,
            "job_type": job_type,
            "name": name,
            "config": dict(config),
            "dir": self._folder,
            "id": run_id,
            "resume": "allow",
            "reinit": "create_new",
            "settings": _settings(wandb),
        }
        if self._is_unreachable:
            return wandb.init(mode="offline", **arguments)
        try:
            return wandb.init(mode=tracking_mode(), **arguments)
        except wandb.errors.CommError as error:
            self._is_unreachable = True
            warn(
                f"the server did not answer ({type(error).__name__}); runs are written below "
                f"{self._folder / 'wandb'}, for `wandb sync`"
            )
            return wandb.init(mode="offline", **arguments)

    def module(self) -> Any:
        """Returns wandb, imported here so that a study without tracking does not pay for it."""
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            # Offline artifacts wait in the data folder, so it must stay with the runs.
            os.environ.setdefault(name, str(self._folder / "wandb" / "files"))
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        logging.getLogger("wandb").setLevel(logging.WARNING)  # debug.log would hold absolute paths
        return wandb

    def close(self) -> None:
        """Copies the runs to the bucket, if the study is in one."""
        if self._temporary is None:
            return
        root = self._folder / "wandb"
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                key = f"{layout.wandb(self.space)}/{path.relative_to(root).as_posix()}"
                self._storage.write_bytes(key, path.read_bytes())
        self._temporary.cleanup()


def _settings(wandb: Any) -> Any:
    known = wandb.Settings.model_fields
    wanted = {
        "silent": True,
        "console": "off",
        "disable_git": True,
        "disable_code": True,
        # Machine data includes the command line, the host's name, paths and the user's email.
        "program": "study",
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "init_timeout": INIT_TIMEOUT_S,
        "finish_timeout": FINISH_TIMEOUT_S,
    }
    return wandb.Settings(**{name: value for name, value in wanted.items() if name in known})


def warn(message: str) -> None:
    """Prints a warning about W&B in one line."""
    print(f"W&B: {message}", file=sys.stderr)
