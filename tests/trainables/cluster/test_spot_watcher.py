"""The spot watcher against a stand-in for the clouds' metadata servers, and against a real Ray."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainables.cluster.spot_watcher import (
    AwsNotices,
    GcpNotices,
    MetadataError,
    MetadataServer,
    Notice,
    main,
    watch,
)

NOW = 1_700_000_000.0
DUE_IN_90_S = "2023-11-14T22:14:50Z"
"""90 s after NOW, which is 2023-11-14 22:13:20 UTC."""

AWS_ACTION = "/latest/meta-data/spot/instance-action"
AWS_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
AWS_TOKEN = "/latest/api/token"
GCP_PREEMPTED = "/computeMetadata/v1/instance/preempted"


@dataclass
class Cloud:
    """What the stand-in answers: path -> (status, text); everything else is 404."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    token: str = "t1"
    url: str = ""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    state = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(("GET", self.path, dict(self.headers)))
            if self.path.startswith("/latest/meta-data/"):
                if self.headers["X-aws-ec2-metadata-token"] != state.token:
                    return self.answer(401, "")
            elif self.headers["Metadata-Flavor"] != "Google":
                return self.answer(403, "")
            return self.answer(*state.answers.get(self.path, (404, "")))

        def do_PUT(self) -> None:
            state.asked.append(("PUT", self.path, dict(self.headers)))
            self.answer(200, state.token)

        def answer(self, status: int, text: str) -> None:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", text)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def aws(cloud: Cloud) -> AwsNotices:
    return AwsNotices(server=MetadataServer(cloud.url), now=lambda: NOW)


def test_aws_is_asked_by_imdsv2_and_has_no_notice_at_first(cloud: Cloud) -> None:
    notices = aws(cloud)
    assert notices.poll() is None
    assert notices.poll() is None
    puts = [(path, headers) for method, path, headers in cloud.asked if method == "PUT"]
    assert [path for path, _ in puts] == [AWS_TOKEN], "one token serves many polls"
    headers = {name.lower(): value for name, value in puts[0][1].items()}
    assert headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"


def test_aws_notice_has_the_seconds_that_are_left(cloud: Cloud) -> None:
    text = json.dumps({"action": "terminate", "time": DUE_IN_90_S})
    cloud.answers[AWS_ACTION] = (200, text)
    assert aws(cloud).poll() == Notice(text=text, seconds_left=90.0)


@pytest.mark.parametrize("time", ["2023-11-14T22:14:50", "2023-11-14T23:14:50+01:00"])
def test_aws_time_is_utc_unless_it_says_otherwise(cloud: Cloud, time: str) -> None:
    cloud.answers[AWS_ACTION] = (200, json.dumps({"action": "stop", "time": time}))
    notice = aws(cloud).poll()
    assert notice is not None and notice.seconds_left == 90.0


@pytest.mark.parametrize("text", ["", "terminate", "[]", '{"action": "stop", "time": "soon"}'])
def test_unreadable_aws_notice_is_due_now(cloud: Cloud, text: str) -> None:
    cloud.answers[AWS_ACTION] = (200, text)
    assert aws(cloud).poll() == Notice(text=text, seconds_left=0.0)


