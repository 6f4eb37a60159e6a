"""HTML pages from the templates of this folder. Values are escaped, and undefined ones fail."""

from __future__ import annotations

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
