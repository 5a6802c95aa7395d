"""The run: fills free workers with leases, settles what comes back, watches over both, and says how it ended.

It knows the scheduler, the ledger and a fleet, and nothing of images, models or Ray.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from curator.data import Receipt
from curator.engine.assembly import Standing
from curator.engine.fleet import Fleet, LeaseDone, LeaseFailed, News, WorkerLeaving, WorkerLost, WorkerReady
from curator.engine.ledger import Ledger, Plan, version_of
from curator.engine.progress import Progress, Totals
from curator.engine.scheduler import Quarantine, Scheduler
from curator.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """Bounds of a run. Seconds are wall clock. Fewer than ``min_workers`` for ``startup_s`` end it."""

    stall_s: float = 300.0
    heartbeat_s: float = 5.0
    silence_s: float = 60.0
    startup_s: float = 900.0
    worker_losses: int = 20
    min_workers: int = 1
    max_seconds: float | None = None
    grace_s: float = 30.0


class StoppedError(Exception):
    """The run was ended before its shards were: by a signal, the time window or the loss of the lock. It can resume.

    ``drain`` says whether leases under way may still finish.
    """

    def __init__(self, message: str, *, drain: bool = True) -> None:
        super().__init__(message)
        self.drain = drain


class FleetLostError(Exception):
    """Too many workers died one after the other, or too few came; the run cannot go on."""


class Driver:
    """One run over one plan. ``run`` returns when every shard is settled, and raises why it stopped otherwise."""

    def __init__(
        self,
        plan: Plan,
        scheduler: Scheduler,
        fleet: Fleet,
        ledger: Ledger,
        settings: DriverSettings,
        *,
        check: Callable[[Mapping[str, str]], None],
        observe: Callable[[Progress], None],
        stop: threading.Event,
        lock_lost: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._scheduler = scheduler
        self._fleet = fleet
        self._ledger = ledger
        self._settings = settings
        self._check = check
        self._observe = observe
        self._stop = stop
        self._lock_lost = lock_lost
        self._clock = clock
        self._ready: dict[str, float] = {}
        self._leaving: set[str] = set()
        self.startup_s: float | None = None
        self.first_shard_s: float | None = None
        self._silent_since: dict[str, float] = {}
        self._unseen_since: dict[tuple[str, str], float] = {}
        self._losses_in_a_row = 0
        self._attempts = 0
        self._standings: dict[str, Sequence[Standing]] = {}
        self._started_at = self._watched_at = self._too_few_since = clock()
        self.totals = Totals()
        self.quarantined: list[Quarantine] = []

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._started_at

    @property
    def working_s(self) -> float:
        """Seconds since the first worker was ready: what rates are counted over."""
        return 0.0 if self.startup_s is None else self.elapsed_s - self.startup_s

    def run(self) -> None:
        self._fleet.start()
        self._tell(None)
        try:
            while not self._scheduler.finished:
                self._refuse_to_go_on()
                self._fill()
                self._turn()
        except StoppedError as stopped:
            if stopped.drain:
                self._drain()
            raise

    def _drain(self) -> None:
        """Give the leases under way ``grace_s`` to finish, so that a stop wastes as little as it can."""
        until = self._clock() + self._settings.grace_s
        with contextlib.suppress(FleetLostError):  # the run stops anyway, and for another reason
            while self._clock() < until and not self._lock_lost.is_set():
                if not any(self._scheduler.leases(worker) for worker in (*self._ready, *self._leaving)):
                    return
                self._turn()

    def _turn(self) -> None:
        """Hear what has happened, and look after the workers when it is time to."""
        ready_s = self._scheduler.seconds_until_ready()
        self._hear_all(0.5 if ready_s is None else min(0.5, max(0.01, ready_s)))
        if self._clock() - self._watched_at >= self._settings.heartbeat_s:
            self._watched_at = self._clock()
            self._watch()
            self._hear_all(0.0)  # a worker ended just now must not be given a lease
            self._tell(None)

    def _hear_all(self, timeout_s: float) -> None:
        for news in self._fleet.wait(timeout_s):
            self._hear(news)

    def _refuse_to_go_on(self) -> None:
        if self._lock_lost.is_set():
            raise StoppedError("another driver has taken over the lock of this output", drain=False)
        if self._stop.is_set():
            raise StoppedError("stopped by a signal")
        if self._settings.max_seconds is not None and self.elapsed_s > self._settings.max_seconds:
            raise StoppedError(f"the time window of {self._settings.max_seconds:g} s is over")
        ready, wanted = len(self._ready), self._settings.min_workers
        if ready < wanted and self._clock() - self._too_few_since > self._settings.startup_s:
            found = f"only {ready} of at least {wanted} workers were" if ready else "no worker was"
            raise FleetLostError(
                f"{found} ready for {self._settings.startup_s:g} s ({dict(self._fleet.status())}); "
                "check that the cluster has the CPUs and GPUs that [ray] asks for"
            )

    def _fill(self) -> None:
        for worker in [worker for worker in self._leaving if not self._scheduler.leases(worker)]:
            self._leaving.discard(worker)
            self._fleet.release(worker)
        for worker in self._ready:
            while len(self._scheduler.leases(worker)) < self._fleet.in_flight:
                lease = self._scheduler.lease(worker)
                if lease is None:
                    break
                self._fleet.submit(worker, lease)
                self._attempts += 1

    def _hear(self, news: News) -> None:
        if isinstance(news, WorkerReady):
            self._check(news.provenance)
            self._ready[news.worker] = self._clock()
            if self.startup_s is None:
                self.startup_s = self.elapsed_s
            logger.info(
                "worker ready worker=%s startup_s=%.1f", news.worker, news.startup_s, extra={"worker": news.worker}
            )
        elif isinstance(news, LeaseDone):
            self._losses_in_a_row = 0
            if self._scheduler.done(news.worker, news.lease):
                self._settle(news.receipt)
        elif isinstance(news, LeaseFailed):
            if news.failure.verdict == "config":
                raise ConfigError(news.failure.message)
            logger.warning(
                "attempt failed url=%s attempt=%d worker=%s verdict=%s: %s",
                news.lease.shard.url, news.lease.attempt, news.worker, news.failure.verdict, news.failure.message,
                extra={"shard": news.lease.shard.url, "attempt": news.lease.attempt, "worker": news.worker},
            )  # fmt: skip
            logger.debug("%s", news.failure.traceback)
            quarantine = self._scheduler.failed(news.worker, news.lease, news.failure)
            if quarantine is not None:
                self._give_up(quarantine)
        elif isinstance(news, WorkerLeaving):
            self._withdraw(news.worker)
            self._leaving.add(news.worker)
            logger.warning("worker leaving worker=%s cause=%s", news.worker, news.cause, extra={"worker": news.worker})
        else:
            self._lose(news)
        self._tell(news)

    def _settle(self, receipt: Receipt) -> None:
        logger.info(
            "shard done url=%s attempt=%d rows=%d rejected=%d device_s=%.1f total_s=%.1f",
            receipt.url, receipt.attempt, receipt.rows, receipt.rejected, receipt.seconds["device"], receipt.total_s,
            extra={"shard": receipt.url, "attempt": receipt.attempt, "rows": receipt.rows, "total_s": receipt.total_s},
        )  # fmt: skip
        self.totals.add(receipt)
        if self.first_shard_s is None:
            self.first_shard_s = self.elapsed_s
        stale = self._plan.stale.get(receipt.shard_id)
        if stale:
            kept = version_of(receipt.size, receipt.etag)
            self._ledger.drop_receipts(receipt.shard_id, (version for version in stale if version != kept))

    def _withdraw(self, worker: str) -> None:
        """The worker gets no more leases."""
        gone = self._ready.pop(worker, None) is not None
        if gone and len(self._ready) == self._settings.min_workers - 1:
            self._too_few_since = self._clock()

    def _lose(self, news: WorkerLost) -> None:
        self._withdraw(news.worker)
        self._leaving.discard(news.worker)
        self._silent_since.pop(news.worker, None)
        if news.config:
            raise ConfigError(news.cause)
        self._losses_in_a_row += 1
        logger.warning("worker lost worker=%s cause=%s", news.worker, news.cause, extra={"worker": news.worker})
        for quarantine in self._scheduler.lost(news.worker, news.cause, evicted=news.evicted):
            self._give_up(quarantine)
        if self._losses_in_a_row >= self._settings.worker_losses or not self._fleet.alive:
            raise FleetLostError(
                f"{self._losses_in_a_row} workers died without one shard done in between, the last: {news.cause}"
            )

    def _give_up(self, quarantine: Quarantine) -> None:
        self.quarantined.append(quarantine)
        self._ledger.quarantine(quarantine)
        said = {"shard": quarantine.shard.url, "attempt": len(quarantine.attempts)}
        logger.error("shard quarantined url=%s reason=%s", quarantine.shard.url, quarantine.reason, extra=said)
        self._tell(quarantine)

    def _watch(self) -> None:
        """End workers that do not answer, and those with a lease that has not moved for too long."""
        now = self._clock()
        unseen, self._unseen_since = self._unseen_since, {}
        self._standings = {}
        for worker, standings in self._fleet.standings().items():
            if worker not in self._ready and worker not in self._leaving:
                continue
            if standings is None:
                since = self._silent_since.setdefault(worker, now)
                if now - since >= self._settings.silence_s:
                    self._fleet.kill(worker, f"no sign of life for {now - since:.0f} s")
                continue
            self._silent_since.pop(worker, None)
            self._standings[worker] = standings
            stuck = self._stuck(worker, standings, unseen)
            if stuck:
                self._fleet.kill(worker, stuck)

    def _stuck(self, worker: str, standings: Sequence[Standing], unseen: Mapping[tuple[str, str], float]) -> str | None:
        """Which lease of the worker has not moved for too long; one on its way there or back may not be so either."""
        found, now = {standing.shard_id: standing for standing in standings}, self._clock()
        for lease in self._scheduler.leases(worker):
            standing = found.get(lease.shard.id)
            if standing is None:
                since = self._unseen_since[worker, lease.shard.id] = unseen.get((worker, lease.shard.id), now)
                idle_s = now - since
                place = "is not among what its worker works on"
            else:
                idle_s = standing.idle_s
                place = f"stands in stage {standing.stage} at row {standing.rows}"
            if idle_s > self._settings.stall_s:
                return f"{lease.shard.url} {place} and has not moved for {idle_s:.0f} s"
        return None

    def _tell(self, news: News | Quarantine | None) -> None:
        self._observe(
            Progress(
                shards=len(self._plan.todo),
                settled=self.totals.shards + len(self.quarantined),
                quarantined=len(self.quarantined),
                totals=self.totals,
                elapsed_s=self.elapsed_s,
                working_s=self.working_s,
                fleet=self._fleet.status(),
                news=news,
                queued=self._scheduler.queued,
                attempts=self._attempts,
                standings=self._standings,
            )
        )
