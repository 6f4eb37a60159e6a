"""Ray's drain of a node: the one call that the spot watcher makes."""

from __future__ import annotations

import time
from collections.abc import Sequence

ANSWER_TIMEOUT_S = 10.0
"""For the head to say which nodes live."""


class DrainError(RuntimeError):
    """Ray did not accept the drain; another try may succeed."""


def drain_this_node(
    address: str, *, reason: str, seconds_left: float, node_ids: Sequence[str] = ()
) -> tuple[str, ...]:
    """Tells Ray that this machine's nodes are preempted at a deadline; returns their ids.

    Ray then starts nothing new there and Ray Train's workers see the deadline in
    `ray.train.get_preemption_info`. Ray does not end the node itself: the cloud does.

    Args:
        address: HOST:PORT of the cluster's head.
        reason: What the cloud said.
        seconds_left: Until the machine goes; 0 or more.
        node_ids: Ids in hexadecimal; empty: every node of the cluster on this machine.

    Raises:
        DrainError: If there is no such node, or Ray refuses.
    """
    # What `ray drain-node` does (hidden and without promise, Ray 2.58 to 2.60), without its driver
    # process on this node, which takes seconds of a 30 s notice.
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
