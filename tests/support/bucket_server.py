"""An S3 server in this process, with a proxy before it that refuses, stalls or denies."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

BUCKET = "bucket"

Answer = str
"""`pass`, `refuse` (the connection ends without a word), `stall` (nothing comes) or `deny`."""

DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def moto_or_skip() -> None:
    """Skips the test, or fails where moto has to be there."""
    try:
        import moto.server  # noqa: F401
    except ImportError as error:
        assert os.environ.get("REQUIRE_MOTO") != "1", error
        pytest.skip(f"no S3 server to test with: {error}")


@dataclass
class BucketServer:
    """What the proxy answers, and where it is."""

    port: int = 0
    answer: Callable[[str, str], Answer] = lambda method, key: "pass"
    """Of the method and the key below the bucket."""
    asked: list[tuple[str, str, Answer]] = field(default_factory=list)

    def root(self, folder: str, bucket: str = BUCKET) -> str:
        """Returns the address of a folder of a bucket."""
        return (
            f"s3://{bucket}/{folder}?endpoint_override=127.0.0.1:{self.port}"
            "&scheme=http&region=us-east-1"
        )

    def serve(self, client: socket.socket, upstream: tuple[str, int]) -> None:
        """Answers one connection: its first line decides."""
        with client:
            head = client.recv(65536)
            found = re.match(rb"(\w+) /[^/ ?]*/?([^ ?]*)", head)
            if found is None:
                return
            method, key = (part.decode() for part in found.groups())
            answer = self.answer(method, key)
            self.asked.append((method, key, answer))
            if answer == "deny":
                client.sendall(DENIED)
            elif answer == "stall":
                client.settimeout(120)
                while client.recv(65536):
                    continue
            elif answer == "pass":
                with socket.create_connection(upstream) as server:
                    server.sendall(head)
                    back = threading.Thread(target=_pipe, args=(server, client), daemon=True)
                    back.start()
                    _pipe(client, server)
                    back.join()


def _pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side has gone


@contextmanager
def bucket_server(patch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """Serves an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    upstream = moto.get_host_and_port()
    client = boto3.client(
        "s3", endpoint_url="http://{}:{}".format(*upstream), region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)
    listener = socket.create_server(("127.0.0.1", 0))
    server = BucketServer(port=listener.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            threading.Thread(
                target=_quietly, args=(server.serve, connection, upstream), daemon=True
            ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listener.close()
        moto.stop()


def _quietly(serve: Callable[..., None], *arguments: object) -> None:
    try:
        serve(*arguments)
    except OSError:
        return  # the client has gone
