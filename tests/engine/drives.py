"""A driver over shards in memory and a scripted fleet, with everything that it was told and has told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from curator.data import Shard
from curator.engine.driver import Driver, DriverSettings
from curator.engine.fleet import LeaseDone
from curator.engine.ledger import Ledger, make_plan
from curator.engine.progress import Progress
from curator.engine.scheduler import Failure, Limits, Scheduler
from curator.storage import MemoryStorage
from tests.engine.clock import Clock
from tests.engine.fleets import Act, ScriptedFleet, receipt_for

AGAIN = Failure("retryable", "503", "Traceback")
BROKEN = Failure("shard", "cut at byte 7")


class Run:
    """``script`` maps the number of a shard to what happens to its leases; the rest are settings of the driver."""

    def __init__(
        self,
        n: int,
        script: Mapping[int, list[Act]] | None = None,
        *,
        workers: int = 1,
        replacements: int = 9,
        check: Callable[[Mapping[str, str]], None] = lambda provenance: None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.shards = [Shard(f"mem/{i}.tar", i, "e") for i in range(n)]
        scripted = {self.shards[i].url: acts for i, acts in (script or {}).items()}
        self.fleet = ScriptedFleet(self.clock, scripted, workers=workers, replacements=replacements)
        self.ledger = Ledger(MemoryStorage(), f"memory://driver-{id(self)}/out")
        self.plan = make_plan(self.shards, self.ledger)
        self.scheduler = Scheduler(self.plan.todo, Limits(losses=2), clock=self.clock, jitter=lambda: 1.0)
        self.stop, self.lock_lost = threading.Event(), threading.Event()
        self.told: list[Progress] = []
        self.news: list[Any] = []
        self.settings = DriverSettings(**settings)
        self.check = check
        self.driver: Driver | None = None

    def observe(self, progress: Progress) -> None:
        self.told.append(progress)
        self.news.append((progress.news, progress.settled, progress.quarantined))

    def run(self) -> Driver:
        self.driver = Driver(
            self.plan, self.scheduler, self.fleet, self.ledger, self.settings,
            check=self.check, observe=self.observe, stop=self.stop, lock_lost=self.lock_lost, clock=self.clock,
        )  # fmt: skip
        self.driver.run()
        return self.driver

    def given(self) -> Counter[str]:
        return Counter(lease.shard.url for _, lease in self.fleet.submitted)


def stop_at(run: Run, seconds: float, event: threading.Event) -> None:
    run.fleet.on_wait.append(lambda: event.set() if run.clock.now >= 1000 + seconds else None)


def finish_at(run: Run, seconds: float) -> None:
    """Every lease under way ends well at that time."""

    def act() -> None:
        if run.clock.now >= 1000 + seconds:
            for worker, lease in run.fleet.submitted:
                if (worker, lease.shard.url) in run.fleet.moved:
                    run.fleet.news.append(LeaseDone(worker, lease, receipt_for(lease)))

    run.fleet.on_wait.append(act)