def test_aws_rebalance_recommendation_is_logged_once_and_no_notice(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.answers[AWS_REBALANCE] = (200, '{"noticeTime": "now"}')
    notices = aws(cloud)
    with caplog.at_level(logging.WARNING):
        assert notices.poll() is None
        assert notices.poll() is None
    assert [r.getMessage() for r in caplog.records if "rebalance" in r.getMessage()] == [
        'EC2 recommends to rebalance (a loss is likelier now): {"noticeTime": "now"}'
    ]


def test_broken_recommendation_does_not_hide_the_notice(cloud: Cloud) -> None:
    cloud.answers |= {AWS_REBALANCE: (500, ""), AWS_ACTION: (200, "{}")}
    assert aws(cloud).poll() is not None


def test_token_that_ran_out_is_replaced(cloud: Cloud) -> None:
    notices = aws(cloud)
    notices.poll()
    cloud.token = "t2"
    with pytest.raises(MetadataError, match="401"):
        notices.poll()
    assert notices.poll() is None


def test_gcp_notice(cloud: Cloud) -> None:
    notices = GcpNotices(server=MetadataServer(cloud.url))
    cloud.answers[GCP_PREEMPTED] = (200, "FALSE")
    assert notices.poll() is None
    cloud.answers[GCP_PREEMPTED] = (200, "TRUE")
    notice = notices.poll()
    assert notice is not None and 0 < notice.seconds_left <= 30


def test_watch_drains_with_the_notice_and_ends(cloud: Cloud) -> None:
    text = json.dumps({"action": "terminate", "time": DUE_IN_90_S})
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            cloud.answers[AWS_ACTION] = (200, text)

    drained: list[Notice] = []
    assert watch(aws(cloud), drained.append, sleep=sleep).seconds_left == 90.0
    assert [notice.text for notice in drained] == [text]
    assert pauses == [5.0, 5.0, 5.0]


def test_no_network_error_ends_the_watch_and_pauses_grow(cloud: Cloud) -> None:
    pauses: list[float] = []
    cloud.answers[AWS_ACTION] = (500, "")

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            del cloud.answers[AWS_ACTION]
        if len(pauses) == 7:
            cloud.answers[AWS_ACTION] = (200, "{}")

    watch(aws(cloud), lambda _: None, sleep=sleep)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 5.0]


def test_server_that_is_not_there_is_an_error_of_the_poll_only() -> None:
    server = MetadataServer("http://127.0.0.1:9")
    with pytest.raises(MetadataError):
        AwsNotices(server=server).poll()
    with pytest.raises(MetadataError):
        GcpNotices(server=server).poll()


def test_failed_drain_is_tried_again(cloud: Cloud) -> None:
    cloud.answers[AWS_ACTION] = (200, "{}")
    tries: list[Notice] = []

    def drain(notice: Notice) -> None:
        tries.append(notice)
        if len(tries) < 3:
            raise RuntimeError("the head does not answer")

    watch(aws(cloud), drain, sleep=lambda _: None)
    assert len(tries) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://metadata.google.internal",
        "http://10.0.0.1",
        "https://169.254.169.254",
        "file:///etc/passwd",
        "http://169.254.169.254@example.com",
    ],
)
def test_only_a_link_local_address_is_believed(url: str) -> None:
    with pytest.raises(ValueError, match="link-local"):
        MetadataServer(url)


def test_proxies_are_not_used_and_redirects_not_followed(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert aws(cloud).poll() is None
    cloud.answers[AWS_ACTION] = (302, f"{cloud.url}{GCP_PREEMPTED}")
    cloud.answers[GCP_PREEMPTED] = (200, "{}")
    with pytest.raises(MetadataError, match="302"):
        aws(cloud).poll()


def test_command_wants_cloud_and_head(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--cloud", "azure", "--address", "x:1"], ["--cloud", "aws"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "--address" in capsys.readouterr().err


@pytest.mark.ray
def test_notice_drains_the_node_in_ray(cloud: Cloud) -> None:
    """A node of a real Ray, told by the watcher, takes no more work; the others do."""
    from ray.cluster_utils import Cluster

    from trainables.cluster.spot_watcher import DrainError, drain_this_node

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        lost = cluster.add_node(num_cpus=1)
        cloud.answers[AWS_ACTION] = (200, "{}")

        def drain(notice: Notice) -> None:
            drained = drain_this_node(
                cluster.address,
                reason=notice.text,
                seconds_left=notice.seconds_left,
                node_ids=[lost.node_id],
            )
            assert drained == (lost.node_id,)

        watch(aws(cloud), drain, sleep=lambda _: None)
        # A node without work goes as soon as it is drained.
        assert _is_gone(cluster.address, lost.node_id)
        with pytest.raises(DrainError, match="no living node"):
            drain_this_node(
                cluster.address, reason="again", seconds_left=0, node_ids=[lost.node_id]
            )
    finally:
        cluster.shutdown()


def _is_gone(address: str, node_id: str) -> bool:
    import time

    from ray._raylet import GcsClient
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    client = GcsClient(address=address)
    for _ in range(100):
        living = client.get_all_node_info(timeout=5.0, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
        if node_id not in {id_.hex() for id_ in living}:
            return True
        time.sleep(0.2)
    return False
