"""What a run measures: every metric's declaration, and the meter that reads them off a run's progress.

Knows no Prometheus and no Ray: a sink is whatever counts and shows the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from curator.engine.fleet import LeaseDone, LeaseFailed, WorkerLost
from curator.engine.progress import Progress

PREFIX = "curator_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric by Prometheus' conventions: base units, counters end in ``_total``. ``labels`` besides ``output``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def all_labels(self) -> tuple[str, ...]:
        return ("output", *self.labels)


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", help, labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}", "gauge", help, labels)


ROWS = _counter("rows", "Rows of the shards done by this run", "status")
REJECTS = _counter("rejects", "Rejected samples of the shards done by this run", "reason")
READ_BYTES = _counter("read_bytes", "Bytes of the shards done by this run, as they are stored")
WRITTEN_BYTES = _counter("written_bytes", "Bytes of the Parquet parts written by this run")
STAGE_SECONDS = _counter("stage_seconds", "Seconds of work of the shards done, by stage; stages overlap", "stage")
SHARDS = _counter("shards", "Shards settled by this run", "outcome")
ATTEMPTS = _counter("attempts", "Leases given to workers; more than one of a shard are retries")
FAILURES = _counter("attempt_failures", "Attempts that ended in an error", "verdict")
WORKERS_LOST = _counter("workers_lost", "Workers that died or were ended")
IMAGES = _counter("images", "Samples settled as they go, those of attempts that fail later among them")
PLANNED = _gauge("planned_shards", "Shards that this run has to do")
QUEUED = _gauge("queued_shards", "Shards that no worker has yet")
IN_FLIGHT = _gauge("in_flight_shards", "Shards that workers have at present")
QUARANTINED = _gauge("quarantined_shards", "Shards that this run has given up")
WORKERS = _gauge("workers", "Workers at present", "state")
IMAGES_RATE = _gauge("images_per_second", "Samples settled in a second, since the last heartbeat")
DEVICE_BUSY = _gauge("device_busy_ratio", "Share of time in which the ready workers' devices had work, likewise")
ELAPSED = _gauge("elapsed_seconds", "Seconds since the run began")
STARTUP = _gauge("startup_seconds", "Seconds from the run's begin until a worker was ready")
SHARD_SECONDS = Metric(
    f"{PREFIX}shard_seconds",
    "histogram",
    "Seconds from a shard's lease to its receipt",
    buckets=(1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600),
)

METRICS = (
    ROWS, REJECTS, READ_BYTES, WRITTEN_BYTES, STAGE_SECONDS, SHARDS, ATTEMPTS, FAILURES, WORKERS_LOST, IMAGES,
    PLANNED, QUEUED, IN_FLIGHT, QUARANTINED, WORKERS, IMAGES_RATE, DEVICE_BUSY, ELAPSED, STARTUP, SHARD_SECONDS,
)  # fmt: skip


class Sink(Protocol):
    """Where numbers go. ``labels`` are values in the order of the metric's ``all_labels``."""

    def add(self, metric: Metric, labels: Sequence[str], amount: float) -> None: ...

    def set(self, metric: Metric, labels: Sequence[str], value: float) -> None: ...

    def observe(self, metric: Metric, labels: Sequence[str], value: float) -> None: ...


