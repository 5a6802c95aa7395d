"""The fleet of one machine: start, replacement, kill, and news of workers that are gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from curator.data import Lease, Receipt, Shard
from curator.engine.assembly import Standing
from curator.engine.backends.local import LocalFleet
from curator.engine.fleet import LeaseDone, LeaseFailed, News, WorkerLost, WorkerReady, failure_of
from curator.errors import ConfigError, NotFoundError, RetryableError
from tests.engine.fleets import receipt_for

LEASE = Lease(Shard("mem/a.tar", 1, "e"))


class FakeWorker:
    """Processes a lease by calling ``body``; closing it releases whoever waits for ``closed``."""

    provenance = {"encoder_digest": "x"}  # noqa: RUF012 - never changed

    def __init__(self, body: Callable[[FakeWorker], object] = lambda worker: None) -> None:
        self.body = body
        self.closed = threading.Event()

    def process(self, lease: Lease) -> Receipt:
        self.body(self)
        return receipt_for(lease)

    def standings(self) -> list[Standing]:
        return [Standing(LEASE.shard.id, LEASE.shard.url, 1, "read", 0, 0.0)]

    def close(self) -> None:
        self.closed.set()


def hear(fleet: LocalFleet, n: int, timeout_s: float = 60.0) -> list[News]:
    found: list[News] = []
    until = time.monotonic() + timeout_s
    while len(found) < n:
        assert time.monotonic() < until, found
        found += fleet.wait(0.1)
    return found


def ready(fleet: LocalFleet) -> str:
    (news,) = hear(fleet, 1)
    assert isinstance(news, WorkerReady)
    return news.worker


@pytest.fixture
def made() -> Iterator[list[FakeWorker]]:
    workers: list[FakeWorker] = []
    yield workers
    for worker in workers:
        worker.close()


def builder(made: list[FakeWorker], bodies: Sequence[Callable[[FakeWorker], object]]) -> Callable[[], FakeWorker]:
    left = list(bodies)

    def build() -> FakeWorker:
        made.append(FakeWorker(left.pop(0) if len(left) > 1 else left[0]))
        return made[-1]

    return build


def test_a_worker_announces_itself_and_works(made: list[FakeWorker]) -> None:
    fleet = LocalFleet(builder(made, [lambda worker: None]), in_flight=3)
    assert fleet.in_flight == 3
    fleet.start()
    assert fleet.alive == 1
    (news,) = hear(fleet, 1)
    assert isinstance(news, WorkerReady)
    assert news.provenance == {"encoder_digest": "x"}
    assert fleet.status() == {"ready": 1, "starting": 0, "lost": 0}
    assert [standing.stage for standing in fleet.standings()[news.worker] or ()] == ["read"]
    fleet.submit(news.worker, LEASE)
    assert hear(fleet, 1) == [LeaseDone(news.worker, LEASE, receipt_for(LEASE))]


@pytest.mark.parametrize(
    ("error", "verdict", "message"),
    [
        (NotFoundError("mem/a.tar: does not exist"), "shard", "mem/a.tar: does not exist"),
        (RetryableError("503"), "retryable", "503"),
        (ConfigError("no bucket"), "config", "no bucket"),
        (ZeroDivisionError("division"), "retryable", "ZeroDivisionError: division"),
        (MemoryError(), "retryable", "MemoryError: MemoryError()"),
        (SystemExit(3), "retryable", "SystemExit: 3"),
    ],
)
def test_what_a_lease_raises_comes_back_as_its_verdict(
    made: list[FakeWorker], error: BaseException, verdict: str, message: str
) -> None:
    def throw(worker: FakeWorker) -> None:
        raise error

    fleet = LocalFleet(builder(made, [throw]))
    fleet.start()
    worker = ready(fleet)
    fleet.submit(worker, LEASE)
    (news,) = hear(fleet, 1)
    assert isinstance(news, LeaseFailed)
    assert (news.worker, news.lease, news.failure.verdict, news.failure.message) == (worker, LEASE, verdict, message)
    assert bool(news.failure.traceback) == (verdict == "retryable")
    assert failure_of(error).verdict == verdict


def test_a_worker_that_does_not_start_is_tried_again_up_to_the_bound() -> None:
    built = []

    def build() -> FakeWorker:
        built.append(1)
        raise OSError("out of memory")

    fleet = LocalFleet(build, replacements=2)
    fleet.start()
    alive: list[int] = []
    news: list[News] = []
    while len(news) < 3:
        for item in fleet.wait(1.0):
            news.append(item)
            alive.append(fleet.alive)
    assert len(built) == 3
    assert [item.cause for item in news if isinstance(item, WorkerLost)] == [
        "did not start: OSError: out of memory"
    ] * 3
    assert alive[-1] == 0
    assert fleet.status() == {"ready": 0, "starting": 0, "lost": 3}
    assert fleet.wait(0.05) == []


def test_a_machine_without_threads_for_a_successor_ends_the_fleet_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "curator-local-1":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    def build() -> FakeWorker:
        raise OSError("out of memory")

    fleet = LocalFleet(build, replacements=2)
    fleet.start()
    (news,) = hear(fleet, 1)
    assert isinstance(news, WorkerLost)
    assert news.cause == "did not start: OSError: out of memory"
    assert fleet.alive == 0


@pytest.mark.parametrize("repetition", range(20))
def test_whoever_hears_of_a_failed_start_finds_its_successor_alive(repetition: int) -> None:
    """Else the driver would take the fleet for lost."""
    gate = threading.Event()
    tries: list[int] = []

    def build() -> FakeWorker:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("busy")
        gate.wait(60)
        return FakeWorker()

    fleet = LocalFleet(build)
    fleet.start()
    hear(fleet, 1)
    assert fleet.alive == 1
    gate.set()
    ready(fleet)


def test_a_config_error_at_the_start_is_fatal_and_not_tried_again() -> None:
    built = []

    def build() -> FakeWorker:
        built.append(1)
        raise ConfigError("no such encoder")

    fleet = LocalFleet(build)
    fleet.start()
    assert hear(fleet, 1) == [WorkerLost("local-0", "no such encoder", config=True)]
    assert built == [1]


def test_a_killed_worker_is_closed_replaced_and_its_late_news_bear_its_name(made: list[FakeWorker]) -> None:
    gate = threading.Event()
    fleet = LocalFleet(builder(made, [lambda worker: gate.wait(60), lambda worker: None]))
    fleet.start()
    first = ready(fleet)
    fleet.submit(first, LEASE)
    fleet.kill(first, "stuck in read")
    news = hear(fleet, 2)
    assert news[0] == WorkerLost(first, "stuck in read")
    assert isinstance(news[1], WorkerReady)
    second = news[1].worker
    assert second != first
    assert made[0].closed.wait(60)
    assert fleet.alive == 1
    assert list(fleet.standings()) == [second]
    fleet.submit(second, LEASE)
    assert hear(fleet, 1) == [LeaseDone(second, LEASE, receipt_for(LEASE))]
    gate.set()
    assert hear(fleet, 1) == [LeaseDone(first, LEASE, receipt_for(LEASE))]


def test_killing_a_worker_twice_or_an_unknown_one_does_nothing(made: list[FakeWorker]) -> None:
    fleet = LocalFleet(builder(made, [lambda worker: None]), replacements=0)
    fleet.start()
    worker = ready(fleet)
    fleet.kill("nobody", "?")
    assert fleet.alive == 1
    fleet.kill(worker, "first")
    fleet.kill(worker, "second")
    assert hear(fleet, 1) == [WorkerLost(worker, "first")]
    assert fleet.wait(0.05) == []
    assert fleet.alive == 0


def test_news_of_nothing_comes_in_time() -> None:
    fleet = LocalFleet(FakeWorker)
    began = time.monotonic()
    assert fleet.wait(0.1) == []
    assert time.monotonic() - began > 0.09


def test_close_waits_for_the_workers_but_not_for_ever(made: list[FakeWorker]) -> None:
    fleet = LocalFleet(builder(made, [lambda worker: None]))
    fleet.start()
    ready(fleet)
    release = threading.Event()
    made[0].close = release.wait  # type: ignore[method-assign,assignment]
    began = time.monotonic()
    fleet.close(0.2)
    assert 0.19 < time.monotonic() - began < 30
    release.set()
    fleet.close(5)


def test_a_worker_that_is_up_only_after_the_close_is_closed_too(made: list[FakeWorker]) -> None:
    """Ctrl-C while the encoder loads must leave no threads of a worker that nobody will use."""
    gate = threading.Event()

    def build() -> FakeWorker:
        gate.wait(60)
        made.append(FakeWorker())
        return made[0]

    fleet = LocalFleet(build)
    fleet.start()
    fleet.close(0.1)
    gate.set()
    until = time.monotonic() + 60
    while not (made and made[0].closed.is_set()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert fleet.wait(0.05) == []
