"""Memory is flat: of a worker over many shards, and of a driver over a million."""

from __future__ import annotations

import gc
import logging
import threading
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from curator.data import Lease, Receipt, Shard
from curator.engine.assembly import Standing
from curator.engine.driver import Driver, DriverSettings
from curator.engine.fleet import LeaseDone, LeaseFailed, News, WorkerReady
from curator.engine.ledger import Ledger, make_plan
from curator.engine.progress import Progress
from curator.engine.run import label
from curator.engine.scheduler import Failure, Limits, Scheduler
from curator.storage import open_storage
from tests.run.jobs import job_config, local_fleet, write_shards

MIB = 2**20


class ManyHanded:
    """A fleet whose one worker does every lease at once and says so; each tenth fails the first time."""

    in_flight = 64
    alive = 1

    def __init__(self) -> None:
        self._news: list[News] = []

    def start(self) -> None:
        self._news.append(WorkerReady("w", {}, 0.0))

    def submit(self, worker: str, lease: Lease) -> None:
        shard = lease.shard
        if lease.attempt == 1 and shard.id.endswith("0"):
            self._news.append(LeaseFailed(worker, lease, Failure("retryable", "a fault")))
            return
        seconds = dict.fromkeys(("read", "decode", "device", "label", "write"), 0.1)
        receipt = Receipt(shard.id, shard.url, 1, "e", 1, 10, 10, 0, {}, "part", 1, seconds, 0.5, "digest")
        self._news.append(LeaseDone(worker, lease, receipt))

    def wait(self, timeout_s: float) -> Sequence[News]:
        news, self._news = self._news, []
        return news

    def standings(self) -> Mapping[str, Sequence[Standing] | None]:
        return {}

    def kill(self, worker: str, cause: str) -> None:
        raise AssertionError

    def status(self) -> Mapping[str, Any]:
        return {}

    def close(self, grace_s: float) -> None:
        pass


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What pytest keeps of the log would be what grows."""
    caplog.set_level(logging.CRITICAL, logger="curator")


def drive(shards: int, observe: Any) -> None:
    ledger = Ledger(open_storage(), f"memory://many-{shards}/out")
    plan = make_plan((Shard(f"s3://bucket/{number:08d}.tar", 10**8, "etag") for number in range(shards)), ledger)
    clock = iter(range(10**9))  # a second for each look, so that no back-off is waited for
    now = lambda: float(next(clock))  # noqa: E731
    driver = Driver(
        plan, Scheduler(plan.todo, Limits(), clock=now), ManyHanded(), ledger, DriverSettings(startup_s=1e12),
        check=lambda _: None, observe=observe, stop=threading.Event(), lock_lost=threading.Event(), clock=now,
    )  # fmt: skip
    driver.run()
    assert driver.totals.shards == shards
    assert driver.totals.rows == 10 * shards


def test_what_the_driver_keeps_does_not_grow_as_it_goes() -> None:
    marks: list[int] = []

    def observe(progress: Progress) -> None:
        if progress.settled in (1_000, 9_000) and len(marks) < 2 and isinstance(progress.news, LeaseDone):
            gc.collect()
            marks.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        drive(10_000, observe)
    finally:
        tracemalloc.stop()
    assert marks[1] - marks[0] < 128 * 1024, marks


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_driver_over_a_million_shards_stays_under_a_gigabyte() -> None:
    process = psutil.Process()
    before, peak = process.memory_info().rss, 0

    def observe(progress: Progress) -> None:
        nonlocal peak
        if progress.settled % 100_000 == 1:
            peak = max(peak, process.memory_info().rss)

    drive(1_000_000, observe)
    assert peak - before < 1024 * MIB, (peak - before) / MIB


def memory_over_shards(folder: Path, encoder: Path, output: Path, shards: int, warm: int) -> list[float]:
    """RSS in MiB after each shard from ``warm`` on, of a local run over ``shards`` names of few contents."""
    first, *_ = write_shards(folder, 1, samples=48)
    for number in range(1, shards):
        (folder / f"{number:04d}.tar").hardlink_to(first)
    config = job_config(folder, encoder, output, in_flight=2)
    process, rss = psutil.Process(), []

    def observe(progress: Progress) -> None:
        if isinstance(progress.news, LeaseDone) and progress.settled >= warm:
            rss.append(process.memory_info().rss / MIB)

    assert label(config, fleet=local_fleet(config), observe=observe).status == "complete"
    return rss


def slope(values: Sequence[float]) -> float:
    """Of the least-squares line: units per step."""
    n, mean = len(values), sum(values) / len(values)
    centre = (n - 1) / 2
    return sum((i - centre) * (value - mean) for i, value in enumerate(values)) / sum(
        (i - centre) ** 2 for i in range(n)
    )


@pytest.mark.parametrize(
    ("shards", "warm", "bound"),
    [
        (40, 15, 0.5),
        pytest.param(300, 60, 0.05, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_rss_of_a_worker_is_flat(shards: int, warm: int, bound: float, tiny_encoder_dir: Path, tmp_path: Path) -> None:
    """A shard's pixels alone are 48 * 9 KiB; one shard that is kept would be 0.4 MiB a step."""
    rss = memory_over_shards(tmp_path / "shards", tiny_encoder_dir, tmp_path / "out", shards, warm)
    assert slope(rss) < bound, (slope(rss), rss[0], rss[-1])
