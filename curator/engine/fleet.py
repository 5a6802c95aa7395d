"""What the driver needs of a backend: workers that take leases, and news of them. Knows no schedule and no ledger."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from curator.data import Lease, Receipt
from curator.engine.assembly import Standing
from curator.engine.scheduler import Failure
from curator.errors import ConfigError, ShardError


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker has loaded everything and takes leases. ``provenance`` is what its rows will carry in their footer."""

    worker: str
    provenance: Mapping[str, str]
    startup_s: float


@dataclass(frozen=True, slots=True)
class LeaseDone:
    worker: str
    lease: Lease
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class LeaseFailed:
    worker: str
    lease: Lease
    failure: Failure


@dataclass(frozen=True, slots=True)
class WorkerLeaving:
    """A worker's machine is about to go: it may end the leases that it has. Its successor is on its way already."""

    worker: str
    cause: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone, with every lease it held. A fatal cause (``config``) would befall every other worker, too.

    ``evicted``: its machine went or was about to go, so that no shard is suspected of having killed it.
    """

    worker: str
    cause: str
    config: bool = False
    evicted: bool = False


News: TypeAlias = "WorkerReady | LeaseDone | LeaseFailed | WorkerLeaving | WorkerLost"


class Fleet(Protocol):
    """The workers of one run. Only ``wait`` blocks, and no longer than it was told to."""

    @property
    def in_flight(self) -> int:
        """Leases that one worker holds at a time."""
        ...

    @property
    def alive(self) -> int:
        """Workers that are ready or may still become so."""
        ...

    def start(self) -> None:
        """Begin to bring up workers; each announces itself by ``WorkerReady``."""
        ...

    def submit(self, worker: str, lease: Lease) -> None: ...

    def wait(self, timeout_s: float) -> Sequence[News]:
        """What has happened; empty when nothing did within ``timeout_s``."""
        ...

    def standings(self) -> Mapping[str, Sequence[Standing] | None]:
        """Where each ready worker's leases stand; None for a worker that has not answered in time."""
        ...

    def kill(self, worker: str, cause: str) -> None:
        """End a worker for good; a ``WorkerLost`` follows, and a new worker where the fleet replaces them."""
        ...

    def release(self, worker: str) -> None:
        """End a leaving worker that holds no lease any more; nothing more is heard of it."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Numbers for the progress line: workers ready, starting, lost."""
        ...

    def close(self, grace_s: float) -> None: ...


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception from ``ShardWorker.process`` stands for; one that nobody foresaw may pass."""
    message = str(error) or repr(error)
    if isinstance(error, ShardError):
        return Failure("shard", message)
    if isinstance(error, ConfigError):
        return Failure("config", message)
    kind = "" if type(error).__module__.startswith("curator.") else f"{type(error).__name__}: "
    return Failure("retryable", kind + message, "".join(traceback.format_exception(error)))
