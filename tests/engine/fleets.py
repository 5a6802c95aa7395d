"""A fleet that follows a script, under a clock that moves only when the driver waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curator.data import Lease, Receipt, shard_id
from curator.engine.assembly import Standing
from curator.engine.fleet import LeaseDone, LeaseFailed, News, WorkerLeaving, WorkerLost, WorkerReady
from curator.engine.scheduler import Failure
from tests.engine.clock import Clock

Act = Callable[["ScriptedFleet", str, Lease], None]


def receipt_for(lease: Lease, **changes: Any) -> Receipt:
    shard = lease.shard
    fields: dict[str, Any] = {
        "shard_id": shard.id,
        "url": shard.url,
        "size": shard.size,
        "etag": shard.etag,
        "attempt": lease.attempt,
        "samples": 10,
        "rows": 10,
        "rejected": 1,
        "reasons": {"no_image": 1},
        "part": f"part-{shard.id}.parquet",
        "part_bytes": 100,
        "seconds": {"read": 0.5, "device": 1.0},
        "total_s": 2.0,
        "config_digest": "c",
        **changes,
    }
    return Receipt(**fields)


def succeed(fleet: ScriptedFleet, worker: str, lease: Lease) -> None:
    fleet.news.append(LeaseDone(worker, lease, receipt_for(lease)))


def hang(fleet: ScriptedFleet, worker: str, lease: Lease) -> None:
    """The lease stands where it is, in stage read."""


def fail(failure: Failure) -> Act:
    return lambda fleet, worker, lease: fleet.news.append(LeaseFailed(worker, lease, failure))


def die(fleet: ScriptedFleet, worker: str, lease: Lease) -> None:
    """The worker dies while the driver waits."""
    fleet.dying.add(worker)


class ScriptedFleet:
    """``script`` maps a shard's url to what happens to its leases, the last act for all further ones.

    ``submitted`` are the leases given, ``killed`` the workers ended by the driver. A worker that is lost is replaced
    while ``replacements`` last.
    """

    def __init__(
        self,
        clock: Clock,
        script: Mapping[str, Sequence[Act]] | None = None,
        *,
        workers: int = 1,
        replacements: int = 9,
    ) -> None:
        self.in_flight = 2
        self.clock = clock
        self.script = {url: list(acts) for url, acts in (script or {}).items()}
        self.workers = workers
        self.replacements = replacements
        self.news: list[News] = []
        self.submitted: list[tuple[str, Lease]] = []
        self.killed: list[tuple[str, str]] = []
        self.moved: dict[tuple[str, str], float] = {}
        self.living: list[str] = []
        self.silent: set[str] = set()
        self.dying: set[str] = set()
        self.leaving: set[str] = set()
        self.released: list[str] = []
        self.born = 0
        self.on_wait: list[Callable[[], None]] = []
        self.provenance: list[Mapping[str, str]] = []
        self.starts = True

    @property
    def alive(self) -> int:
        return len(self.living)

    def start(self) -> None:
        for _ in range(self.workers):
            self._bear()

    def _bear(self) -> None:
        name = f"w{self.born}"
        self.born += 1
        self.living.append(name)
        if self.starts:
            provenance = self.provenance.pop(0) if self.provenance else {}
            self.news.append(WorkerReady(name, provenance, 1.0))

    def lose(self, worker: str, cause: str, *, config: bool = False) -> None:
        if worker not in self.living:
            return
        self.living.remove(worker)
        self.moved = {place: at for place, at in self.moved.items() if place[0] != worker}
        evicted = worker in self.leaving
        if self.replacements and not evicted:
            self.replacements -= 1
            self._bear()
        self.news.append(WorkerLost(worker, cause, config, evicted))

    def preempt(self, worker: str) -> None:
        """A notice for the worker's node: its successor is born at once."""
        self.leaving.add(worker)
        self.news.append(WorkerLeaving(worker, "spot"))
        self._bear()

    def release(self, worker: str) -> None:
        assert worker in self.leaving
        self.living.remove(worker)
        self.released.append(worker)

    def submit(self, worker: str, lease: Lease) -> None:
        assert worker in self.living, "a lease was given to a worker that is gone"
        assert worker not in self.leaving, "a lease was given to a worker that is leaving"
        self.submitted.append((worker, lease))
        self.moved[worker, lease.shard.url] = self.clock.now
        acts = self.script.get(lease.shard.url, [succeed])
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        act(self, worker, lease)

    def wait(self, timeout_s: float) -> Sequence[News]:
        assert timeout_s <= 0.5
        self._happen()
        if not self.news:
            self.clock.advance(timeout_s)
            self._happen()
        news, self.news = self.news, []
        for item in news:
            if isinstance(item, (LeaseDone, LeaseFailed)):
                self.moved.pop((item.worker, item.lease.shard.url), None)
        return news

    def _happen(self) -> None:
        for action in self.on_wait:
            action()
        while self.dying:
            self.lose(self.dying.pop(), "SIGKILL")

    def standings(self) -> Mapping[str, Sequence[Standing] | None]:
        return {
            worker: None if worker in self.silent else [
                Standing(shard_id(url), url, 1, "read", 7, self.clock.now - since)
                for (holder, url), since in self.moved.items()
                if holder == worker
            ]
            for worker in self.living
        }  # fmt: skip

    def kill(self, worker: str, cause: str) -> None:
        self.killed.append((worker, cause))
        self.lose(worker, cause)

    def status(self) -> Mapping[str, Any]:
        return {"ready": len(self.living), "starting": 0, "lost": self.born - len(self.living)}

    def close(self, grace_s: float) -> None:
        raise AssertionError("whoever made the fleet closes it, not the driver")
