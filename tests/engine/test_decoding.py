"""The decode pool: every job ends once, by itself or by the clock, and stuck threads are replaced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from curator.engine.decoding import DecodePool, Job


class Outcomes:
    """Who settled each job, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.changed = threading.Condition()

    def add(self, number: int, how: str) -> None:
        with self.changed:
            self.seen.append((number, how))
            self.changed.notify_all()

    def wait_for(self, n: int, timeout_s: float = 60.0) -> dict[int, str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= n, timeout_s), self.seen
        return dict(self.seen)

    def job(self, number: int, body: Callable[[], object] = lambda: None) -> Job:
        def work(job: Job) -> None:
            body()
            if job.claim():
                self.add(number, "done")

        return Job(work=work, late=lambda limit_s: self.add(number, f"late {limit_s:g}"))


@pytest.fixture
def pools() -> Iterator[list[DecodePool]]:
    made: list[DecodePool] = []
    yield made
    for pool in made:
        pool.close()


def wait_until(what: Callable[[], bool], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_claim_is_given_once() -> None:
    job = Job(work=lambda job: None, late=lambda limit_s: None)
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(job.claim())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 1


def test_every_job_is_done(pools: list[DecodePool]) -> None:
    pools.append(DecodePool(3, limit_s=10))
    outcomes = Outcomes()
    for number in range(200):
        pools[0].submit(outcomes.job(number))
    assert outcomes.wait_for(200) == dict.fromkeys(range(200), "done")


def test_jobs_that_never_return_are_left_behind_and_the_others_go_on(
    pools: list[DecodePool], caplog: pytest.LogCaptureFixture
) -> None:
    """Two threads, three endless jobs: without replacement nothing after them would ever run."""
    pools.append(DecodePool(2, limit_s=1.0))
    outcomes, release = Outcomes(), threading.Event()
    with caplog.at_level(logging.WARNING):
        for number in range(12):
            pools[0].submit(outcomes.job(number, release.wait if number in (0, 1, 5) else lambda: None))
        found = outcomes.wait_for(12)
    assert {number for number, how in found.items() if how == "late 1"} == {0, 1, 5}
    assert pools[0].left_behind == 3
    assert "decode thread left behind after 1 s (3 so far)" in caplog.text
    release.set()
    pools[0].submit(outcomes.job(12))
    assert outcomes.wait_for(13)[12] == "done"
    time.sleep(0.1)
    assert len(outcomes.seen) == 13, "what returned late was not settled a second time"


def test_a_slow_job_within_the_limit_is_left_alone(pools: list[DecodePool]) -> None:
    pools.append(DecodePool(1, limit_s=3.0))
    outcomes = Outcomes()
    pools[0].submit(outcomes.job(0, lambda: time.sleep(0.9)))  # the clock looks every 0.75 s
    assert outcomes.wait_for(1) == {0: "done"}
    assert pools[0].left_behind == 0


def test_waiting_in_the_queue_does_not_count(pools: list[DecodePool]) -> None:
    pools.append(DecodePool(1, limit_s=1.2))
    outcomes = Outcomes()
    for number in range(6):
        pools[0].submit(outcomes.job(number, lambda: time.sleep(0.25)))
    assert set(outcomes.wait_for(6).values()) == {"done"}


def test_close_ends_the_threads_also_after_some_were_left_behind() -> None:
    before = set(threading.enumerate())
    pool = DecodePool(2, limit_s=0.1)
    outcomes, release = Outcomes(), threading.Event()
    pool.submit(outcomes.job(0, release.wait))
    outcomes.wait_for(1)
    pool.close()
    wait_until(lambda: len(set(threading.enumerate()) - before) == 1)
    release.set()
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_job_that_raises_costs_no_thread(pools: list[DecodePool], caplog: pytest.LogCaptureFixture) -> None:
    """Jobs answer for their own errors; should one not, the pool must not shrink until nothing decodes any more."""
    pools.append(DecodePool(1, limit_s=10))
    outcomes = Outcomes()
    pools[0].submit(outcomes.job(0, lambda: 1 / 0))
    pools[0].submit(outcomes.job(1))
    assert outcomes.wait_for(1) == {1: "done"}
    assert "ZeroDivisionError" in caplog.text
