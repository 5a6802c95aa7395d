"""Which nodes of the cluster are about to go, or gone: what Ray says of them. Knows no actor and no run."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading

import ray
from ray.exceptions import RayError

logger = logging.getLogger(__name__)

_ANSWER_S = 2.0


def draining_nodes() -> frozenset[str]:
    """Ids of nodes that Ray drains: preempted, scaled down, or drained by hand (`ray drain-node`).

    Ray has no public call for it; its own Serve, Data and Train ask in this way. Empty where this Ray cannot say.
    """
    from ray._private import state

    ask = getattr(state.state, "get_draining_nodes", None)
    return frozenset() if ask is None else frozenset(ask())


def is_gone(node: str) -> bool:
    """Whether the node went. Ray learns that later than the owner of an actor there does, so its raylet is asked, too.

    False for a node that Ray does not know.
    """
    with contextlib.suppress(RayError):
        for each in ray.nodes():
            if each["NodeID"] == node:
                return not (each["Alive"] and _answers(each["NodeManagerAddress"], each["NodeManagerPort"]))
    return False


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except OSError:
        return False
    return True


class DrainWatch:
    """Asks every ``poll_s`` seconds, in a thread of its own: a head that does not answer must not hold up the run."""

    def __init__(self, poll_s: float = 2.0) -> None:
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="curator-drain-watch", daemon=True)
        self.draining: frozenset[str] = frozenset()

    def start(self) -> None:
        self._thread.start()

    def _loop(self) -> None:
        told = False
        while not self._stop.wait(self._poll_s):
            try:
                self.draining = draining_nodes()
            except Exception as error:  # Ray's own, or of gRPC: whatever it is, the run goes on without notices
                if not told:
                    logger.warning("cannot ask Ray which nodes are about to go: %s", error)
                told = True

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._poll_s)
