"""Addresses of run folders: which are accepted. Pure.

Addresses are printed, stored in plans and passed to workers, so they must not contain secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
"""Bucket names that S3 or Cloud Storage allow (without long domain names)."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": ("endpoint_override", "region", "scheme", "tls_ca_dir_path", "tls_ca_file_path"),
    "gs": ("endpoint_override", "project_id", "retry_limit_seconds", "scheme"),
}
"""Arrow's options without secrets that may follow the `?` of a bucket's address, by scheme."""

OPTION_NAME = re.compile(r"[a-z_]{1,40}")
"""An option name that messages may repeat; anything else may be a secret without its name."""

OPTION_VALUE = re.compile(r"[A-Za-z0-9._~:/\[\]-]+")
"""Hosts, ports, regions and paths. Without `@`, because a key may precede it in an endpoint."""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/*)(.*)", re.DOTALL)

SPELLINGS: Mapping[str, str] = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs"}
"""Schemes of other tools for a bucket, with ours."""


def split_options(root: str) -> tuple[str, str, str]:
    """Splits an address into path, `?` and options; a local path has no options."""
    return (root, "", "") if is_local(root) else root.partition("?")


def fault_of(root: str) -> str | None:
    """Returns why a bucket's address is refused, without repeating possible secrets; else None.

    Args:
        root: An address with a scheme.
    """
    address, _, options = split_options(root)
    scheme, _, path = address.partition("://")
    if scheme not in OPTIONS or not path.strip("/"):
        return _fault_of_scheme(address)
    bucket, _, folder = path.partition("/")
    if "@" in path:
        return (
            f"a {scheme}:// address must not contain keys (something@...), because it is printed "
            "and stored. Pass keys as to the cloud's own tools (environment, role)."
        )
    if not BUCKET.fullmatch(bucket):
        return f"{bucket!r} is not a bucket name: 3 to 63 lower-case letters, digits, '-', '_', '.'"
    if ".." in folder.split("/"):
        return f"a folder of a bucket must not contain '..', got {folder!r}"
    return _fault_of_options(scheme, options)


def is_local(root: str) -> bool:
    """Returns whether an address is a local path.

    A path may contain a colon (`runs/12:30`, `./s3:/b`), but a root that begins like `s3:b` or
    `any:/` is a mistyped address.
    """
    match = SCHEME.fullmatch(root)
    return match is None or not (match[2] or match[1].lower() in {*SPELLINGS, "file"})


def _fault_of_scheme(address: str) -> str:
    """Returns why an address with an unknown scheme, or without a bucket, is refused."""
    rule = "a run folder is a local path, s3://bucket/folder or gs://bucket/folder"
    if "@" in address:
        return f"{rule}, got something@..."
    guess = _guess(address)
    return f"{rule}, got {address!r}" + (f": did you mean {guess!r}?" if guess else "")


def _guess(address: str) -> str | None:
    match = SCHEME.fullmatch(address)
    if match is None or not match[3]:
        return None
    scheme, slashes, path = match[1].lower(), match[2], match[3]
    if scheme in SPELLINGS:
        return f"{SPELLINGS[scheme]}://{path}"
    if scheme == "file":
        return f"{slashes[:1]}{path}"
    host, _, folder = path.partition("/")
    if scheme in ("http", "https") and folder:
        return f"s3://{folder}?endpoint_override={host}&scheme={scheme}"
    return None


def _fault_of_options(scheme: str, options: str) -> str | None:
    for name, value in parse_qsl(options, keep_blank_values=True):
        if name not in OPTIONS[scheme]:
            return (
                f"unknown option {name if OPTION_NAME.fullmatch(name) else '(something)'!r} in a "
                f"{scheme}:// address; known ones: {', '.join(OPTIONS[scheme])}. Pass keys as to "
                "the cloud's own tools (environment, role): addresses are printed and stored."
            )
        if not OPTION_VALUE.fullmatch(value):
            return (
                f"option {name!r} of a {scheme}:// address may contain only letters, digits and "
                ". _ ~ : / [ ] -, without percent encoding"
            )
    return None
