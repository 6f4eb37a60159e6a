"""The command on files that are unusable, and rules on values of any shape."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.cli.command import BAD_INPUT
from study.cluster import check_documents, main, read_documents
from study.cost.prices import read_prices
from tests.study.cluster_lint.cluster_files import AWS, GCP, KUBERAY, changed

UNREADABLE = {
    "half a list": ("a: [", "is not YAML"),
    "no mapping": ("- a", "must be a YAML mapping"),
    "nothing": ("", "must be a YAML mapping"),
    "several, one of them no mapping": ("a: 1\n---\n- a", "must be a YAML mapping"),
    "tag that does not fit": ("a: !!timestamp x", "is not YAML"),
    "code": ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
    "impossible day": ("a: 2024-13-45", "is not YAML"),
    "very deep": ("a: " + "[" * 5000, "is not YAML"),
    "list as a key": ("? [a, b]\n: 1", "is not YAML"),
    "very large": ("a: " + "9" * 5000, "is not YAML"),
    "not UTF-8": ("\xff", "cannot read"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unusable_file_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = UNREADABLE[name]
    file = tmp_path / "cluster.yaml"
    file.write_text(text, encoding="latin-1")
    assert main([str(file)]) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.yaml")]) == BAD_INPUT
    assert "cannot read" in capsys.readouterr().err


def test_problems_are_printed_with_key_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(AWS, tmp_path, "use_internal_ips: true", "use_internal_ips: false")
    assert main([str(changed(file, tmp_path, "min_workers: 0", "min_workers: 1"))]) == BAD_INPUT
    printed = capsys.readouterr()
    assert "problem  available_node_types.spot-l4.min_workers: an idle cluster has" in printed.err
    assert "problem  provider.use_internal_ips: " in printed.err
    assert f"{tmp_path / 'cluster.yaml'}: 2 problems; do not start it" in printed.err
    assert "no problem found" not in printed.out


HOSTILE: tuple[Any, ...] = (
    None, math.inf, math.nan, -1, 10**400, True, "", "\x00", "é" * 9, [], {}, [[]], ["'"], [None],
    {"a": {"b": ["c"]}}, [{"a": 1}], datetime.date(2024, 1, 2), b"x", {1: 2},
)  # fmt: skip


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every value of a file."""
    if isinstance(part, dict | list):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield (*path, key)
            yield from places(value, (*path, key))


@pytest.mark.parametrize("file", [AWS, GCP, KUBERAY], ids=lambda file: file.name)
def test_no_value_in_any_place_breaks_a_rule(file: Path) -> None:
    """Tries some of the values in each place, in turn."""
    (config,) = read_documents(file)
    prices = read_prices()
    for index, path in enumerate(list(places(config))):
        broken = copy.deepcopy(config)
        parent = broken
        for key in path[:-1]:
            parent = parent[key]
        for value in HOSTILE[index % 7 :: 7]:
            parent[path[-1]] = value
            check_documents([broken], prices, max_hourly_cost=1.0)
