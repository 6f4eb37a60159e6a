"""HTML pages from the templates of this folder. Values are escaped, and undefined ones fail."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

ENVIRONMENT = Environment(
    loader=PackageLoader("study.reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: object) -> str:
    """Returns a page.

    Args:
        template: Name of a file in `templates/`.
        values: The variables that it uses.
    """
    return ENVIRONMENT.get_template(template).render(values)


def script_json(value: Any) -> str:
    """Returns JSON for a script element; no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
