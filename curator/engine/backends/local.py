"""The fleet of one machine: the worker in this process, a thread for each lease. Knows no Ray and no ledger."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from curator import logs
from curator.data import Lease, Receipt
from curator.engine.assembly import Standing
from curator.engine.fleet import LeaseDone, LeaseFailed, News, WorkerLost, WorkerReady, failure_of
from curator.errors import ConfigError

logger = logging.getLogger(__name__)


class Worker(Protocol):
    """What a backend runs."""

    @property
    def provenance(self) -> Mapping[str, str]: ...

    def process(self, lease: Lease) -> Receipt: ...

    def standings(self) -> list[Standing]: ...

    def close(self) -> None: ...


class LocalFleet:
    """One worker (a process drives one device). A worker that is killed is left behind and replaced by a new one."""

    def __init__(self, build: Callable[[], Worker], *, in_flight: int = 2, replacements: int = 3) -> None:
        self._build = build
        self._in_flight = in_flight
        self._replacements = replacements
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._started = 0
        self._lost = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def alive(self) -> int:
        return self._started - self._lost

    def start(self) -> None:
        with self._lock:
            name = f"local-{self._started}"
            self._started += 1
        threading.Thread(target=self._bring_up, args=(name,), name=f"curator-{name}", daemon=True).start()

    def _bring_up(self, name: str) -> None:
        began = time.monotonic()
        try:
            worker = self._build()
        except ConfigError as error:
            self._news.put(WorkerLost(name, str(error), config=True))
        except BaseException as error:
            logger.debug("worker did not start", exc_info=True)
            self._replace()
            self._news.put(WorkerLost(name, f"did not start: {type(error).__name__}: {error}"))
        else:
            with self._lock:
                closed = self._closed
                if not closed:
                    self._workers[name] = worker
            if closed:
                worker.close()
            else:
                self._news.put(WorkerReady(name, worker.provenance, time.monotonic() - began))

    def _replace(self) -> None:
        """Before the loss becomes known: whoever hears of it must find the successor alive."""
        lost = 1
        if self._started <= self._replacements and not self._closed:
            try:
                self.start()
            except RuntimeError:  # the machine gives no thread: the successor is lost as it begins
                logger.debug("worker did not start", exc_info=True)
                lost = 2
        with self._lock:
            self._lost += lost

    def submit(self, worker: str, lease: Lease) -> None:
        threading.Thread(
            target=self._process, args=(worker, lease), name=f"curator-lease-{lease.shard.id}", daemon=True
        ).start()

    def _process(self, name: str, lease: Lease) -> None:
        try:
            with logs.of_shard(lease.shard.url, lease.attempt):
                receipt = self._workers[name].process(lease)
        except BaseException as error:
            self._news.put(LeaseFailed(name, lease, failure_of(error)))
        else:
            self._news.put(LeaseDone(name, lease, receipt))

    def wait(self, timeout_s: float) -> Sequence[News]:
        try:
            news = [self._news.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while not self._news.empty():
            news.append(self._news.get())
        return news

    def standings(self) -> Mapping[str, Sequence[Standing] | None]:
        with self._lock:
            workers = list(self._workers.items())
        return {name: worker.standings() for name, worker in workers}

    def kill(self, worker: str, cause: str) -> None:
        """Threads cannot be stopped: the worker's leases end at their next step, and a new worker takes its place."""
        with self._lock:
            gone = self._workers.pop(worker, None)
        if gone is None:
            return
        threading.Thread(target=gone.close, name=f"curator-close-{worker}", daemon=True).start()
        self._news.put(WorkerLost(worker, cause))
        self._replace()

    def release(self, worker: str) -> None:
        """Nothing: the machine of a local worker is that of the driver, and no worker of it is ever leaving."""

    def status(self) -> Mapping[str, Any]:
        ready = len(self._workers)
        return {"ready": ready, "starting": self.alive - ready, "lost": self._lost}

    def close(self, grace_s: float) -> None:
        """End every lease and wait up to ``grace_s`` until the workers have cleaned up behind them."""
        with self._lock:
            self._closed = True
            workers = list(self._workers.values())
            self._workers.clear()
        closers = [threading.Thread(target=worker.close, daemon=True) for worker in workers]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(grace_s)
