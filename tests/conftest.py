"""What every test finds: Ctrl-C as Python has it, whatever a command in this process made of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_interrupt() -> Iterator[None]:
    # A command's second Ctrl-C ends the process at once, and would end the tests with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)
