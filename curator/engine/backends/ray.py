"""The fleet on Ray: one actor for each worker, a thin shell around the plain class. Ray's one home in the engine.

It knows no schedule: Ray retries and restarts nothing here, losses go to the scheduler as news.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from curator import logs
from curator.data import Lease, Receipt
from curator.engine.assembly import Standing
from curator.engine.backends.local import Worker
from curator.engine.backends.ray_nodes import DrainWatch, is_gone
from curator.engine.fleet import (
    LeaseDone,
    LeaseFailed,
    News,
    WorkerLeaving,
    WorkerLost,
    WorkerReady,
    failure_of,
)
from curator.engine.scheduler import Failure

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RayResources:
    """How many actors at most, and what each asks Ray for: from the config, never from what the driver's node has."""

    workers: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_bytes: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    spread: bool = True


@dataclass(frozen=True, slots=True)
class _Started:
    provenance: dict[str, str]
    node: str


class _Shell:
    """The actor. Errors come back as values: an exception of a library that the driver lacks could not be unpickled."""

    def __init__(self, build: Callable[[], Worker], log_settings: logs.LogSettings) -> None:
        logs.set_up(log_settings)
        self._build = build
        self._worker: Worker | None = None

    def start(self) -> _Started | Failure:
        try:
            self._worker = self._build()
        except BaseException as error:
            return failure_of(error)
        return _Started(dict(self._worker.provenance), ray.get_runtime_context().get_node_id())

    def process(self, lease: Lease) -> Receipt | Failure:
        assert self._worker is not None
        try:
            with logs.of_shard(lease.shard.url, lease.attempt):
                return self._worker.process(lease)
        except BaseException as error:
            return failure_of(error)

    def standings(self) -> list[Standing]:
        return self._worker.standings() if self._worker else []

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.close()


@dataclass(slots=True)
class _Actor:
    handle: Any
    requested_at: float
    starting: Any
    node: str | None = None
    leaving: bool = False
    pulse: Any = None

    @property
    def ready(self) -> bool:
        return self.node is not None


