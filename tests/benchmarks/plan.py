"""What a plan costs the driver: CPU seconds and memory for a million shards of which half have a receipt.

python tests/benchmarks/plan.py [shards]
"""

from __future__ import annotations

import sys
import time

import psutil

from curator.data import Shard
from curator.engine.ledger import Ledger, make_plan, version_of
from curator.engine.scheduler import Limits, Scheduler
from curator.storage import MemoryStorage

OUTPUT = "memory://bench/out"


def rss_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


def shard(i: int) -> Shard:
    return Shard(f"s3://bucket/laion/2026-11-22/{i:07d}.tar", 300_000_000 + i, f'"{i:032x}"')


def main(shards: int) -> None:
    storage = MemoryStorage()
    ledger = Ledger(storage, OUTPUT)
    for i in range(0, shards, 2):
        one = shard(i)
        storage.write(ledger.receipt_url(one.id, version_of(one.size, one.etag)), b"{}")
    base_mb = rss_mb()
    print(f"the storage itself, with {shards // 2:,} receipts: {base_mb:.0f} MB")

    started = time.process_time()
    manifest = [shard(i) for i in range(shards)]
    listed_s = time.process_time() - started
    print(f"manifest of {shards:,}: {listed_s:.1f} s of CPU, +{rss_mb() - base_mb:.0f} MB")

    started = time.process_time()
    plan = make_plan(manifest, ledger)
    planned_s = time.process_time() - started
    print(f"plan, its listing of receipts included: {planned_s:.1f} s of CPU, +{rss_mb() - base_mb:.0f} MB at its end")
    print(f"todo {len(plan.todo):,}, done {plan.done:,}")

    started = time.process_time()
    scheduler = Scheduler(plan.todo, Limits(), clock=time.monotonic)
    scheduled_s = time.process_time() - started
    print(f"scheduler: {scheduled_s:.2f} s of CPU, +{rss_mb() - base_mb:.0f} MB, {scheduler.remaining:,} remain")
    peak_mb = _peak_mb()
    print(f"peak of the driver, less the storage: {peak_mb - base_mb:.0f} MB (whole process {peak_mb:.0f} MB)")


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
