"""`python -m study.cluster FILE`: checks a cluster file before it costs anything.

First Ray's own schema, then what that does not see: the spot market, the budget, who can reach the
nodes, typing errors in what the cloud is given. No cloud is asked and nothing is started.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from study.cluster_file import read_documents
from study.cluster_lint import CLOUDS, lint_cluster
from study.cluster_price import hourly_ceiling, wrong_gpus
from study.console import command
from study.dollars import dollars
from study.findings import Finding, mapping, note, problem
from study.instance_names import wrong_names
from study.kuberay_lint import is_kuberay, lint_kuberay
from study.prices import PriceTable, read_prices
from trainables.cluster_schema import schema_error

OK, BAD_INPUT = 0, 2


@command(needs_output=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    0: no problem. 1: the output could not be written. 2: the file must not be used.
    """
    options = _parser().parse_args(arguments)
    try:
        documents, findings = read_documents(options.file)
        prices = read_prices(options.prices)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    findings = findings or check_documents(
        documents, prices, max_hourly_cost=options.max_hourly_cost
    )
    for finding in findings:
        if finding.kind == "note":
            print(f"note     {finding.text}")
    problems = [finding for finding in findings if finding.kind == "problem"]
    for finding in problems:
        print(f"problem  {finding.text}", file=sys.stderr)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        print(f"{options.file}: {count}; do not start it", file=sys.stderr)
        return BAD_INPUT
    print(f"{options.file}: no problem found. No cloud was asked.")
    return OK


def check_documents(
    documents: Sequence[Mapping[str, Any]],
    prices: PriceTable,
    *,
    max_hourly_cost: float | None = None,
) -> list[Finding]:
    """Returns what is wrong with the documents of one file; see `check_cluster`.

    `ray up` reads one; a file for Kubernetes may have any number, of which KubeRay's are checked.
    """
    ours = [document for document in documents if is_kuberay(document)]
    if not ours and len(documents) > 1:
        rule = f"`ray up` reads one document, and this file has {len(documents)}"
        return [problem("(file)", rule, "take the others out (each begins after a line `---`)")]
    findings = []
    for document in ours or documents:
        found = check_cluster(document, prices, max_hourly_cost=max_hourly_cost)
        where = f"{_name(document)}: " if len(ours) > 1 else ""
        findings += [one.model_copy(update={"key": f"{where}{one.key}"}) for one in found]
    for document in documents if ours else ():
        if document and document not in ours:
            rule = f"{_name(document)} was not checked"
            findings.append(note("(file)", rule, "only documents of KubeRay are"))
    return findings


def _name(document: Mapping[str, Any]) -> str:
    name = mapping(document.get("metadata")).get("name", "without a name")
    return f"{document.get('kind', 'a document without a kind')} {name}"


def check_cluster(
    config: Mapping[str, Any], prices: PriceTable, *, max_hourly_cost: float | None = None
) -> list[Finding]:
    """Returns what is wrong with, or worth knowing of, a cluster.

    Args:
        config: Its document: a `ray up` file, or a RayJob or RayCluster of KubeRay.
        prices: What machines cost.
        max_hourly_cost: The most that the cluster may cost an hour, $; None: any price.
    """
    ray_version = version("ray")
    if is_kuberay(config):
        findings = lint_kuberay(config, ray_version=ray_version)
        advice = "set maxReplicas, and the most nodes of each pool; leave the flag out"
        return [*findings, *_no_price(max_hourly_cost, "its nodes are not in the file", advice)]
    findings = lint_cluster(config, ray_version=ray_version)
    error = schema_error(config)
    if error is not None:
        findings.insert(0, problem(error[0] or "(file)", f"Ray's schema: {error[1]}", "correct it"))
    cloud = mapping(config.get("provider")).get("type")
    if cloud not in CLOUDS:
        reason = f"no prices of {cloud!r} are known"
        return [*findings, *_no_price(max_hourly_cost, reason, "leave the flag out")]
    findings += [*wrong_names(config, prices), *wrong_gpus(config, prices)]
    return findings + _budget(config, prices, max_hourly_cost)


def _no_price(max_hourly_cost: float | None, reason: str, advice: str) -> list[Finding]:
    """Returns a problem where a ceiling was given and cannot be held."""
    if max_hourly_cost is None:
        return []
    rule = f"--max-hourly-cost {max_hourly_cost:g} cannot be checked: {reason}"
    return [problem("(file)", rule, advice)]


def _budget(
    config: Mapping[str, Any], prices: PriceTable, max_hourly_cost: float | None
) -> list[Finding]:
    hourly, unknown = hourly_ceiling(config, prices)
    findings = []
    cloud = prices.clouds.get(str(mapping(config.get("provider")).get("type")))
    if cloud is not None:
        text = f"at its largest the cluster costs about ${hourly:,.2f} an hour"
        advice = f"prices of {cloud.date} in {cloud.region}; spot prices move"
        findings.append(note("max_workers", text, advice))
    for name in sorted(set(unknown)):
        text = f"no price of {name!r} is known: the sum is without it"
        kind = note if max_hourly_cost is None else problem
        findings.append(kind("(file)", text, "give a table that has it with --prices"))
    if max_hourly_cost is not None and hourly > max_hourly_cost:
        text = f"${hourly:,.2f} an hour is more than --max-hourly-cost {max_hourly_cost:g}"
        findings.append(problem("max_workers", text, "lower max_workers, or raise the ceiling"))
    return findings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m study.cluster",
        description="Check a cluster file (`ray up`, or KubeRay) before it costs anything: Ray's "
        "schema, then spot market, budget, token, ports and typing errors. No cloud is asked.",
        epilog="exit status: 0 no problem, 1 the output could not be written, 2 problems (each "
        "with its key, its rule and what to do)",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="such as cluster.yaml")
    parser.add_argument(
        "--max-hourly-cost",
        type=dollars,
        metavar="DOLLARS",
        help="refuse a cluster that can cost more than this an hour (`ray up` files)",
    )
    parser.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="a price table in the form of study/prices.toml (default: that one)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
