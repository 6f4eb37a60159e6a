"""Turns a cloud's spot notice into a drain of this Ray node.

Run it as `python -m trainables.cluster.spot_watcher` on every worker node. Ray does not ask the
clouds whether a machine is about to be taken away, so this process does. When the notice comes, it
tells Ray that the node is preempted at the notice's deadline: Ray then places no further work on
the node, and its workers can end early. To keep the waiting process small, Ray is imported only
when the notice has come.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import ipaddress
import json
import logging
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger("spot_watcher")

METADATA = "http://169.254.169.254"
"""The metadata server of AWS and of GCP: link-local, so no packet leaves the machine's host."""

REQUEST_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 4096
AWS_TOKEN_TTL_S = 21600
"""Longest life that IMDSv2 grants a token."""

LONGEST_PAUSE_S = 60.0
"""Between two polls of a metadata server that does not answer."""


ANSWER_TIMEOUT_S = 10.0
"""For the head to list the living nodes."""


class DrainError(RuntimeError):
    """Ray did not accept the drain; another try may succeed."""


class MetadataError(Exception):
    """The metadata server gave no usable answer; the next poll may get one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A cloud's announcement that it takes this machine away."""

    text: str
    """The cloud's message."""
    seconds_left: float
    """From the notice to the deadline; never negative."""


