"""Decode threads: every job ends once, by itself or by the clock, and stuck threads are replaced."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from curator.data import Decoded
from curator.engine.decoding import DecodeThreads, Job, Outcome
from curator.errors import SampleError
from tests.engine.machines import engine_threads
from tests.waiting import wait_until

PIXELS = np.zeros((3, 2, 2), np.uint8)


class Outcomes:
    """What became of each job, in order: done | late, or the error."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.changed = threading.Condition()

    def add(self, number: int, outcome: Outcome) -> None:
        result = outcome.result
        with self.changed:
            how = "done" if isinstance(result, Decoded) else getattr(result, "reason", type(result).__name__)
            self.seen.append((number, how))
            self.changed.notify_all()

    def wait_for(self, n: int, timeout_s: float = 60.0) -> dict[int, str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= n, timeout_s), self.seen
        return dict(self.seen)

    def job(self, number: int) -> Job:
        return Job(str(number).encode(), lambda outcome: self.add(number, outcome))


class Bodies:
    """A decoder that does what it was told to for the image of a number."""

    def __init__(self, bodies: dict[int, Callable[[], object]] | None = None) -> None:
        self.bodies = bodies or {}

    def __call__(self, data: bytes) -> Decoded:
        self.bodies.get(int(data), lambda: None)()
        return Decoded(PIXELS, 2, 2, "JPEG")


def refuse() -> None:
    raise SampleError("not_an_image", "it is not")


@pytest.fixture
def open_pool() -> Iterator[Callable[..., DecodeThreads]]:
    made: list[DecodeThreads] = []

    def open_one(threads: int, limit_s: float, bodies: dict[int, Callable[[], object]] | None = None) -> DecodeThreads:
        made.append(DecodeThreads(Bodies(bodies), threads=threads, limit_s=limit_s))
        return made[-1]

    yield open_one
    for pool in made:
        pool.close()


Open = Callable[..., DecodeThreads]


def test_every_job_is_done(open_pool: Open) -> None:
    pool, outcomes = open_pool(3, 10, {7: refuse}), Outcomes()
    for number in range(200):
        pool.submit(outcomes.job(number))
    assert outcomes.wait_for(200) == {**dict.fromkeys(range(200), "done"), 7: "not_an_image"}


def test_an_outcome_tells_the_image_by_its_hash_and_the_seconds_of_work(open_pool: Open) -> None:
    found: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    pool = open_pool(1, 10, {3: lambda: time.sleep(0.1)})
    pool.submit(Job(b"3", found.put))
    outcome = found.get(timeout=60)
    assert outcome.sha256 == hashlib.sha256(b"3").digest()
    assert outcome.seconds >= 0.1


def test_jobs_that_never_return_are_left_behind_and_the_others_go_on(
    open_pool: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Two threads, three endless jobs: without replacement nothing after them would ever run."""
    outcomes, release = Outcomes(), threading.Event()
    pool = open_pool(2, 1.0, dict.fromkeys((0, 1, 5), release.wait))
    with caplog.at_level(logging.WARNING):
        for number in range(12):
            pool.submit(outcomes.job(number))
        found = outcomes.wait_for(12)
    assert {number for number, how in found.items() if how == "decode_timeout"} == {0, 1, 5}
    assert pool.left_behind == 3
    assert "decode thread left behind after 1 s (3 so far)" in caplog.text
    release.set()
    pool.submit(outcomes.job(12))
    assert outcomes.wait_for(13)[12] == "done"
    time.sleep(0.1)
    assert len(outcomes.seen) == 13, "what returned late was not settled a second time"


def test_a_slow_job_within_the_limit_is_left_alone(open_pool: Open) -> None:
    pool, outcomes = open_pool(1, 3.0, {0: lambda: time.sleep(0.9)}), Outcomes()
    pool.submit(outcomes.job(0))  # the clock looks every 0.75 s
    assert outcomes.wait_for(1) == {0: "done"}
    assert pool.left_behind == 0


def test_waiting_in_the_queue_does_not_count(open_pool: Open) -> None:
    pool, outcomes = open_pool(1, 1.2, dict.fromkeys(range(6), lambda: time.sleep(0.25))), Outcomes()
    for number in range(6):
        pool.submit(outcomes.job(number))
    assert set(outcomes.wait_for(6).values()) == {"done"}


def test_close_ends_the_threads_also_after_some_were_left_behind() -> None:
    before = engine_threads()
    outcomes, release = Outcomes(), threading.Event()
    pool = DecodeThreads(Bodies({0: release.wait}), threads=2, limit_s=0.1)
    pool.submit(outcomes.job(0))
    outcomes.wait_for(1)
    pool.close()
    wait_until(lambda: len(engine_threads() - before) == 1)
    release.set()
    wait_until(lambda: engine_threads() <= before)


def test_a_decoder_or_an_owner_that_raises_costs_no_thread(open_pool: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Should either do what nobody foresaw, the pool must not shrink until nothing decodes any more."""

    def crash() -> None:
        raise MemoryError

    pool, outcomes = open_pool(1, 10, {0: crash}), Outcomes()
    pool.submit(outcomes.job(0))
    pool.submit(Job(b"1", lambda outcome: 1 / 0))  # type: ignore[arg-type, return-value]
    pool.submit(outcomes.job(2))
    assert outcomes.wait_for(2) == {0: "MemoryError", 2: "done"}
    assert "ZeroDivisionError" in caplog.text