class RayFleet:
    """Up to ``resources.workers`` actors, wherever Ray can place them: used as they come up, replaced when they go.

    An actor that finds no place waits in Ray until a node comes that has one, which is what an autoscaler looks at. One
    whose node is about to go (Ray drains it) takes no more leases, and its successor is asked for at once.
    """

    def __init__(
        self,
        build: Callable[[], Worker],
        resources: RayResources,
        *,
        in_flight: int = 2,
        watch: DrainWatch | None = None,
    ) -> None:
        self._watch = watch or DrainWatch()
        self._build = build
        self._resources = resources
        self._in_flight = in_flight
        self._actors: dict[str, _Actor] = {}
        self._pending: dict[Any, tuple[str, Lease | None]] = {}
        self._news: list[News] = []
        self._created = 0
        self._lost = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def alive(self) -> int:
        return len(self._actors)

    def start(self) -> None:
        self._watch.start()
        for _ in range(self._resources.workers):
            self._create()

    def _create(self) -> None:
        name = f"ray-{self._created}"
        self._created += 1
        wanted = self._resources
        handle = (
            ray.remote(_Shell)
            .options(
                num_cpus=wanted.num_cpus,
                num_gpus=wanted.num_gpus,
                memory=wanted.memory_bytes,
                resources=dict(wanted.resources),
                max_concurrency=self._in_flight + 2,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD" if wanted.spread else "DEFAULT",
            )
            .remote(self._build, logs.current())
        )
        starting = handle.start.remote()
        self._actors[name] = _Actor(handle, time.monotonic(), starting)
        self._pending[starting] = (name, None)

    def submit(self, worker: str, lease: Lease) -> None:
        self._pending[self._actors[worker].handle.process.remote(lease)] = (worker, lease)

    def wait(self, timeout_s: float) -> Sequence[News]:
        if self._news:
            timeout_s = 0.0
        if self._pending:
            finished, _ = ray.wait(list(self._pending), num_returns=1, timeout=timeout_s)
            if finished:
                finished, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
            for reference in finished:
                self._collect(reference)
        else:
            time.sleep(timeout_s)
        self._heed_notices()
        news, self._news = self._news, []
        return news

    def _heed_notices(self) -> None:
        """Announce the workers whose nodes are about to go, and ask for their successors."""
        draining = self._watch.draining
        for name, actor in list(self._actors.items()) if draining else ():
            if actor.node in draining and not actor.leaving:
                actor.leaving = True
                self._news.append(WorkerLeaving(name, f"Ray drains node {actor.node}"))
                self._create()

    def release(self, worker: str) -> None:
        self._forget(worker)

    def _forget(self, worker: str) -> _Actor | None:
        """End the actor and all that is awaited of it. None where that was done before."""
        actor = self._actors.pop(worker, None)
        if actor is not None:
            self._pending = {ref: entry for ref, entry in self._pending.items() if entry[0] != worker}
            with contextlib.suppress(RayError):
                ray.kill(actor.handle)
        return actor

    def _collect(self, reference: Any) -> None:
        entry = self._pending.pop(reference, None)
        if entry is None:  # its worker was lost by an earlier reference of the same round
            return
        worker, lease = entry
        try:
            value = ray.get(reference)
        except RayError as error:
            self._lose(worker, _cause(error))
            return
        if lease is None:
            self._settle_start(worker, value)
        elif isinstance(value, Failure):
            self._news.append(LeaseFailed(worker, lease, value))
        else:
            self._news.append(LeaseDone(worker, lease, value))

    def _settle_start(self, worker: str, value: _Started | Failure) -> None:
        if isinstance(value, Failure):
            self._lose(worker, f"did not start: {value.message}", config=value.verdict == "config")
            return
        actor = self._actors[worker]
        actor.node = value.node
        self._news.append(WorkerReady(worker, value.provenance, time.monotonic() - actor.requested_at))

    def _lose(self, worker: str, cause: str, *, config: bool = False) -> None:
        actor = self._forget(worker)
        if actor is None:
            return
        self._lost += 1
        evicted = actor.leaving or (actor.node is not None and is_gone(actor.node))
        self._news.append(WorkerLost(worker, cause, config=config, evicted=evicted))
        if not (config or actor.leaving):
            self._create()

    def standings(self) -> Mapping[str, Sequence[Standing] | None]:
        found: dict[str, Sequence[Standing] | None] = {}
        for name, actor in list(self._actors.items()):
            if not actor.ready:
                continue
            if actor.pulse is None:
                found[name] = []
            elif ray.wait([actor.pulse], timeout=0)[0]:
                try:
                    found[name] = ray.get(actor.pulse)
                except RayActorError as error:
                    self._lose(name, _cause(error))
                    continue
            else:
                found[name] = None
                continue
            actor.pulse = actor.handle.standings.remote()
        return found

    def kill(self, worker: str, cause: str) -> None:
        self._lose(worker, cause)

    def status(self) -> Mapping[str, Any]:
        leaving = sum(actor.leaving for actor in self._actors.values())
        ready = sum(actor.ready for actor in self._actors.values()) - leaving
        asked = {name: value for name, value in dataclasses.asdict(self._resources).items() if value}
        return {
            "ready": ready,
            "starting": len(self._actors) - ready - leaving,
            "leaving": leaving,
            "lost": self._lost,
            "asked": asked,
        }

    def close(self, grace_s: float) -> None:
        """Let the actors end their leases cleanly for up to ``grace_s``, then end them."""
        stopping = [actor.handle.stop.remote() for actor in self._actors.values() if actor.ready]
        if stopping:
            with contextlib.suppress(RayError, GetTimeoutError):
                ray.wait(stopping, num_returns=len(stopping), timeout=grace_s)
        for actor in self._actors.values():
            with contextlib.suppress(RayError):
                ray.kill(actor.handle)
        self._actors.clear()
        self._pending.clear()
        self._watch.close()


def _cause(error: RayError) -> str:
    """The first line that says something of why an actor died; Ray's own text runs over many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "exit" in line.lower() or "killed" in line.lower() or "node" in line.lower()]
    return f"{type(error).__name__}: {(told or lines or ['no detail'])[0]}"