class MetadataServer:
    """GET and PUT at a metadata server, with no proxy and no redirect.

    Raises:
        ValueError: If the address is not a literal link-local (or, for tests, loopback) address.
            The answer is trusted, so no other host may give it.
    """

    def __init__(self, base_url: str = METADATA) -> None:
        parts = urllib.parse.urlsplit(base_url)
        try:
            address = ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            address = None
        if parts.scheme != "http" or not (address and (address.is_link_local or _is_own(address))):
            raise ValueError(
                f"a metadata server is at http:// and a link-local IP address, got {base_url!r}"
            )
        self._base_url = base_url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)

    def ask(self, path: str, *, method: str = "GET", headers: dict[str, str]) -> str | None:
        """Returns the answer's text; None if the entry does not exist (404).

        Raises:
            MetadataError: If the server cannot be reached or gives any other answer.
        """
        request = urllib.request.Request(self._base_url + path, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
                return str(answer.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")).strip()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise MetadataError(f"{path}: HTTP status {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            raise MetadataError(f"{path}: {error}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback


class NoticeSource(Protocol):
    """Polls one cloud."""

    interval_s: float

    def poll(self) -> Notice | None:
        """Returns the notice, if there is one.

        Raises:
            MetadataError: If the cloud gave no usable answer.
        """


@dataclass(kw_only=True, slots=True)
class AwsNotices:
    """EC2: `spot/instance-action` by IMDSv2, about 120 s ahead.

    Source: EC2 user guide, Spot Instance interruption notices. A rebalance recommendation
    announces a risk, not a loss, so it is only logged.
    """

    server: MetadataServer
    now: Callable[[], float] = time.time
    interval_s: float = 5.0
    """As the user guide recommends."""
    _token: str | None = field(default=None, init=False)
    _has_warned: bool = field(default=False, init=False)

    def poll(self) -> Notice | None:
        """Returns the interruption notice, if there is one.

        Raises:
            MetadataError: If the server gave no usable answer.
        """
        text = self._get("spot/instance-action")
        if text is not None:
            return Notice(text=text, seconds_left=self._seconds_left(text))
        if not self._has_warned and (advice := self._get("events/recommendations/rebalance")):
            self._has_warned = True
            log.warning("EC2 recommends to rebalance (a loss is likelier now): %s", advice)
        return None

    def _seconds_left(self, text: str) -> float:
        """Returns the time until the action; an unreadable time counts as now."""
        try:
            due = datetime.datetime.fromisoformat(json.loads(text)["time"])
            # The time is in UTC, with or without a letter that says so.
            due = due.replace(tzinfo=due.tzinfo or datetime.UTC)
        except (ValueError, KeyError, TypeError):
            log.warning("cannot read the time of the notice %r: draining at once", text)
            return 0.0
        return max(0.0, due.timestamp() - self.now())

    def _get(self, entry: str) -> str | None:
        if self._token is None:
            self._token = self.server.ask(
                "/latest/api/token",
                method="PUT",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": str(AWS_TOKEN_TTL_S)},
            )
        if not self._token:
            raise MetadataError("/latest/api/token: no token")
        try:
            return self.server.ask(
                f"/latest/meta-data/{entry}", headers={"X-aws-ec2-metadata-token": self._token}
            )
        except MetadataError:
            self._token = None  # it may have run out: the next poll asks for another
            raise


@dataclass(kw_only=True, slots=True)
class GcpNotices:
    """Compute Engine: `instance/preempted` turns TRUE about 30 s ahead (Spot VMs guide)."""

    server: MetadataServer
    interval_s: float = 1.0
    notice_s: float = 30.0

    def poll(self) -> Notice | None:
        """Returns the preemption notice, if there is one.

        Raises:
            MetadataError: If the server gave no usable answer.
        """
        text = self.server.ask(
            "/computeMetadata/v1/instance/preempted", headers={"Metadata-Flavor": "Google"}
        )
        if text is None or text.upper() != "TRUE":
            return None
        return Notice(text=f"preempted: {text}", seconds_left=self.notice_s - self.interval_s)


Drain = Callable[[Notice], None]
"""Tells Ray; raises an exception if that fails."""


def watch(
    notices: NoticeSource, drain: Drain, *, sleep: Callable[[float], None] = time.sleep
) -> Notice:
    """Waits for the notice, drains the node and returns.

    No error ends the wait: pauses after a failed poll double up to a minute, and a failed drain is
    repeated until the machine is gone.

    Args:
        notices: The cloud to poll.
        drain: Called when the notice comes.
        sleep: Waits for some seconds.
    """
    pause = notices.interval_s
    while True:
        try:
            notice = notices.poll()
        except MetadataError as error:
            log.warning("%s; asking again in %.0f s", error, pause)
            sleep(pause)
            pause = min(2 * pause, max(LONGEST_PAUSE_S, notices.interval_s))
            continue
        pause = notices.interval_s
        if notice is not None and _drained(drain, notice):
            return notice
        sleep(notices.interval_s)


def _drained(drain: Drain, notice: Notice) -> bool:
    log.warning("this machine goes in %.0f s: %s", notice.seconds_left, notice.text)
    try:
        drain(notice)
    except Exception as error:  # whatever Ray raises: trying again is the only remedy
        log.error("cannot drain this node (%s: %s); trying again", type(error).__name__, error)
        return False
    return True


def drain_this_node(
    address: str, *, reason: str, seconds_left: float, node_ids: Sequence[str] = ()
) -> tuple[str, ...]:
    """Tells Ray that this machine's nodes are preempted at a deadline; returns their ids.

    Ray then places no further work there, and Ray Train's workers see the deadline in their
    preemption context. The cloud ends the node, not Ray.

    Args:
        address: HOST:PORT of the cluster's head.
        reason: The cloud's message.
        seconds_left: Until the deadline; 0 or more.
        node_ids: Ids in hexadecimal; empty: every node of the cluster on this machine.

    Raises:
        DrainError: If the cluster has no such living node, or Ray refuses.
    """
    # The same calls as `ray drain-node` (a hidden command without compatibility promise, Ray 2.58
    # to 2.60). Its driver process would take seconds of a 30 s notice.
    import ray
    from ray._private import services
    from ray.core.generated import autoscaler_pb2, gcs_pb2

    client = ray._raylet.GcsClient(address=address)
    infos = client.get_all_node_info(
        timeout=ANSWER_TIMEOUT_S, state_filter=gcs_pb2.GcsNodeInfo.GcsNodeState.ALIVE
    )
    living = {id_.hex() for id_ in infos}
    wanted = set(node_ids) or set(services.find_node_ids())
    nodes = tuple(sorted(wanted & living))
    if not nodes:
        raise DrainError(f"the cluster at {address} has no living node on this machine")
    deadline_ms = int((time.time() + max(seconds_left, 0.0)) * 1000)
    for node in nodes:
        is_accepted, refusal = client.drain_node(
            node, autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION, reason, deadline_ms
        )
        if not is_accepted:
            raise DrainError(f"Ray refuses to drain node {node}: {refusal}")
    return nodes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 after a drain."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    server = MetadataServer()
    sources: dict[str, Callable[[], NoticeSource]] = {
        "aws": lambda: AwsNotices(server=server),
        "gcp": lambda: GcpNotices(server=server),
    }

    def drain(notice: Notice) -> None:
        drain_this_node(options.address, reason=notice.text, seconds_left=notice.seconds_left)

    log.info("watching for the spot notice of %s", options.cloud)
    watch(sources[options.cloud](), drain)
    log.info("Ray drains this node")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainables.cluster.spot_watcher",
        description="Wait for the cloud's notice that it takes this spot machine away, then tell "
        "Ray to drain the node. cluster.yaml starts it on every worker.",
    )
    parser.add_argument("--cloud", required=True, choices=("aws", "gcp"), help="the cloud to poll")
    parser.add_argument(
        "--address", required=True, metavar="HOST:PORT", help="the head of the Ray cluster"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
