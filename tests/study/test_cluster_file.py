"""Cluster files that are hostile or broken: each is refused with its reason."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.cluster import BAD_INPUT, check_cluster, main
from study.cluster_file import read_documents
from study.cluster_lint import lint_cluster
from study.cluster_price import hourly_ceiling
from study.instance_names import wrong_names
from study.kuberay_lint import lint_kuberay
from study.prices import read_prices
from tests.study.cluster_files import AWS, GCP, KUBERAY, changed, problems

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)

UNREADABLE = {
    "half a list": ("a: [", "is not YAML"),
    "no mapping": ("- a", "must be a YAML mapping"),
    "nothing": ("", "must be a YAML mapping"),
    "several, one of them no mapping": ("a: 1\n---\n- a", "must be a YAML mapping"),
    "tag that does not fit": ("a: !!timestamp x", "is not YAML"),
    "code": ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
    "day that is none": ("a: 2024-13-45", "is not YAML"),
    "very deep": ("a: " + "[" * 5000, "is not YAML"),
    "list as a key": ("? [a, b]\n: 1", "a key must be text, got a seq at line 1"),
    "key twice": ("a: 1\nb: {c: 1, c: 2}", "b: c stands twice in a mapping (line 2)"),
    "infinite": ("max_workers: .inf", "max_workers: a number must be finite"),
    "no number": ("a:\n- {b: .nan}", "a.0.b: a number must be finite"),
    "overflow": ("a: 1.0e+999", "a: a number must be finite"),
    "very large": ("a: " + "9" * 5000, "a: a number must be finite and below 2^63"),
    "holds itself": ("docker: &d {x: *d}", "docker.x: the anchor at line 1 holds itself"),
    "merges itself": ("docker: &d {<<: *d}", "docker.<<: the anchor at line 1 holds itself"),
    "day as a key": ("a: {2024-01-02: x}", "a: a key must be text, got a timestamp at line 1"),
    "truth as a key": ("on: x", "(file): a key must be text, got a bool at line 1"),
    "aliases of aliases": (BOMB, "more than 100000 values"),
    "merges of merges": (BOMB.replace("x", "{x: y}").replace("[", "{<<: [").replace("]", "]}"),
                         "more than 100000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_unusable_file_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = UNREADABLE[name]
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    assert main([str(file)]) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    assert main([str(tmp_path / "none.yaml")]) == BAD_INPUT
    (tmp_path / "cluster.yaml").write_bytes(b"\xff\xfe\x00")
    assert main([str(tmp_path / "cluster.yaml")]) == BAD_INPUT


def test_merge_keys_may_be_nested(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "a: &a {x: 1, y: 1}\nb: &b\n  <<: *a\n  x: 2\nc:\n  <<: *b\n  x: 3\nd: [*b, *b]\n"
    )
    (found,), findings = read_documents(file)
    assert findings == []
    assert found["c"] == {"x": 3, "y": 1} and found["d"] == [{"x": 2, "y": 1}] * 2


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"provider": None},
        {"provider": {"type": "aws"}, "available_node_types": []},
        {"provider": {"type": "aws"}, "available_node_types": {"head": None}, "docker": 3},
        {"provider": {"type": "gcp"}, "head_node_type": "h", "available_node_types": {"h": {}}},
        {"kind": "RayJob", "spec": None},
        {"kind": "RayCluster", "spec": {"workerGroupSpecs": {"a": 1}, "headGroupSpec": []}},
    ],
)
def test_no_shape_of_a_file_breaks_the_check(content: dict[str, Any]) -> None:
    findings = check_cluster(content, read_prices())
    assert any(finding.kind == "problem" for finding in findings)


HOSTILE: tuple[Any, ...] = (
    None, math.inf, math.nan, -1, 10**400, True, "", "\x00", "é" * 9, [], {}, [[]], ["'"], [None],
    {"a": {"b": ["c"]}}, [{"a": 1}], datetime.date(2024, 1, 2), b"x", {1},
)  # fmt: skip


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields where every value of a file stands."""
    if not isinstance(part, dict | list):
        return
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.parametrize("file", [AWS, GCP, KUBERAY], ids=lambda file: file.name)
def test_no_value_in_any_place_breaks_a_rule(file: Path) -> None:
    """Some of the values in each place, in turn; Ray's own check is slow and left out."""
    (config,), _ = read_documents(file)
    prices = read_prices()
    for tried, path in enumerate(list(places(config))):
        broken = copy.deepcopy(config)
        parent = broken
        for key in path[:-1]:
            parent = parent[key]
        for value in HOSTILE[tried % 7 :: 7]:
            parent[path[-1]] = value
            if file == KUBERAY:
                lint_kuberay(broken, ray_version="2.60.0")
                continue
            lint_cluster(broken, ray_version="2.60.0")
            list(wrong_names(broken, prices))
            hourly_ceiling(broken, prices)


@pytest.mark.parametrize("value", ["[spot]", "{a: spot}"])
def test_part_where_a_word_belongs_is_a_problem(value: str, tmp_path: Path) -> None:
    file = changed(AWS, tmp_path, "{MarketType: spot}", f"{{MarketType: {value}}}")
    assert any("InstanceMarketOptions.MarketType: it takes" in text for text in problems(file))
