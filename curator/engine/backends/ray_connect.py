"""How a process joins a Ray: the one that it is told of, or one of its own. Knows no actor and no run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import ray

from curator.errors import ConfigError

_CONNECT_S = 10.0


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's signal handlers: Ray puts in its own, under which SIGTERM aborts the driver."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: put in by something other than Python, which alone could put it back
                signal.signal(number, handler)


def _refuse_dead_cluster(address: str) -> None:
    """ConfigError where nobody answers at a head's ``host:port``: Ray itself would try for many minutes.

    ``auto`` is what Ray would find: the address that the last head on this machine wrote down, perhaps long ago.
    """
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    if address == "auto":
        address = noted.read_text().strip() if noted.exists() else ""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray answers at {address} ({error}); start it, or set ray.address (local: one of this run's own)"
            f"{f', or delete {noted}, which names it' if noted.exists() else ''}"
        ) from error


def connect(address: str | None, *, num_cpus: int | None = None) -> None:
    """Join the cluster at ``address`` (or RAY_ADDRESS), or start one on this machine where there is none.

    Does nothing where the process is already connected. Logs of the actors stay in Ray's own files.
    """
    if ray.is_initialized():
        return
    _refuse_dead_cluster(address or os.environ.get("RAY_ADDRESS") or "auto")
    with _own_signals():
        ray.init(address=address, num_cpus=num_cpus, log_to_driver=False, configure_logging=False)
