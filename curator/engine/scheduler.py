"""Which shard goes to which worker next, and what an outcome means for it: a pure state machine with an injected clock.

It knows no storage, no worker and no thread; it is told what happened and answers what to do.
"""

from __future__ import annotations

import heapq
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from curator.data import Lease, Shard

Verdict = Literal["shard", "retryable", "config"]


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt ended badly: the verdict, a message that names the thing, and the traceback where there is one."""

    verdict: Verdict
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on trying. ``attempts`` counts failures that may pass; ``losses`` counts workers that died with the shard.

    ``evictions`` of its workers are forgiven to a shard: nodes that come and go say nothing of it. What is beyond
    counts as a loss, since a shard might be what takes nodes down.

    A shard that has seen ``losses - 1`` workers die gets its last try alone on a worker, so that a poison shard takes
    no neighbour into quarantine with it.
    """

    attempts: int = 3
    losses: int = 3
    backoff_s: float = 1.0
    backoff_limit_s: float = 60.0
    straggler_factor: float = 3.0
    straggler_floor_s: float = 30.0
    evictions: int = 10


@dataclass(slots=True)
class _Record:
    """What is remembered of a shard between its first lease and its end. ``runs`` maps worker to lease and start.

    ``reason`` is set when the shard is given up while another attempt still runs, which may yet finish it.
    """

    shard: Shard
    attempt: int = 0
    losses: int = 0
    evictions: int = 0
    failures: int = 0
    alone: bool = False
    repeated: bool = False
    reason: str | None = None
    history: list[str] = field(default_factory=list)
    runs: dict[str, tuple[Lease, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The decision to give up on a shard: why, and what each attempt said."""

    shard: Shard
    reason: str
    attempts: tuple[str, ...]


class Scheduler:
    """Hands out leases and settles them. Beyond the waiting shards, memory grows only with those under way."""

    def __init__(
        self,
        shards: Iterable[Shard],
        limits: Limits,
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._waiting: deque[Shard] = deque(shards)
        self._later: list[tuple[float, int, _Record]] = []
        self._suspects: list[tuple[float, int, _Record]] = []
        self._limits = limits
        self._clock = clock
        self._jitter = jitter
        self._records: dict[str, _Record] = {}
        self._held: dict[str, dict[str, _Record]] = {}
        self._single: dict[str, float] = {}
        self._draining: str | None = None
        self._durations: deque[float] = deque(maxlen=100)
        self._sequence = 0

    @property
    def finished(self) -> bool:
        return not (self._waiting or self._records)

    @property
    def remaining(self) -> int:
        """Shards that are neither done nor quarantined."""
        return len(self._waiting) + len(self._records)

    @property
    def queued(self) -> int:
        """Shards that no worker has: never leased, or waiting for their next attempt."""
        return len(self._waiting) + len(self._later) + len(self._suspects)

    def leases(self, worker: str) -> list[Lease]:
        return [record.runs[worker][0] for record in self._held.get(worker, {}).values()]

    def seconds_until_ready(self) -> float | None:
        """Seconds until the back-off of a shard ends; None where none backs off (one that is over waits for a slot)."""
        now = self._clock()
        due = [heap[0][0] - now for heap in (self._later, self._suspects) if heap and heap[0][0] > now]
        return min(due, default=None)

    def lease(self, worker: str) -> Lease | None:
        """The next lease for a worker with a free slot, or None where it must stay idle for now."""
        held = self._held.get(worker, {})
        if any(record.alone for record in held.values()):
            return None
        now = self._clock()
        if held and self._drains(worker, now):
            return None
        record = self._next_record(now, idle=not held)
        if record is None:
            return None
        if not (record.alone or record.repeated):
            self._single[record.shard.id] = now
        record.attempt += 1
        lease = Lease(record.shard, record.attempt)
        record.runs[worker] = (lease, now)
        self._held.setdefault(worker, {})[record.shard.id] = record
        return lease

    def _drains(self, worker: str, now: float) -> bool:
        """One worker at a time is emptied for a suspect that is due, lest it wait for the end of a long run."""
        if not (self._suspects and self._suspects[0][0] <= now):
            self._draining = None
            return False
        self._draining = self._draining or worker
        return self._draining == worker

    def _next_record(self, now: float, *, idle: bool) -> _Record | None:
        for heap in (self._suspects, self._later) if idle else (self._later,):
            if heap and heap[0][0] <= now:
                return heapq.heappop(heap)[2]
        if self._waiting:
            shard = self._waiting.popleft()
            record = self._records[shard.id] = _Record(shard)
            return record
        return self._straggler(now) if idle and not self._later else None

    def _straggler(self, now: float) -> _Record | None:
        """Near the end of a run an idle worker tries again, once, what has run far longer than shards usually do.

        ``_single`` holds the shards that run once and may run twice, in order of lease: the first is the oldest.
        """
        shard_id, since = next(iter(self._single.items()), ("", now))
        if now - since <= self._limits.straggler_floor_s or not self._durations:
            return None
        if now - since <= self._limits.straggler_factor * statistics.median(self._durations):
            return None
        del self._single[shard_id]
        record = self._records[shard_id]
        record.repeated = True
        return record

    def _end_run(self, record: _Record, worker: str) -> float:
        """Take the lease back; returns when it began."""
        self._single.pop(record.shard.id, None)
        held = self._held[worker]
        del held[record.shard.id]
        if not held:
            del self._held[worker]
        return record.runs.pop(worker)[1]

    def _current(self, worker: str, lease: Lease) -> _Record | None:
        """The shard of a lease that still stands; None where the worker was lost or another attempt settled it."""
        record = self._held.get(worker, {}).get(lease.shard.id)
        return record if record is not None and record.runs[worker][0].attempt == lease.attempt else None

    def done(self, worker: str, lease: Lease) -> bool:
        """Settle a finished shard. False where another attempt had settled it before: its outcome counts only once."""
        record = self._current(worker, lease)
        if record is None:
            return False
        self._durations.append(self._clock() - record.runs[worker][1])
        self._forget(record)
        return True

    def _forget(self, record: _Record) -> None:
        """The shard is settled: leases that still run it are superseded. A record with a lease never backs off."""
        for worker in list(record.runs):
            self._end_run(record, worker)
        del self._records[record.shard.id]

    def failed(self, worker: str, lease: Lease, failure: Failure) -> Quarantine | None:
        """Settle a failed attempt: back off and try again, or quarantine (shard fault, or the attempts are used up)."""
        record = self._current(worker, lease)
        if record is None:
            return None
        self._end_run(record, worker)
        record.history.append(f"attempt {lease.attempt} on {worker}: {failure.message}")
        record.failures += 1
        if failure.verdict == "shard" or record.failures >= self._limits.attempts:
            record.reason = failure.message
        return self._go_on(record, record.failures)

    def lost(self, worker: str, cause: str, *, evicted: bool = False) -> list[Quarantine]:
        """A worker is gone. That says nothing of its shards, so they have a limit of their own for it.

        ``evicted``: it went with its node, which says still less.
        """
        quarantined = []
        if self._draining == worker:
            self._draining = None
        for record in list(self._held.get(worker, {}).values()):
            lease = record.runs[worker][0]
            self._end_run(record, worker)
            record.evictions += evicted
            if not evicted or record.evictions > self._limits.evictions:
                record.losses += 1
            record.history.append(f"attempt {lease.attempt}: worker {worker} lost: {cause}")
            if record.alone and record.losses >= self._limits.losses:
                record.reason = f"worker lost {record.losses} times, last: {cause}"
            quarantine = self._go_on(record, max(1, record.losses))
            if quarantine is not None:
                quarantined.append(quarantine)
        return quarantined

    def _go_on(self, record: _Record, times: int) -> Quarantine | None:
        """What becomes of a shard after an attempt that did not finish it: nothing while another attempt runs."""
        if record.runs:
            return None
        if record.reason is not None:
            self._forget(record)
            return Quarantine(record.shard, record.reason, tuple(record.history))
        record.alone = record.losses >= self._limits.losses - 1
        # Full jitter: uniform in (0, base * 2^(times - 1)], bounded.
        bound = min(self._limits.backoff_limit_s, self._limits.backoff_s * 2 ** (times - 1))
        self._sequence += 1
        entry = (self._clock() + bound * self._jitter(), self._sequence, record)
        heapq.heappush(self._suspects if record.alone else self._later, entry)
        return None
