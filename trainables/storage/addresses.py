"""Addresses of run folders: which ones are taken, and what may stand in them. Pure.

An address is printed, kept in plans and handed to workers, so nothing secret may stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
"""Names that S3 or Cloud Storage allow (without the longer names of domains)."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": ("endpoint_override", "region", "scheme", "tls_ca_dir_path", "tls_ca_file_path"),
    "gs": ("endpoint_override", "project_id", "retry_limit_seconds", "scheme"),
}
"""What may stand behind the `?` of a bucket's address, by scheme: options of Arrow that hold no
secret."""

OPTION_NAME = re.compile(r"[a-z_]{1,40}")
"""What is repeated in a message; a key's value would stand there where its name was forgotten."""

OPTION_VALUE = re.compile(r"[A-Za-z0-9._~:/\[\]-]+")
"""Hosts, ports, regions, paths; no `@`, before which an endpoint would hold a key."""


SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/*)(.*)", re.DOTALL)

SPELLINGS: Mapping[str, str] = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs"}
"""Schemes that name a bucket in other tools, and what they are called here."""


def split_options(root: str) -> tuple[str, str, str]:
    """Returns an address without its options, the `?`, and the options; a local path has none."""
    return (root, "", "") if is_local(root) else root.partition("?")


def fault_of(root: str) -> str | None:
    """Returns why an address is not taken, without repeating what may be secret; None where it is.

    Args:
        root: Of a bucket: with a scheme.
    """
    address, _, options = split_options(root)
    scheme, _, path = address.partition("://")
    if scheme not in OPTIONS or not path.strip("/"):
        return _fault_of_scheme(address)
    bucket, _, folder = path.partition("/")
    if "@" in path:
        return (
            f"the address of a {scheme}:// bucket must not hold keys (something@...): it would be "
            "printed and kept. Give them as the cloud's own tools take them (environment, role)."
        )
    if not BUCKET.fullmatch(bucket):
        return (
            f"{bucket!r} is no bucket's name: 3 to 63 lower-case letters, digits, '-', '_' and '.'"
        )
    if ".." in folder.split("/"):
        return f"the folder of a bucket must not hold '..', got {folder!r}"
    return _fault_of_options(scheme, options)


def is_local(root: str) -> bool:
    """Says whether an address is a path of this machine.

    A path may hold a colon (`runs/12:30`, `./s3:/b`), but what begins as `s3:b` or `any:/` does is
    a mistyped address, not a folder of that name.
    """
    found = SCHEME.fullmatch(root)
    return found is None or not (found[2] or found[1].lower() in {*SPELLINGS, "file"})


def _fault_of_scheme(address: str) -> str:
    """Returns why an address of no known scheme, or without a bucket, is not taken."""
    rule = "a run folder is a local path, s3://bucket/folder or gs://bucket/folder"
    if "@" in address:
        return f"{rule}, got something@..."
    meant = _meant(address)
    return f"{rule}, got {address!r}" + (f": did you mean {meant!r}?" if meant else "")


def _meant(address: str) -> str | None:
    found = SCHEME.fullmatch(address)
    if found is None or not found[3]:
        return None
    scheme, slashes, path = found[1].lower(), found[2], found[3]
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
                f"a {scheme}:// address takes no option "
                f"{name if OPTION_NAME.fullmatch(name) else '(something)'!r}: it takes "
                f"{', '.join(OPTIONS[scheme])}. Keys are given as the cloud's own tools take them "
                "(environment, role), because an address is printed and kept."
            )
        if not OPTION_VALUE.fullmatch(value):
            return (
                f"the value of the option {name!r} of a {scheme}:// address must be letters, "
                "digits and . _ ~ : / [ ] -, written as they are"
            )
    return None
