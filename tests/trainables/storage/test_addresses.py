"""Addresses of buckets: where options go, which are taken, and that no secret is repeated."""

from __future__ import annotations

import pytest

from trainables.errors import StorageError
from trainables.storage.filesystem import open_storage

OPTIONS = "endpoint_override=minio:9000&scheme=http&region=us-east-1"


@pytest.mark.parametrize(
    ("root", "path", "base"),
    [
        (f"s3://b-1/runs?{OPTIONS}", f"s3://b-1/runs/micro/ray?{OPTIONS}", "b-1/runs"),
        (f"s3://b-1/runs/?{OPTIONS}", f"s3://b-1/runs/micro/ray?{OPTIONS}", "b-1/runs"),
        (f"s3://b-1?{OPTIONS}", f"s3://b-1/micro/ray?{OPTIONS}", "b-1"),
        ("s3://b-1/runs?region=x", "s3://b-1/runs/micro/ray?region=x", "b-1/runs"),
        ("gs://b-1/runs", "gs://b-1/runs/micro/ray", "b-1/runs"),
        ("/data/what?/runs", "/data/what?/runs/micro/ray", "/data/what?/runs"),
    ],
)
def test_a_keys_address_has_the_options_behind_the_path(root: str, path: str, base: str) -> None:
    storage = open_storage(root)
    assert storage.path("micro/ray") == path
    assert storage.base.rstrip("/") == base
    again = open_storage(storage.path("micro/ray"))
    assert again.base == f"{base}/micro/ray", "and what is opened there lies inside"


@pytest.mark.parametrize(
    ("root", "named"),
    [
        ("s3://b-1/r?secret_key=XYZ", "'secret_key'"),
        ("s3://b-1/r?region=eu-west-1&access_key=XYZ", "'access_key'"),
        ("s3://b-1/r?region=eu-west-1&Region=XYZ", "(something)"),
        ("s3://b-1/r?XYZ", "(something)"),
        ("s3://b-1/r?endpoint_override=user:XYZ@host", "'endpoint_override'"),
        ("s3://b-1/r?endpoint_override=user:XYZ%40host", "'endpoint_override'"),
        ("s3://b-1/r?region=", "'region'"),
        ("gs://b-1/r?access_token=XYZ", "'access_token'"),
        ("ftp://user:XYZ@host/r", "something@"),
        ("ftp://host/r?key=XYZ", "s3://bucket"),
        ("s3://?secret_key=XYZ", "s3://bucket"),
        ("s3://user:XYZ@b-1/r", "must not contain keys"),
    ],
)
def test_what_may_be_secret_is_refused_by_name_and_never_repeated(root: str, named: str) -> None:
    with pytest.raises(StorageError) as refused:
        open_storage(root)
    assert named in str(refused.value)
    assert "XYZ" not in str(refused.value)
