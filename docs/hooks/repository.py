"""Pages for the files outside docs/ that pages link to, and links that lead to them.

A page of docs/ links to a file of the repository by its relative path, as on a code host. In the
site such a link leads to a generated page: a Markdown file is rendered, any other shown as code.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = "docs/"
ROOT_PAGES = {
    "ARCHITECTURE.md": "design/architecture.md",
    "CHANGELOG.md": "design/changelog.md",
    "CONTRIBUTING.md": "design/contributing.md",
    "SECURITY.md": "design/security.md",
}
"""Pages of the repository's root that are in the navigation, by their place in the site."""
LINK = re.compile(r"(?<=\]\()(?!#|[a-z]+:)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2$", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".sh": "bash", ".csv": "text"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, and a page for every other file that a page links to."""
    added = {}
    waiting = [f"{DOCS}{file.src_uri}" for file in files.documentation_pages()] + [*ROOT_PAGES]
    while waiting:
        path = waiting.pop()
        if not path.startswith(DOCS):
            added[path] = _generated(path, config)
            files.append(added[path])
        if path.endswith(".md"):
            linked = {target for target in _targets(path) if not target.startswith(DOCS)}
            waiting += sorted(linked - {*added, *waiting})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the repository into links between pages of the site."""
    source = _repository_path(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def replaced(match: re.Match[str]) -> str:
        target = _resolve(source, match[1])
        return posixpath.relpath(_site_path(target), here or ".") + (match[2] or "")

    return _outside_fences(markdown, lambda text: LINK.sub(replaced, text))


def _generated(path: str, config: MkDocsConfig) -> File:
    file = ROOT / path
    if not file.is_file():
        raise PluginError(f"a page links to {path}, which is not a file of the repository")
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".md":
        language = LANGUAGES.get(file.suffix, "text")
        text = f"# {path}\n\n````{language}\n{text}\n````\n"
    if path not in ROOT_PAGES:
        text = f"---\nsearch:\n  exclude: true\n---\n{text}"
    return File.generated(config, _site_path(path), content=text)


def _targets(path: str) -> Iterator[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    for match in LINK.finditer(FENCE.sub("", text)):
        yield _resolve(path, match[1])


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def _resolve(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _site_path(path: str) -> str:
    """Returns where a file of the repository is in the site."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    known = ROOT_PAGES.get(path)
    return known or f"source/{path.removesuffix('.md')}.md"


def _repository_path(src_uri: str) -> str:
    """Inverse of `_site_path`."""
    for path, site in ROOT_PAGES.items():
        if site == src_uri:
            return path
    if src_uri.startswith("source/"):
        path = src_uri.removeprefix("source/").removesuffix(".md")
        return path if (ROOT / path).is_file() else f"{path}.md"
    return f"{DOCS}{src_uri}"
