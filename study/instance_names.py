"""Names of a cloud's machine types: a typing error told from a type that has no price here.

A cloud has hundreds of types and the price table a few, so a name that is not in it is no fault by
itself. It is one where it does not have the form of the cloud's names, or has another cloud's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.findings import Finding, problem
from study.node_types import head_and_workers
from study.prices import PriceTable

_AWS_SIZE = r"(nano|micro|small|medium|large|([1-9]\d*)?xlarge|metal(-\d+xl)?)"
_AWS_FAMILY = r"([acdfghimprtxz]|dl|hpc|im|inf|is|mac|trn|vt|u|u-\d+tb)\d[a-z0-9]*(-[a-z0-9]+)?"
_GCP_KIND = r"((high|mega|ultra|edge)gpu-[1-9]\d*g|(standard|highmem|highcpu|ultramem|megamem|"
_GCP_KIND += r"hypermem|custom)-[1-9]\d*(-[1-9]\d*)?|micro|small|medium)"

FORMS = {
    "aws": re.compile(rf"{_AWS_FAMILY}\.{_AWS_SIZE}"),
    "gcp": re.compile(rf"([a-z]\d[a-z]?-{_GCP_KIND}(-ext|-lssd|-metal|-nolssd)*|custom-\d+-\d+)"),
}
"""What the names of a cloud's machine types look like: family and size."""


def wrong_names(config: Mapping[str, Any], prices: PriceTable) -> Iterator[Finding]:
    """Yields the node types whose machine is none of the cloud of the file."""
    head, workers = head_and_workers(config)
    for node in workers if head is None else (head, *workers):
        name, known = node.instance, prices.instances
        if name is None or (name in known and known[name].cloud == node.cloud):
            continue
        key = node.key(
            "node_config.InstanceType" if node.cloud == "aws" else "node_config.machineType"
        )
        if name in known:
            rule = f"{name} is a machine of {known[name].cloud}, this file is for {node.cloud}"
            yield problem(key, rule, f"name a machine type of {node.cloud}")
            continue
        of_cloud = [other for other in known if known[other].cloud == node.cloud]
        fault = name_fault(name, node.cloud, of_cloud)
        if fault is not None:
            yield problem(key, *fault)


def name_fault(name: str, cloud: str, known: Sequence[str]) -> tuple[str, str] | None:
    """Returns what is wrong with a name that is not in the price table, and what to do.

    Args:
        name: As the file has it.
        cloud: `aws` or `gcp`.
        known: The names of this cloud in the price table.

    Returns:
        The rule and the advice; None where it may be a type of the cloud.
    """
    if FORMS[cloud].fullmatch(name):
        return None
    others = [other for other, form in FORMS.items() if form.fullmatch(name)]
    if others:
        return f"{name!r} is the name of a machine of {others[0]}", f"name one of {cloud}"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if not close:
        return None
    advice = f"did you mean {close[0]}? A new type can be added to a table for --prices"
    return f"{cloud} has no machine type {name!r}", advice
