"""The reference of commands, made from their parsers: reference/commands.md."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.core import TyperOption

from study.cli.command import Command
from study.scarce import COMMANDS

PAGE = "reference/commands.md"
HEAD = """# Commands

`scarce COMMAND` is the same as `python -m study.COMMAND`. `SPACE` is a shipped study or
`FILE.py:FUNCTION`, and `RUN` is a study's folder, such as `runs/micro`.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    parts = [HEAD, *_table()]
    for commands in COMMANDS.values():
        for name in commands:
            parts += _section(name, import_module(f"study.{name.replace('-', '_')}").main)
    files.append(File.generated(config, PAGE, content="\n".join(parts)))
    return files


def _table() -> Iterator[str]:
    yield "| | command | purpose |\n|---|---|---|"
    for group, commands in COMMANDS.items():
        for place, (name, summary) in enumerate(commands.items()):
            yield f"| {group if place == 0 else ''} | [{name}](#{name}) | {_cell(summary)} |"


def _section(name: str, main: Command) -> Iterator[str]:
    program = f"scarce {name}"
    parser = main.parser(program)
    params: list[Any] = sorted(parser.params, key=lambda param: isinstance(param, TyperOption))
    arguments = [param for param in params if not isinstance(param, TyperOption)]
    usage = "".join(f" {_usage(param)}" for param in arguments)
    yield f"\n## {name}\n\n{parser.help}\n\n```text\n{program}{usage} [OPTIONS]\n```\n"
    if main.examples:
        lines = [f"# {purpose}\n{program} {line}" for line, purpose in main.examples.items()]
        yield "```bash\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"
    yield "| argument or option | meaning |\n|---|---|"
    for param in params:
        yield f"| {_names(param)} | {_cell(param.help or '')}{_default(param)} |"
    if main.notes:
        yield f"\n{main.notes.strip()}\n"


def _usage(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return name if param.required or name.startswith("[") else f"[{name}]"


def _names(param: Any) -> str:
    if not isinstance(param, TyperOption):
        return f"`{_usage(param)}`"
    value = "" if param.is_flag else f" {param.metavar or 'VALUE'}"
    return ", ".join(f"`{name}{value}`" for name in param.opts)


def _default(param: Any) -> str:
    if param.default in (None, False, "", ()) or callable(param.default):
        return ""
    return f" (default: `{param.default}`)"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
