"""A stand-in for the W&B server, and an environment without any key of the machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.tracking import wandb_runs
from tests.support.tracked_study import SECRET
from tests.support.wandb_server import Received, wandb_server

ENVIRONMENT = (
    *("WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"),
    "WANDB_X_DISABLE_STATS",
)


@pytest.fixture(autouse=True)
def no_wandb_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key of the machine is found, and nothing is kept outside the test's folder."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "600")  # for a busy machine, as in `online`
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-files"))
    _forget_settings()
    yield
    _forget_settings()


def _forget_settings() -> None:
    """Ends wandb's service: it reads the environment once, maybe in a test of another file."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """A stand-in for the server, with a key for it."""
    with wandb_server() as (address, received):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", SECRET[:40])
        monkeypatch.setenv("MY_CLOUD_PASSWORD", SECRET)
        monkeypatch.setattr(wandb_runs, "INIT_TIMEOUT_S", 600.0)  # for a busy machine
        monkeypatch.setattr(wandb_runs, "FINISH_TIMEOUT_S", 600.0)
        yield received
