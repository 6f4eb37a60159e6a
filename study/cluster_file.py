"""Reads a cluster file: safe YAML, and what YAML lets through that no cluster file may hold.

The faults are looked for in the tree that YAML composes, before any value is made of it: an alias
that holds itself, or one of aliases of aliases, would be endless work afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from study.findings import Finding, problem

MOST_VALUES = 100_000
"""No cluster file holds more, with its aliases written out."""

LARGEST = 2**63
"""Whole numbers are below it."""

STUMBLES = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)
"""What YAML's own reader raises over a value with a tag that does not fit, or one too deep."""


def read_documents(path: Path) -> tuple[tuple[dict[str, Any], ...], list[Finding]]:
    """Returns the documents of a cluster file, an empty one as an empty mapping, and its faults.

    Where there is a fault no document is returned: the rules could not rely on it.

    Raises:
        ValueError: If it cannot be read, or is not YAML mappings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    try:
        documents, findings = _load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    except STUMBLES as error:
        raise ValueError(f"{path} is not YAML: {type(error).__name__}: {error}") from error
    if findings:
        return (), findings
    if len(documents) > 1:
        documents = [{} if document is None else document for document in documents]
    for document in documents or [None]:
        if not isinstance(document, dict):
            name = type(document).__name__
            raise ValueError(f"{path} must be a YAML mapping of keys, got {name}")
    return tuple(documents), []


def _load(text: str) -> tuple[list[Any], list[Finding]]:
    loader = yaml.SafeLoader(text)
    documents: list[Any] = []
    findings: list[Finding] = []
    while loader.check_node():
        node = loader.get_node()
        check = _Tree(loader=loader)
        if check.size(node, "") > MOST_VALUES:
            rule = f"with its aliases written out it has more than {MOST_VALUES} values"
            check.findings.append(problem("(file)", rule, "write less by aliases"))
        findings += check.findings
        if not findings:
            documents.append(loader.construct_document(node))
    return documents, findings


@dataclass(kw_only=True, slots=True)
class _Tree:
    """One document as YAML composes it; an alias is the node of its anchor."""

    loader: yaml.SafeLoader
    findings: list[Finding] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    """The nodes around the one that is looked at."""

    def size(self, node: Any, key: str) -> int:
        """Returns how many values a node holds, aliases written out, and notes its faults."""
        if id(node) in self.inside:
            rule = f"the anchor at line {_line(node)} holds itself"
            self.findings.append(problem(key or "(file)", rule, "take the alias out"))
            return 1
        if id(node) not in self.sizes:
            self.inside.add(id(node))
            self.sizes[id(node)] = 1 + sum(self.size(*part) for part in self._parts(node, key))
            self.inside.remove(id(node))
        return self.sizes[id(node)]

    def _parts(self, node: Any, key: str) -> Iterator[tuple[Any, str]]:
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node, key)
            for name, value in node.value:
                text = name.value if isinstance(name, yaml.ScalarNode) else "?"
                yield value, f"{key}.{text}" if key else text
        elif isinstance(node, yaml.SequenceNode):
            yield from ((value, f"{key}.{index}") for index, value in enumerate(node.value))
        elif not self._is_usable(node):
            rule = f"a number must be finite and below 2^63, got {node.value[:40]}"
            self.findings.append(problem(key or "(file)", rule, "give the number that is meant"))

    def _check_keys(self, node: yaml.MappingNode, key: str) -> None:
        seen = set()
        for name, _ in node.value:
            kind = name.tag.rpartition(":")[2]
            if kind not in ("str", "merge"):
                rule = f"a key must be text, got a {kind} at line {_line(name)}"
                self.findings.append(problem(key or "(file)", rule, "put it into quotes"))
            elif kind == "str" and name.value in seen:
                rule = f"{name.value} stands twice in a mapping (line {_line(name)})"
                advice = "keep one: YAML would keep the last one without a word"
                self.findings.append(problem(key or "(file)", rule, advice))
            elif kind == "str":
                seen.add(name.value)

    def _is_usable(self, node: yaml.ScalarNode) -> bool:
        """Says whether a scalar is no number, or one to reckon with."""
        if node.tag == "tag:yaml.org,2002:float":
            return math.isfinite(self.loader.construct_yaml_float(node))
        if node.tag == "tag:yaml.org,2002:int":
            return len(node.value) < 80 and abs(self.loader.construct_yaml_int(node)) < LARGEST
        return True


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
