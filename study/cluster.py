"""`python -m study.cluster FILE`: checks a cluster file before you start the cluster.

Validates it with Ray's schema, then checks the policy: spot market, scaling, price, access. No
cloud is contacted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from study.cli import options
from study.cli.command import BAD_INPUT, OK, checking_input, command
from study.cluster_lint.findings import Finding, part_at
from study.cluster_lint.kuberay_rules import is_kuberay, lint_kuberay
from study.cluster_lint.rules import lint_ray_up
from study.cost.prices import PriceTable, read_prices


@command(
    examples={
        "cluster.yaml": "Check a cluster file.",
        "cluster.yaml --max-hourly-cost 40": "Also reject it above $40 per hour.",
    },
)
def main(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="such as cluster.yaml")],
    max_hourly_cost: Annotated[
        float | None,
        typer.Option(
            "--max-hourly-cost",
            metavar="DOLLARS",
            parser=options.dollars,
            help="reject a cluster that can cost more than this per hour (`ray up` files)",
        ),
    ] = None,
    prices: options.Prices = None,
) -> int:
    """Checks a cluster file (`ray up` or KubeRay) before you start it.

    Validates it with Ray's schema, then checks spot market, scaling, price, token and ports.
    No cloud is contacted.

    Exit status: 0 no problem, 1 the output could not be written, 2 problems (each with its key and
    its fix).
    """
    with checking_input():
        documents = read_documents(file)
        table = read_prices(prices)
    findings = check_documents(documents, table, max_hourly_cost=max_hourly_cost)
    problems = [finding for finding in findings if not finding.is_note]
    for finding in findings:
        if finding.is_note:
            print(f"note     {finding.key}: {finding.text}")
    for finding in problems:
        print(f"problem  {finding.key}: {finding.text}", file=sys.stderr)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        print(f"{file}: {count}; do not start it", file=sys.stderr)
        return BAD_INPUT
    print(f"{file}: no problem found. No cloud was contacted.")
    return OK


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Returns the non-empty documents of a cluster file.

    Raises:
        ValueError: If it cannot be read, or its documents are not YAML mappings.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        # PyYAML also raises builtin errors for values that do not fit their tag.
        raise ValueError(f"{path} is not YAML: {type(error).__name__}: {error}") from error
    for document in documents or [None]:
        if not isinstance(document, dict) and (document is not None or len(documents) < 2):
            name = type(document).__name__
            raise ValueError(f"{path} must be a YAML mapping of keys, got {name}")
    return [document for document in documents if document]


def check_documents(
    documents: Sequence[Mapping[str, Any]],
    prices: PriceTable,
    *,
    max_hourly_cost: float | None = None,
) -> list[Finding]:
    """Returns the problems and notes of one file's documents.

    `ray up` reads a single document. A Kubernetes file may have several; only those of KubeRay are
    checked.

    Args:
        documents: The content of the file.
        prices: Prices of machines.
        max_hourly_cost: Maximum cost of a `ray up` cluster, $ per hour; None: no limit.
    """
    ours = [document for document in documents if is_kuberay(document)]
    if not ours and len(documents) != 1:
        text = f"`ray up` reads one document, and this file has {len(documents)}"
        return [Finding("(file)", f"{text}: remove the others (each begins after a line `---`)")]
    if not ours:
        return lint_ray_up(documents[0], prices, max_hourly_cost=max_hourly_cost)
    findings = []
    for document in documents:
        if document not in ours:
            text = f"{_name(document)} was not checked: it is not a document of KubeRay"
            findings.append(Finding("(file)", text, is_note=True))
            continue
        where = f"{_name(document)}: " if len(ours) > 1 else ""
        findings += [replace(one, key=f"{where}{one.key}") for one in lint_kuberay(document)]
    if max_hourly_cost is not None:
        text = f"--max-hourly-cost {max_hourly_cost:g} cannot be checked: the file does not name "
        text += "the machines; leave the flag out, and limit maxReplicas and the node pools"
        findings.append(Finding("(file)", text))
    return findings


def _name(document: Mapping[str, Any]) -> str:
    name = part_at(document, "metadata").get("name", "without a name")
    return f"{document.get('kind', 'a document without a kind')} {name}"


if __name__ == "__main__":
    sys.exit(main())
