"""The files around the code agree: versions, Pythons, extras, CI, citation, issue forms."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from study.doctor import CONSTRAINTS, pinned_versions

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_stated_pythons_are_those_of_metadata_makefile_and_workflow() -> None:
    stated = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert stated == list(PYTHONS)
    admitted = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{n}" for n in range(8, 16) if f"3.{n}.0" in admitted] == stated
    assert "(3, 11) <= sys.version_info < (3, 14)" in text_of("Makefile")
    jobs = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == stated


REMOVED = {
    *("asynchat", "asyncore", "distutils", "imp", "smtpd"),  # in 3.12
    *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "nis"),
    *("nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"),
}
"""Modules of the standard library that a stated Python lacks."""


@pytest.mark.parametrize("folder", ["search_spaces", "trainables", "study", "tests", "benchmarks"])
def test_every_file_has_the_syntax_of_the_oldest_python(folder: str) -> None:
    oldest = tuple(map(int, PYTHONS[0].split(".")))
    for path in (ROOT / folder).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=oldest)
        names = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not names & REMOVED, path


PATCH = 9
"""Of each stated Python; some packages refuse the first patch releases."""


def test_every_pinned_package_declares_support_of_every_stated_python() -> None:
    refused = {
        name: declared
        for name in pinned_versions(CONSTRAINTS.read_text("utf-8"))
        if (declared := declared_pythons(name)) is not None
        and not all(f"{python}.{PATCH}" in SpecifierSet(declared) for python in PYTHONS)
    }
    assert refused == {}


def declared_pythons(name: str) -> str | None:
    """Returns what an installed package declares; None if it is not installed or does not say."""
    try:
        return metadata(name).get("Requires-Python")
    except PackageNotFoundError:
        return None


def test_one_version_everywhere() -> None:
    version = PROJECT["version"]
    assert yaml.safe_load(text_of("CITATION.cff"))["version"] == version
    assert re.findall(r"^## \[(.*?)\]", text_of("CHANGELOG.md"), re.MULTILINE)[0] == version
    assert set(re.findall(r"scarce-labels:(\S+)", text_of("deploy/Dockerfile"))) <= {
        version,
        version + ".",
    }


def test_the_changelog_has_dated_releases_and_known_kinds_of_changes() -> None:
    changelog = text_of("CHANGELOG.md")
    releases = re.findall(r"^## .*$", changelog, re.MULTILINE)
    pattern = r"## \[\d+\.\d+\.\d+\] - (unreleased|\d{4}-\d{2}-\d{2})"
    assert releases and all(re.fullmatch(pattern, line) for line in releases)
    kinds = re.findall(r"^### (.*)$", changelog, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_names_the_project_and_the_papers() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["authors"] == [{"name": "Scarce Labels developers"}] == PROJECT["authors"]
    papers = [reference["url"] for reference in citation["references"]]
    assert papers == ["https://arxiv.org/abs/2401.06751", "https://arxiv.org/abs/2409.06903"]
    assert {"cff-version", "message", "title", "license"} <= set(citation)


def test_the_workflow_calls_the_targets_of_ci_with_pinned_actions() -> None:
    workflow = text_of(".github/workflows/ci.yml")
    targets = re.findall(r"^make (\S+)$", text_of(".ci/run"), re.MULTILINE)
    assert re.findall(r"run: make (\S+)", workflow) == targets
    actions = re.findall(r"uses: (.*)", workflow)
    assert actions
    for action in actions:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.parametrize(
    ("extra", "file"), [("aws", "cluster.yaml"), ("gcp", "deploy/cluster-gcp.yaml")]
)
def test_an_extra_is_what_the_head_of_its_cluster_installs(extra: str, file: str) -> None:
    commands = [line for line in text_of(file).splitlines() if "pip install --quiet '" in line]
    assert [re.findall(r"'(.*?)'", line) for line in commands] == [
        PROJECT["optional-dependencies"][extra]
    ]


@pytest.mark.parametrize("form", [form for form in FORMS if form.stem != "config"], ids=str)
def test_an_issue_form_asks_questions(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert content["name"] and content["description"]
    ids = [field["id"] for field in content["body"]]
    assert ids and len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in content["body"])
