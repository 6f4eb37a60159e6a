"""Turns a cloud's spot notice into a drain of this Ray node.

Runs as `python -m trainables.cluster.spot_watcher`.

Ray does not ask the clouds whether a machine is about to be taken away. This process does, on
every worker node: when the notice comes, it tells Ray that the node is preempted at the notice's
deadline. Ray then places nothing new on the node, and the workers on it can end early. The process
holds no Ray and no torch while it waits: Ray is imported when there is something to say.
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


class MetadataError(Exception):
    """The metadata server gave no usable answer; the next poll may get one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """That this machine will be taken away."""

    text: str
    """What the cloud said."""
    seconds_left: float
    """Until it happens, at the time of the notice; never negative."""


class MetadataServer:
    """GET and PUT at a metadata server, with no proxy and no redirect.

    Raises:
        ValueError: If the address is not a literal link-local (or, for tests, loopback) address:
            what it answers is believed, so nothing else may be asked.
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
        """Returns the answer's text; None where there is no such entry (404).

        Raises:
            MetadataError: If the server cannot be reached or says anything else.
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
    """What a cloud is asked."""

    interval_s: float

    def poll(self) -> Notice | None:
        """Returns the notice, if there is one.

        Raises:
            MetadataError: If the cloud gave no usable answer.
        """


@dataclass(kw_only=True, slots=True)
class AwsNotices:
    """EC2: `spot/instance-action` by IMDSv2, about 120 s ahead.

    Source: EC2 user guide, Spot Instance interruption notices. A rebalance recommendation is a
    risk, not a loss: it is only logged.
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
        """Time until the action; what cannot be read counts as due now."""
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
"""Tells Ray; raises an exception where that did not work."""


def watch(
    notices: NoticeSource, drain: Drain, *, sleep: Callable[[float], None] = time.sleep
) -> Notice:
    """Waits for the notice, drains the node and returns.

    No error ends the wait: a metadata server that does not answer is asked again after a pause that
    doubles up to a minute, and a drain that fails is tried again until the machine is gone.

    Args:
        notices: What is asked.
        drain: What is done when the notice comes.
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
    except Exception as error:  # whatever Ray raises: the next try is the only remedy
        log.error("cannot drain this node (%s: %s); trying again", type(error).__name__, error)
        return False
    return True


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
        from trainables.cluster.drain import drain_this_node  # Ray is imported only now

        drain_this_node(options.address, reason=notice.text, seconds_left=notice.seconds_left)

    log.info("watching for the spot notice of %s", options.cloud)
    watch(sources[options.cloud](), drain)
    log.info("Ray drains this node")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainables.cluster.spot_watcher",
        description="Waits for the cloud's notice that this spot machine is taken away, then "
        "tells Ray to drain its node. Started on every worker by cluster.yaml.",
    )
    parser.add_argument("--cloud", required=True, choices=("aws", "gcp"), help="whose notice")
    parser.add_argument(
        "--address", required=True, metavar="HOST:PORT", help="the head of the Ray cluster"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
