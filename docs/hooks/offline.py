"""Refuses a site that loads anything from the network."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=["']?(https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*?\bhref=["']?(https?:)?//[^"'\s>]+"""
    r"""|(?:@import\s*["']|url\(["']?)(https?:)?//[^"')\s]+""",
)
"""What a browser fetches by itself; a link to click may lead outside."""


def on_post_build(config: MkDocsConfig) -> None:
    """Checks every page and style sheet.

    Raises:
        PluginError: With the address and the file of each resource from outside.
    """
    site = Path(config.site_dir)
    found = [
        f"{path.relative_to(site)}: {match[0]}"
        for path in sorted(site.rglob("*"))
        if path.suffix in {".html", ".css"}
        for match in LOADED.finditer(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise PluginError("the site loads from the network:\n" + "\n".join(found))
