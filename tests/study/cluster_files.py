"""The shipped cluster files, and what the check says of one that was changed."""

from __future__ import annotations

from pathlib import Path

from study.cluster import check_documents
from study.cluster_file import read_documents
from study.prices import read_prices

ROOT = Path(__file__).parents[2]
AWS, GCP, KUBERAY = (
    ROOT / "cluster.yaml",
    ROOT / "deploy/cluster-gcp.yaml",
    ROOT / "deploy/rayjob.yaml",
)


def problems(file: Path) -> list[str]:
    """Returns the problems of a file, as they are printed."""
    documents, findings = read_documents(file)
    findings = findings or check_documents(documents, read_prices())
    return [finding.text for finding in findings if finding.kind == "problem"]


def changed(file: Path, folder: Path, old: str, new: str, *, every: bool = False) -> Path:
    """Returns a copy of a file with a text replaced, once or every time."""
    text = file.read_text()
    assert old in text
    copy = folder / file.name
    copy.write_text(text.replace(old, new) if every else text.replace(old, new, 1))
    return copy
