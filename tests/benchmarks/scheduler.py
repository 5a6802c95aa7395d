"""What the scheduler costs: a million shards that wait, lease and done cycles, and a thousand workers at the run's end.

python tests/benchmarks/scheduler.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from curator.data import Shard
from curator.engine.scheduler import Failure, Limits, Scheduler

SHARDS = 1_000_000
CYCLES = 10_000
WORKERS = 1_000


def timed(name: str, work: Callable[[], object], times: int = 1) -> None:
    started = time.perf_counter()
    work()
    spent_s = time.perf_counter() - started
    print(f"{name:<66} {spent_s:8.3f} s {1e6 * spent_s / times:10.2f} us each")


def main() -> None:
    shards = [Shard(f"s3://bucket/{i:07d}.tar", 1, "etag") for i in range(SHARDS)]
    now = [0.0]
    made: list[Scheduler] = []
    timed(f"construct with {SHARDS:,} shards", lambda: made.append(Scheduler(shards, Limits(), clock=lambda: now[0])))
    (scheduler,) = made
    names = [f"w{i}" for i in range(WORKERS)]

    def cycles() -> None:
        for i in range(CYCLES):
            lease = scheduler.lease(names[i % WORKERS])
            assert lease is not None
            scheduler.done(names[i % WORKERS], lease)

    def fill(slots: int) -> None:
        for name in names:
            while len(scheduler.leases(name)) < slots and scheduler.lease(name):
                pass

    def fail_all() -> None:
        for name in names:
            for lease in scheduler.leases(name):
                scheduler.failed(name, lease, Failure("retryable", "503"))

    def lose_all() -> None:
        for name in names:
            scheduler.lost(name, "preempted")

    timed(f"{CYCLES:,} lease and done, nobody else busy", cycles, CYCLES)
    timed(f"fill two slots of {WORKERS:,} workers", lambda: fill(2), 2 * WORKERS)
    timed(f"one turn of the driver: {WORKERS:,} full workers asked", lambda: fill(2), WORKERS)
    timed(f"all {2 * WORKERS:,} leases fail and back off", fail_all, 2 * WORKERS)
    timed(f"{CYCLES:,} lease and done, {2 * WORKERS:,} shards backing off", cycles, CYCLES)
    now[0] += 1000.0
    fill(2)
    timed(f"all {WORKERS:,} workers are lost with two leases each", lose_all, 2 * WORKERS)
    now[0] += 1000.0
    fill(2)
    lose_all()
    now[0] += 1000.0
    timed(f"{CYCLES:,} lease and done, 2,000 suspects due", cycles, CYCLES)

    end = Scheduler(shards[: 2 * WORKERS + 1], Limits(), clock=lambda: now[0])
    scheduler = end
    fill(2)
    first = scheduler.lease("quick")
    assert first is not None
    now[0] += 1.0
    scheduler.done("quick", first)

    def ask() -> None:
        for i in range(WORKERS):
            end.lease(f"idle-{i}")

    timed(f"{WORKERS:,} idle workers ask at the end, no straggler", ask, WORKERS)
    now[0] += 1000.0
    timed(f"{WORKERS:,} idle workers ask at the end, 2,000 stragglers", ask, WORKERS)


if __name__ == "__main__":
    main()
