"""Shared by the tests of DPO: the lab's smallest base, which writes answers."""

from __future__ import annotations

import pytest

from search_spaces.base_models import BaseModelRef
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(resolve_model(BaseModelRef(name="micro-s")), "float32", "none", "cpu")