class Meter:
    """An observer of a run that keeps a sink's numbers in step with its progress: counters are this run's totals."""

    def __init__(self, sink: Sink, output: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._output = output
        self._clock = clock
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        self._live: dict[tuple[str, str, int], tuple[float, float]] = {}
        self._ended: set[tuple[str, str, int]] = set()
        self._images = self._device_s = 0.0
        self._window = (clock(), 0.0, 0.0)

    def __call__(self, progress: Progress) -> None:
        self._count(progress)
        news = progress.news
        if isinstance(news, LeaseDone):
            self._end(news)
            self._sink.observe(SHARD_SECONDS, (self._output,), news.receipt.total_s)
        elif isinstance(news, LeaseFailed):
            self._sink.add(FAILURES, (self._output, news.failure.verdict), 1)
        elif isinstance(news, WorkerLost):
            self._sink.add(WORKERS_LOST, (self._output,), 1)
            self._live = {key: done for key, done in self._live.items() if key[0] != news.worker}
            self._ended = {key for key in self._ended if key[0] != news.worker}
        elif news is None:
            self._follow(progress)
        self._raise(IMAGES, self._images)
        if news is None or progress.settled == progress.shards:
            self._rate(progress)

    def _count(self, progress: Progress) -> None:
        totals = progress.totals
        self._raise(ROWS, totals.rows - totals.rejected, "ok")
        self._raise(ROWS, totals.rejected, "rejected")
        for reason, count in totals.reasons.items():
            self._raise(REJECTS, count, reason)
        for stage, seconds in totals.seconds.items():
            self._raise(STAGE_SECONDS, seconds, stage)
        self._raise(READ_BYTES, totals.read_bytes)
        self._raise(WRITTEN_BYTES, totals.part_bytes)
        self._raise(SHARDS, totals.shards, "done")
        self._raise(SHARDS, progress.quarantined, "quarantined")
        self._raise(ATTEMPTS, progress.attempts)
        gauges = {
            PLANNED: progress.shards,
            QUEUED: progress.queued,
            IN_FLIGHT: progress.shards - progress.settled - progress.queued,
            QUARANTINED: progress.quarantined,
            ELAPSED: progress.elapsed_s,
        }
        if progress.working_s:
            gauges[STARTUP] = progress.elapsed_s - progress.working_s
        for gauge, value in gauges.items():
            self._sink.set(gauge, (self._output,), value)
        for state in ("ready", "starting", "leaving"):
            self._sink.set(WORKERS, (self._output, state), progress.fleet.get(state, 0))

    def _raise(self, metric: Metric, total: float, *labels: str) -> None:
        """Bring a counter up to ``total``. One that is 0 is shown, too: a rate needs a beginning."""
        key = (metric.name, labels)
        before = self._told.get(key)
        if before is None or total > before:
            self._sink.add(metric, (self._output, *labels), total - (before or 0.0))
            self._told[key] = total

    def _end(self, news: LeaseDone) -> None:
        """What a lease had not yet been seen to do; a standing of it that arrives later counts no more."""
        key = (news.worker, news.lease.shard.id, news.lease.attempt)
        rows, device_s = self._live.pop(key, (0.0, 0.0))
        self._images += max(0.0, news.receipt.rows - rows)
        self._device_s += max(0.0, news.receipt.seconds.get("device", 0.0) - device_s)
        self._ended.add(key)

    def _follow(self, progress: Progress) -> None:
        """Count what the leases under way have done since they were last seen. A worker may miss a heartbeat."""
        seen = {
            (worker, standing.shard_id, standing.attempt): standing
            for worker, standings in progress.standings.items()
            for standing in standings
        }
        silent = {key for key in (*self._live, *self._ended) if key[0] not in progress.standings}
        self._ended &= seen.keys() | silent
        before = self._live
        self._live = {key: done for key, done in before.items() if key in silent}
        for key, standing in seen.items():
            if key in self._ended:
                continue
            rows, device_s = before.get(key, (0.0, 0.0))
            self._images += max(0.0, standing.rows - rows)
            self._device_s += max(0.0, standing.device_s - device_s)
            self._live[key] = (max(rows, standing.rows), max(device_s, standing.device_s))

    def _rate(self, progress: Progress) -> None:
        now = self._clock()
        since, images, device_s = self._window
        if now <= since:
            return
        self._window = (now, self._images, self._device_s)
        self._sink.set(IMAGES_RATE, (self._output,), (self._images - images) / (now - since))
        ready = progress.fleet.get("ready", 0)
        if ready:
            busy = (self._device_s - device_s) / (now - since) / ready
            self._sink.set(DEVICE_BUSY, (self._output,), min(1.0, busy))
