"""Shared by all tests: their environment, and what each of them finds."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: sums have one order
os.environ["WANDB_MODE"] = "disabled"

HANDLERS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}

# A busy machine is not a failure.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    # Each cell and each retry collects garbage, which takes half a second with all that thousands
    # of collected tests keep alive. None of it is garbage before the end.
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    # A command's second Ctrl-C ends the process at once, and would end the tests with it. Under
    # `nohup` a process ignores SIGHUP from its start, and commands would keep ignoring it.
    for signum, handler in HANDLERS.items():
        signal.signal(signum, handler)
    yield
    for signum, handler in HANDLERS.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="session", autouse=True)
def _no_ray_beside_other_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    # A second Ray on this machine joins the first, so one process runs all tests on Ray (Makefile).
    # In other processes, and those that they start, Ray cannot make its folder and does not start.
    with pytest.MonkeyPatch.context() as patch:
        if not any(item.get_closest_marker("ray") for item in request.session.items):
            patch.setenv("RAY_TMPDIR", "/dev/null/only tests with the mark `ray` start Ray")
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # Models that passed their checks in an earlier run of the tests are checked again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
