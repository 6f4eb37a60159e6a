"""The documentation's examples work, and the pages that code and messages name exist.

Every fenced block has a language. Python blocks run, page by page, in one namespace and an empty
folder; a titled block is a file of that folder. Shell blocks are parsed by the commands' own
parsers, and those that only plan or describe run. Comments before a block: `<!-- not run: REASON
-->` means that it is only parsed, `<!-- edit FILE -->` that it replaces an assignment of a file. A
text block after a block that ran as it is written holds lines of its output.
"""

from __future__ import annotations

import ast
import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants
import pytest

from study.cli.command import OK, Command
from study.scarce import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PACKAGES = ("search_spaces", "trainables", "study")
NAMES = {name for commands in COMMANDS.values() for name in commands}

FENCE = re.compile(
    r"(?:^ *<!-- (?P<note>.*?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*) *(?P<options>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
LANGUAGES = {"python", "bash", "json", "text"}
SHIPPED_COMMAND = re.compile(r"(?:scarce |python -m study\.)(\w+)([^'`#]*)")
REFERENCE = re.compile(r"\bdocs/[\w/-]+\.md(?:#[\w-]+)?")

RUNS = {"sweep": ("--dry-run",), "plan": (), "data": ()}
"""Commands that run here -> arguments that keep them short. All others are only parsed."""

ELSEWHERE = {
    "aws": "needs an account",
    "ray": "starts machines",
    "docker": "needs a daemon",
    "hf": "needs the Hub",
    "pip": "installs packages",
    "wandb": "needs an account",
    "inspect": "needs the pip extra",
    "head": "prints a file",
    ".": "activates the environment",
    "cd": "changes the folder",
    "export": "sets a variable",
}
"""Program outside this package -> why its command lines are not tested."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    where: str
    language: str
    title: str | None
    note: str
    code: str

    @property
    def reason(self) -> str | None:
        """Why it is not run, if it is not."""
        return self.note.removeprefix("not run: ") if self.note.startswith("not run:") else None


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    return tuple(_blocks(page.read_text(encoding="utf-8"), name_of(page)))


def _blocks(text: str, name: str) -> Iterator[Block]:
    for match in FENCE.finditer(text):
        title = re.search(r'title="(.*?)"', match["options"])
        yield Block(
            where=f"{name}:{text.count(chr(10), 0, match.start('language')) + 1}",
            language=match["language"],
            title=title[1] if title else None,
            note=match["note"] or "",
            code=re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE),
        )


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def command_lines(code: str) -> list[str]:
    """Returns the lines of a shell block, continued lines joined, without comments."""
    lines = re.sub(r"\\\n\s*", " ", code).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def parse(name: str, arguments: str) -> list[str]:
    """Parses the command line of a command of this package; returns its arguments."""
    assert name in NAMES, f"no command {name!r}"
    main: Command = import_module(f"study.{name}").main
    words = shlex.split(arguments)
    main.parser(name).main(words, prog_name=name, standalone_mode=False)
    return words


def run_line(line: str, *, may_run: bool = True) -> bool:
    """Parses a line of a shell block; runs it if that is cheap and everything is at hand.

    Returns:
        Whether it ran as it is written.
    """
    program, *words = shlex.split(line, comments=True)
    shipped = [(match[1], match[2]) for match in SHIPPED_COMMAND.finditer(line)]
    for name, arguments in shipped:
        given = parse(name, arguments)
        is_complete = "://" not in line and "SPACE" not in line
        if may_run and program in ("scarce", "python") and name in RUNS and is_complete:
            added = [word for word in RUNS[name] if word not in given]
            assert import_module(f"study.{name}").main([*given, *added]) == OK, line
            return not added
    if shipped:
        return False
    if program == "python":
        runpy.run_path(words[0], run_name="__main__")
        return True
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert program.split("=")[0] in ELSEWHERE or "=$(aws " in line, f"what runs {program!r}?"
    return False


def replace_assignment(file: Path, code: str) -> None:
    """Replaces the line of a file that assigns to the same name as the code."""
    head = code.split("=")[0]
    lines = file.read_text().splitlines(keepends=True)
    assert sum(line.startswith(head) for line in lines) == 1, f"{file.name} has no {head}"
    file.write_text("".join(code if line.startswith(head) else line for line in lines))


def check_imports(code: str) -> None:
    """Checks that what a block imports from this package exists, without importing it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PACKAGES:
            spec = find_spec(str(node.module))
            assert spec is not None and spec.origin is not None, node.module
            words = set(re.findall(r"\w+", Path(spec.origin).read_text()))
            assert {alias.name for alias in node.names} <= words, ast.unparse(node)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_the_blocks_of_a_page_work(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # read at its import
    values: dict[str, object] = {"__name__": "page"}
    has_run = False
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.where}: a block of {block.language!r}"
        try:
            if block.language == "text":
                check_text(block, capsys.readouterr().out if has_run else None)
            has_run = try_block(block, tmp_path, values)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block.where}: {type(error).__name__}: {error}") from error


def check_text(block: Block, printed: str | None) -> None:
    """Checks a block of text; its lines if what printed them has run."""
    assert not SHIPPED_COMMAND.match(block.code), "a command in a block of text"
    if printed is not None:
        known = {line.rstrip() for line in printed.splitlines()} | {"...", ""}
        assert [line for line in block.code.splitlines() if line.rstrip() not in known] == []


def try_block(block: Block, folder: Path, values: dict[str, object]) -> bool:
    """Runs, writes or parses a block; returns whether it ran as it is written."""
    if block.language == "bash":
        may_run = block.reason is None
        have_run = [run_line(line, may_run=may_run) for line in command_lines(block.code)]
        return all(have_run)
    if block.language != "python":
        return False
    if block.note.startswith("edit "):
        replace_assignment(folder / block.note.removeprefix("edit "), block.code)
    elif block.title is not None:
        (folder / block.title).write_text(block.code)
        check_imports(block.code)
    elif block.reason is not None:
        assert block.reason, "a reason"
        check_imports(block.code)
    else:
        exec(compile(block.code, block.where, "exec"), values)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_can_be_parsed(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for span in re.findall(r"`([^`]+)`", text):
        match = SHIPPED_COMMAND.fullmatch(" ".join(span.split()))
        if match is None or "COMMAND" in span or "..." in span:
            continue
        if match[2].strip():
            parse(match[1], match[2])
        else:
            assert match[1] in NAMES, span


def _slugs(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    kinds = {".py", ".md", ".toml", ".yaml", ".sh", ".txt", ""}
    return [ROOT / name for name in names if os.path.splitext(name)[1] in kinds]


def test_pages_that_are_named_exist() -> None:
    sources = [path for path in _sources() if path.is_file()]
    assert len(sources) > 100
    wrong = []
    for path in sources:
        for reference in REFERENCE.findall(path.read_text(encoding="utf-8", errors="replace")):
            page, _, anchor = reference.partition("#")
            if not (ROOT / page).is_file() or (anchor and anchor not in _slugs(ROOT / page)):
                wrong.append((name_of(path), reference))
    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "scarce sweep micro --no-such-option",
        "scarce swep micro",
        "ray exec c.yaml 'ray job submit -- python -m study.sweep micro --ouut s3://b/runs'",
        "make no-such-target",
        "unknown-program --help",
    ],
)
def test_a_wrong_command_line_is_found(code: str) -> None:
    with pytest.raises(BaseException):  # noqa: B017 - typer's errors and assertions
        run_line(code)
