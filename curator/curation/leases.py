"""The leases that a worker over parts or captions has open: where each stands, for the watchdog, and how all end.

Knows neither what is read nor what is made of it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from curator.data import Lease
from curator.engine.assembly import Standing
from curator.errors import RetryableError


class OpenLease:
    """Where one lease stands and what its stages took. ``counts`` are for whoever works on it."""

    def __init__(self, lease: Lease, stages: Sequence[str]) -> None:
        self.lease = lease
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self.seconds = dict.fromkeys(stages, 0.0)
        self._stage = stages[0]
        self._moved_at = time.monotonic()
        self._clock = time.perf_counter()

    def passed(self, stage: str) -> None:
        """What was done since the last call was ``stage``."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._clock
        self._clock, self._stage, self._moved_at = now, stage, time.monotonic()

    def standing(self) -> Standing:
        shard, idle_s = self.lease.shard, time.monotonic() - self._moved_at
        return Standing(shard.id, shard.url, self.lease.attempt, self._stage, self.rows, idle_s)


class Leases:
    """All leases of a worker, which may be opened from several threads at once."""

    def __init__(self, *stages: str) -> None:
        self._stages = stages
        self._open: dict[int, OpenLease] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @contextmanager
    def open(self, lease: Lease) -> Iterator[OpenLease]:
        opened = OpenLease(lease, self._stages)
        with self._lock:
            self._open[id(opened)] = opened
        try:
            yield opened
        finally:
            with self._lock:
                del self._open[id(opened)]

    def standings(self) -> list[Standing]:
        with self._lock:
            return [opened.standing() for opened in self._open.values()]

    def close(self) -> None:
        """Every lease ends at its next ``check``."""
        self._closed.set()

    def check(self, opened: OpenLease) -> None:
        """RetryableError once the worker was closed: to be called between pieces of work."""
        if self._closed.is_set():
            raise RetryableError(f"{opened.lease.shard.url}: the worker was closed")


class LeasedWorker:
    """A worker whose ``process`` may be called from several threads at once, with what a fleet asks of any worker."""

    def __init__(self, *stages: str) -> None:
        self._leases = Leases(*stages)

    def standings(self) -> list[Standing]:
        """Where every lease stands, for the watchdog."""
        return self._leases.standings()

    def close(self) -> None:
        """Every lease ends at its next piece of work. Nothing half-written stays."""
        self._leases.close()
