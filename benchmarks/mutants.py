"""Do the tests notice a fault? Plants small ones in the core, one at a time, and runs its tests.

Run from the repository root: `make mutants`, or `python -m benchmarks.mutants MODULE...` for some
modules. Cosmic Ray makes the mutants: a comparison, sign, number, boolean or loop is changed. Each
runs the test files of `mutants.toml` in a forked process of its own that has the slow libraries
loaded already; the tree's files are never written. Results are kept under `runs/mutants`, a file a
module. A mutant runs again where its module changed, a survivor also where a test file changed;
`make clean` forgets all.

Not planted: faults in annotations, decorators, docstrings, the marks `*` and `/` of parameters and
`zip(..., strict=True)`, which change no number. A module with more mutants than `sample` is
represented by those whose hashes come first, so a sample is the same on every machine.
`docs/design/mutants.md` explains the survivors.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import json
import os
import re
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

import hypothesis
import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

CONFIG = Path(__file__).with_suffix(".toml")
OUTPUT = Path("runs/mutants")
OPERATORS = re.compile(
    r"core/(NumberReplacer|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr"
    r"|ReplaceOrWithAnd|AddNot|ReplaceBreakWithContinue|ReplaceContinueWithBreak"
    r"|ZeroIterationForLoop|ReplaceUnaryOperator_(Delete_Not|USub_UAdd|Delete_USub)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE"
    r"|GtE_Gt|GtE_Lt|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Div|Mod_Mul|Pow_Mul"
    r"|BitOr_BitAnd|BitAnd_BitOr|MatMul_Mul))"
)
KILLED, SURVIVED, TIMED_OUT = "killed", "survived", "timed out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One planted fault."""

    line: int
    """In the module, from 1."""
    before: str
    after: str
    source: str
    """Of the whole module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the tests made of one mutant."""

    line: int
    before: str
    after: str
    outcome: str


class _Bare(ast.NodeTransformer):
    """Drops what no number depends on."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns, node.decorator_list = None, []
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list = []
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        self.generic_visit(node)
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults += [default for default in node.kw_defaults if default is not None]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant(value=None)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "strict"]
        return node


def mutants_of(source: str) -> list[Mutant]:
    """Returns the mutants of a module that may change a number, in the order of their hashes."""
    original = _bare(source)
    found: dict[str, Mutant] = {}
    for name in sorted(filter(OPERATORS.fullmatch, operator_names())):
        for text in _mutated(source, name):
            if text not in found and _bare(text) not in (original, None):
                found[text] = _mutant(source, text)
    return sorted(found.values(), key=lambda mutant: _hash(mutant.source))


def _mutated(source: str, operator: str) -> Iterator[str]:
    place = 0
    while (text := mutate_code(source, get_operator(operator)(), place)) is not None:
        yield text
        place += 1


def _mutant(source: str, text: str) -> Mutant:
    pairs = zip(source.splitlines(), text.splitlines(), strict=True)
    number, (before, after) = next(
        (number, pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]
    )
    return Mutant(line=number, before=before.strip(), after=after.strip(), source=text)


def _bare(source: str) -> str | None:
    """Returns the tree without what no number depends on; None where the text does not parse."""
    try:
        return ast.dump(_Bare().visit(ast.parse(source)))
    except SyntaxError:
        return None


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def test(module: Path, tests: Sequence[str], sample: int) -> list[Outcome]:
    """Returns what the tests made of the module's mutants; results are kept as they come.

    Raises:
        RuntimeError: If the tests fail without any mutant.
    """
    source = module.read_text()
    chosen = mutants_of(source)[:sample]
    path = OUTPUT / f"{'.'.join(module.with_suffix('').parts)}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    tests_hash = _hash(*(Path(name.partition("::")[0]).read_text() for name in tests))
    limit: float | None = None
    outcomes = {}
    for mutant in chosen:
        key = _hash(mutant.source)
        row = kept.get(key, {})
        if row.get("outcome") == SURVIVED and row["tests"] != tests_hash:
            row = {}
        if not row:
            limit = limit or _time_limit(tuple(tests))
            status = _run(module, mutant.source, tests, limit)
            found = {None: TIMED_OUT, ALL_PASSED: SURVIVED}.get(status, KILLED)
            row = kept[key] = {"outcome": found, "tests": tests_hash}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(kept, indent=1))
        outcomes[mutant] = row["outcome"]
    return [
        Outcome(line=mutant.line, before=mutant.before, after=mutant.after, outcome=outcome)
        for mutant, outcome in outcomes.items()
    ]


@functools.cache
def _time_limit(tests: tuple[str, ...]) -> float:
    """Returns the seconds that a mutant has, after how long its tests take without one."""
    started = time.monotonic()
    if _run(None, "", tests, None) != ALL_PASSED:
        raise RuntimeError(f"{' '.join(tests)} fail without a mutant")
    return 10 + 3 * (time.monotonic() - started)


ALL_PASSED = 0
"""pytest's exit status where all tests passed."""


