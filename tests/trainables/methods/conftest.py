"""Shared by the tests of methods: a tiny base."""

from __future__ import annotations

import pytest

from tests.support.small_cells import load
from trainables.models.loading import Base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(tmp_path_factory.mktemp("base"))
