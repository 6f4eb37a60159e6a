"""The vendored charting library, with its licences."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


@cache
def scripts() -> str:
    """Returns the library as one script, each part after its licence.

    Its files are in `study/reporting/vendor`, where vendored.toml states versions and checksums.
    """
    folder = files("study.reporting") / "vendor"
    parts = []
    for name, part in tomllib.loads((folder / "vendored.toml").read_text("utf-8")).items():
        licences = [(folder / file).read_text("utf-8") for file in part["licence_files"]]
        notice = "\n".join((f"{name} {part['version']}, {part['source']}", *licences))
        parts += [f"/*! {notice}*/", (folder / part["file"]).read_text("utf-8")]
    return "\n".join(parts).replace("</script", "<\\/script")
