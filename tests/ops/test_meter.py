"""The meter by itself: what is counted while leases run, whatever order heartbeats and ends come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from curator.data import Lease, Shard
from curator.engine.assembly import Standing
from curator.engine.fleet import LeaseDone, News, WorkerLost
from curator.engine.metrics import DEVICE_BUSY, IMAGES, IMAGES_RATE, WORKERS_LOST, Meter, Metric
from curator.engine.progress import Progress, Totals
from tests.engine.fleets import receipt_for


class Book:
    """A sink that keeps the sums."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def add(self, metric: Metric, labels: Sequence[str], amount: float) -> None:
        assert len(labels) == len(metric.all_labels)
        assert amount >= 0
        self.values[metric.name] = self.values.get(metric.name, 0.0) + amount

    def set(self, metric: Metric, labels: Sequence[str], value: float) -> None:
        assert len(labels) == len(metric.all_labels)
        self.values[metric.name] = value

    observe = set


class Run:
    def __init__(self) -> None:
        self.now = 100.0
        self.book = Book()
        self.meter = Meter(self.book, "out", clock=lambda: self.now)

    def tell(self, news: News | None = None, **standings: list[Standing]) -> dict[str, float]:
        self.meter(Progress(9, 0, 0, Totals(), 0.0, 0.0, {"ready": 2}, news, standings=standings))
        return self.book.values

    def beat(self, **standings: list[Standing]) -> dict[str, float]:
        self.now += 5.0
        return self.tell(None, **standings)


def at(lease: Lease, rows: int, device_s: float = 0.0) -> Standing:
    return Standing(lease.shard.id, lease.shard.url, lease.attempt, "device", rows, 0.0, device_s)


def done(lease: Lease, rows: int, device_s: float, worker: str = "a") -> LeaseDone:
    receipt: Any = receipt_for(lease)
    return LeaseDone(worker, lease, dataclasses.replace(receipt, rows=rows, seconds={"device": device_s}))


FIRST, SECOND = Lease(Shard("first.tar"), 1), Lease(Shard("second.tar"), 1)


def test_images_are_counted_once_as_they_are_settled() -> None:
    run = Run()
    values = run.beat(a=[at(FIRST, 100, 4.0)], b=[at(SECOND, 50, 1.0)])
    assert (values[IMAGES.name], values[IMAGES_RATE.name]) == (150, 30.0)
    assert values[DEVICE_BUSY.name] == pytest.approx(5.0 / 5.0 / 2)
    assert run.tell(done(FIRST, 120, 4.5))[IMAGES.name] == 170
    values = run.beat(a=[at(FIRST, 120, 4.5)], b=[at(SECOND, 60, 2.0)])  # the standing was on its way
    assert (values[IMAGES.name], values[IMAGES_RATE.name]) == (180, 6.0)
    assert values[DEVICE_BUSY.name] == pytest.approx(1.5 / 5.0 / 2)


def test_a_worker_that_misses_a_heartbeat_is_not_counted_again() -> None:
    run = Run()
    run.beat(a=[at(FIRST, 100)])
    run.tell(done(FIRST, 120, 0.0))
    run.beat()  # a has not answered
    assert run.beat(a=[at(FIRST, 110), at(SECOND, 7)])[IMAGES.name] == 127
    run.beat()
    assert run.beat(a=[at(SECOND, 9)])[IMAGES.name] == 129


def test_what_a_lost_worker_had_done_stays_counted_and_its_retry_is_counted_too() -> None:
    run = Run()
    run.beat(a=[at(FIRST, 40)])
    assert run.tell(WorkerLost("a", "killed"))[WORKERS_LOST.name] == 1
    again = Lease(FIRST.shard, 2)
    assert run.beat(b=[at(again, 10)])[IMAGES.name] == 50
    assert run.tell(done(again, 60, 0.0, "b"))[IMAGES.name] == 100
