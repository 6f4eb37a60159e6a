"""The shipped cluster files, and the linter's problems with a changed copy."""

from __future__ import annotations

from pathlib import Path

from study.cluster import check_documents, read_documents
from study.cost.prices import read_prices

ROOT = Path(__file__).parents[3]
AWS, GCP = ROOT / "cluster.yaml", ROOT / "deploy/cluster-gcp.yaml"
KUBERAY = ROOT / "deploy/rayjob.yaml"


def problems(file: Path) -> list[str]:
    """Returns the problems of a file as they are printed."""
    findings = check_documents(read_documents(file), read_prices())
    return [f"{finding.key}: {finding.text}" for finding in findings if not finding.is_note]


def changed(file: Path, folder: Path, old: str, new: str, *, count: int = 1) -> Path:
    """Returns a copy of a file with a text replaced; a count of -1 replaces every occurrence."""
    text = file.read_text()
    assert old in text
    copy = folder / file.name
    copy.write_text(text.replace(old, new, count))
    return copy