def _run(module: Path | None, source: str, tests: Sequence[str], limit: float | None) -> int | None:
    """Returns pytest's exit status with a module's text replaced; None where it took too long."""
    child = os.fork()
    if child == 0:
        os.setsid()
        status = 3
        with contextlib.suppress(BaseException):
            if module is not None:
                _replace(module, source)
            _be_silent()
            _be_quick()
            status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        os._exit(status)
    deadline = None if limit is None else time.monotonic() + limit
    while deadline is None or time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _replace(module: Path, source: str) -> None:
    """Lets this process import the text in the module's place."""
    original = importlib.machinery.SourceFileLoader.get_code
    path = str(module.resolve())

    def get_code(self: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        if os.path.realpath(self.path) == path:
            return compile(source, path, "exec")
        return original(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def _be_silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _be_quick() -> None:
    """Lets hypothesis draw the same examples for every mutant, and stop at the first that fails."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutants")


def table(results: Mapping[str, Sequence[Outcome]]) -> str:
    """Returns killed and survived mutants a module, and the survivors, as Markdown."""
    rows = ["| Module | Mutants | Killed | Survived | Killed, % |", "|---|--:|--:|--:|--:|"]
    listed = []
    for name, outcomes in results.items():
        survivors = [outcome for outcome in outcomes if outcome.outcome == SURVIVED]
        rows.append(_row(f"`{name}`", len(outcomes), len(survivors)))
        listed += [f"- `{name}:{s.line}`: `{s.before}` -> `{s.after}`" for s in survivors]
    number = sum(map(len, results.values()))
    rows.append(_row("**all**", number, len(listed)))
    return "\n".join([*rows, "", *listed])


def _row(name: str, number: int, survived: int) -> str:
    share = 100 * (1 - survived / number) if number else 100
    return f"| {name} | {number} | {number - survived} | {survived} | {share:.0f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the mutants of the modules asked for; 1 where too few of them are killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="files; none: all")
    parser.add_argument("--sample", type=int, help="mutants a module, in place of the config's")
    options = parser.parse_args(arguments)
    config = tomllib.loads(CONFIG.read_text())
    parts = {name: part for part in config["part"] for name in part["modules"]}
    asked = options.modules or list(parts)
    if unknown := sorted(set(asked) - set(parts)):
        parser.error(f"not in {CONFIG.name}: {', '.join(unknown)}")
    results: dict[str, list[Outcome]] = {}
    for name in asked:
        for library in parts[name]["preload"]:
            importlib.import_module(library)
        sample = options.sample or config["sample"]
        results[name] = test(Path(name), parts[name]["tests"], sample)
        killed = sum(outcome.outcome != SURVIVED for outcome in results[name])
        print(f"{name}: {killed} of {len(results[name])} killed", file=sys.stderr, flush=True)
    print(table(results))
    every = [outcome for outcomes in results.values() for outcome in outcomes]
    killed = sum(outcome.outcome != SURVIVED for outcome in every)
    return 0 if killed >= config["least_killed"] * len(every) else 1


if __name__ == "__main__":
    sys.exit(main())
