"""Any interleaving of what can happen to shards and workers: each shard must be settled exactly once."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from curator.data import Lease, Shard
from curator.engine.scheduler import Failure, Limits, Quarantine, Scheduler
from tests.engine.clock import Clock

IN_FLIGHT = 2


class SchedulerMachine(RuleBasedStateMachine):
    """Workers take up to two leases; each lease ends by done, a failure, the loss of its worker, or much too late."""

    running = Bundle("running")
    late = Bundle("late")

    @initialize(
        shards=st.integers(0, 12),
        workers=st.integers(1, 4),
        attempts=st.integers(1, 3),
        losses=st.integers(2, 3),
        evictions=st.integers(0, 2),
        jitter=st.floats(0, 1),
    )
    def begin(self, shards: int, workers: int, attempts: int, losses: int, evictions: int, jitter: float) -> None:
        self.clock = Clock()
        self.limits = Limits(attempts, losses, straggler_floor_s=20, straggler_factor=2, evictions=evictions)
        self.shards = [Shard(f"mem/{i}.tar") for i in range(shards)]
        self.scheduler = Scheduler(self.shards, self.limits, clock=self.clock, jitter=lambda: jitter)
        self.workers = [f"w{i}" for i in range(workers)]
        self.born = workers
        self.done: Counter[str] = Counter()
        self.given_up: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.evictions: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.issued: Counter[str] = Counter()

    def note(self, *quarantines: Quarantine | None) -> None:
        for quarantine in quarantines:
            if quarantine is not None:
                self.given_up[quarantine.shard.id] += 1
                assert quarantine.reason
                assert len(quarantine.attempts) <= self.issued[quarantine.shard.id]

    @rule(target=running, data=st.data())
    def fill(self, data: st.DataObject) -> object:
        worker = data.draw(st.sampled_from(self.workers))
        if len(self.scheduler.leases(worker)) >= IN_FLIGHT:
            return multiple()
        lease = self.scheduler.lease(worker)
        if lease is None:
            return multiple()
        self.issued[lease.shard.id] += 1
        assert lease.attempt == self.issued[lease.shard.id]
        assert self.losses[lease.shard.id] < self.limits.losses - 1 or self.scheduler.leases(worker) == [lease]
        return (worker, lease)

    @rule(target=late, entry=consumes(running))
    def finish(self, entry: tuple[str, Lease]) -> object:
        self.done[entry[1].shard.id] += self.scheduler.done(*entry)
        return entry

    @rule(target=late, entry=consumes(running), verdict=st.sampled_from(["shard", "retryable"]))
    def fail(self, entry: tuple[str, Lease], verdict: str) -> object:
        worker, lease = entry
        self.failures[lease.shard.id] += lease in self.scheduler.leases(worker)
        self.note(self.scheduler.failed(worker, lease, Failure(verdict, "no")))  # type: ignore[arg-type]
        return entry

    @rule(data=st.data(), evicted=st.booleans())
    def lose(self, data: st.DataObject, evicted: bool) -> None:
        place = data.draw(st.integers(0, len(self.workers) - 1))
        for lease in self.scheduler.leases(self.workers[place]):
            self.evictions[lease.shard.id] += evicted
            forgiven = evicted and self.evictions[lease.shard.id] <= self.limits.evictions
            self.losses[lease.shard.id] += not forgiven
        self.note(*self.scheduler.lost(self.workers[place], "died", evicted=evicted))
        self.workers[place] = f"w{self.born}"
        self.born += 1

    @rule(entry=late, finished=st.booleans())
    def repeat(self, entry: tuple[str, Lease], finished: bool) -> None:
        """News that comes twice, or after its lease has ended."""
        if finished:
            assert not self.scheduler.done(*entry)
        else:
            assert self.scheduler.failed(*entry, Failure("shard", "late")) is None

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def accounts_balance(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        settled = self.done + self.given_up
        assert max(settled.values(), default=0) <= 1
        assert self.scheduler.remaining == len(self.shards) - len(settled)
        assert self.scheduler.finished == (len(settled) == len(self.shards))
        assert max(self.failures.values(), default=0) <= self.limits.attempts + 1
        assert max(self.losses.values(), default=0) <= self.limits.losses + 1
        held = [lease.shard.id for worker in self.workers for lease in self.scheduler.leases(worker)]
        assert not set(held) & set(settled)
        assert max(Counter(held).values(), default=0) <= 2

    def teardown(self) -> None:
        """Whatever has happened before, a fleet that works from now on settles what is left, without going on."""
        if not hasattr(self, "scheduler"):
            return
        for turn in range(40 + 4 * len(self.shards)):
            if self.scheduler.finished:
                break
            worker = self.workers[turn % len(self.workers)]
            while len(self.scheduler.leases(worker)) < IN_FLIGHT and self.scheduler.lease(worker):
                pass
            for lease in self.scheduler.leases(worker):
                self.done[lease.shard.id] += self.scheduler.done(worker, lease)
            self.clock.advance(60.0)
        assert self.scheduler.finished
        assert self.done + self.given_up == Counter(shard.id for shard in self.shards)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
