"""The run's loop against a scripted fleet: what it gives out, settles, gives up, watches and reports."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from curator.data import Lease, Shard
from curator.engine.driver import StoppedError
from curator.engine.fleet import LeaseDone, WorkerLost, WorkerReady
from curator.engine.ledger import make_plan
from curator.engine.scheduler import Quarantine
from tests.engine.drives import AGAIN, BROKEN, Run, stop_at
from tests.engine.fleets import ScriptedFleet, die, fail, hang, receipt_for, succeed


def test_all_shards_are_settled_and_counted() -> None:
    run = Run(5, workers=2)
    driver = run.run()
    assert run.given() == {shard.url: 1 for shard in run.shards}
    assert driver.totals.to_dict() == {
        "shards": 5,
        "samples": 50,
        "rows": 50,
        "rejected": 5,
        "part_bytes": 500,
        "read_bytes": 10,
        "salvaged": 0,
        "captioned": 0,
        "several_images": 0,
        "reasons": {"no_image": 5},
        "seconds": {"read": 2.5, "device": 5.0},
    }
    assert run.scheduler.finished
    assert driver.quarantined == []


def test_every_worker_is_kept_full_and_no_fuller() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, workers=2)
    run.fleet.on_wait.append(lambda: run.stop.set() if run.clock.now > 1005 else None)
    with pytest.raises(StoppedError):
        run.run()
    assert Counter(worker for worker, _ in run.fleet.submitted) == {"w0": 2, "w1": 2}


def test_a_broken_shard_is_quarantined_with_a_dead_letter_and_the_run_goes_on() -> None:
    run = Run(3, {1: [fail(BROKEN)]})
    driver = run.run()
    assert driver.totals.shards == 2
    assert [quarantine.shard for quarantine in driver.quarantined] == [run.shards[1]]
    letter = run.ledger.quarantined()[run.shards[1].id]
    assert letter["reason"] == "cut at byte 7"
    assert letter["attempts"] == ["attempt 1 on w0: cut at byte 7"]
    assert (run.told[-1].settled, run.told[-1].quarantined, run.told[-1].shards) == (3, 1, 3)


def test_a_fault_that_passes_is_tried_again_after_its_backoff() -> None:
    run = Run(1, {0: [fail(AGAIN), fail(AGAIN), succeed]})
    driver = run.run()
    assert driver.totals.shards == 1
    assert [lease.attempt for _, lease in run.fleet.submitted] == [1, 2, 3]
    assert 3.0 <= run.clock.now - 1000 < 3.2, "1 s and 2 s of back-off, and no more"


def test_a_lost_worker_is_followed_by_another_and_its_leases_are_tried_again() -> None:
    run = Run(4, {0: [die, succeed]})
    driver = run.run()
    assert driver.totals.shards == 4
    assert driver.quarantined == []
    assert {worker for worker, _ in run.fleet.submitted} == {"w0", "w1"}


def test_a_poison_shard_is_given_up_and_its_neighbours_are_done() -> None:
    run = Run(6, {2: [die]})
    driver = run.run()
    assert driver.totals.shards == 5
    (quarantine,) = driver.quarantined
    assert quarantine.shard == run.shards[2]
    assert "worker lost 2 times, last: SIGKILL" in quarantine.reason


def test_a_silent_worker_is_ended_after_its_time_and_no_sooner() -> None:
    run = Run(2, {0: [hang, succeed]}, silence_s=60, heartbeat_s=5)
    run.fleet.silent.add("w0")
    began = run.clock.now
    driver = run.run()
    ((worker, cause),) = run.fleet.killed
    assert worker == "w0"
    assert cause == "no sign of life for 60 s"
    assert 60 <= run.clock.now - began < 75
    assert driver.totals.shards == 2


def test_a_worker_that_answers_again_in_time_is_left_alone() -> None:
    run = Run(1, {0: [hang]}, silence_s=60, heartbeat_s=5, stall_s=1000)
    run.fleet.silent.add("w0")

    def wake() -> None:
        if run.clock.now > 1050:
            run.fleet.silent.clear()
        if 1060 < run.clock.now < 1062:
            run.fleet.silent.add("w0")
        if run.clock.now > 1100:
            run.stop.set()

    run.fleet.on_wait.append(wake)
    with pytest.raises(StoppedError):
        run.run()
    assert run.fleet.killed == []


def test_a_stuck_lease_ends_its_worker_and_the_cause_names_shard_stage_and_row() -> None:
    run = Run(3, {0: [hang, succeed]}, stall_s=300, heartbeat_s=5)
    driver = run.run()
    ((worker, cause),) = run.fleet.killed
    assert worker == "w0"
    assert "mem/0.tar stands in stage read at row 7 and has not moved for 30" in cause
    assert driver.totals.shards == 3
    assert 300 <= run.clock.now - 1000 < 320


def forget(fleet: ScriptedFleet, worker: str, lease: Any) -> None:
    """The lease gets lost on its way: the worker never knows of it."""
    del fleet.moved[worker, lease.shard.url]


def test_a_lease_that_its_worker_does_not_know_of_is_stuck_too() -> None:
    run = Run(1, {0: [forget, succeed]}, stall_s=100, heartbeat_s=5)
    assert run.run().totals.shards == 1
    assert "mem/0.tar is not among what its worker works on" in run.fleet.killed[0][1]
    assert 100 <= run.clock.now - 1000 < 115


def test_a_long_lease_that_ends_between_two_looks_is_not_taken_for_a_lost_one() -> None:
    """Its standing is gone before its news is heard; how long it had run before says nothing."""
    run = Run(1, {0: [hang]}, stall_s=300, heartbeat_s=5)

    def work() -> None:
        for worker, lease in run.fleet.submitted:
            key = (worker, lease.shard.url)
            if run.clock.now < 1900:
                run.fleet.moved[key] = run.clock.now
            elif run.clock.now < 1907:
                run.fleet.moved.pop(key, None)
            elif not run.scheduler.finished:
                run.fleet.news.append(LeaseDone(worker, lease, receipt_for(lease)))

    run.fleet.on_wait.append(work)
    assert run.run().totals.shards == 1
    assert run.fleet.killed == []


def test_a_worker_ended_by_the_watch_is_given_nothing_more() -> None:
    """A shard in its free slot would be drawn into the loss. ScriptedFleet refuses such leases."""
    run = Run(200, {0: [hang, succeed]}, stall_s=20, heartbeat_s=5)
    due: list[tuple[float, LeaseDone]] = []

    def in_half_a_second(fleet: ScriptedFleet, worker: str, lease: Lease) -> None:
        due.append((run.clock.now + 0.5, LeaseDone(worker, lease, receipt_for(lease))))

    def deliver() -> None:
        while due and due[0][0] <= run.clock.now:
            run.fleet.news.append(due.pop(0)[1])

    run.fleet.script |= {shard.url: [in_half_a_second] for shard in run.shards[1:]}
    run.fleet.on_wait.append(deliver)
    assert run.run().totals.shards == 200
    assert len(run.fleet.killed) == 1


def test_receipts_of_an_earlier_content_are_dropped_once_the_new_one_is_done() -> None:
    run = Run(2)
    old = Shard(run.shards[0].url, 5, "old")
    run.ledger.create_receipt(receipt_for(Lease(old)))
    run.plan = make_plan(run.shards, run.ledger)
    assert len(run.plan.stale) == 1
    seen: list[int] = []

    def write(fleet: ScriptedFleet, worker: str, lease: Lease) -> None:
        run.ledger.create_receipt(receipt_for(lease))
        seen.append(len(run.ledger.done()[lease.shard.id]))
        succeed(fleet, worker, lease)

    run.fleet.script = {run.shards[0].url: [write]}
    run.run()
    assert seen == [2]
    assert [receipt.etag for receipt in run.ledger.receipts()] == ["e"]


def test_the_same_shard_done_twice_counts_once() -> None:
    def twice(fleet: ScriptedFleet, worker: str, lease: Any) -> None:
        succeed(fleet, worker, lease)
        succeed(fleet, worker, lease)

    run = Run(3, {0: [twice]})
    assert run.run().totals.shards == 3


def test_whoever_observes_hears_of_every_change_in_order() -> None:
    run = Run(3, {1: [fail(BROKEN)], 2: [die, succeed]})
    run.fleet.in_flight = 1
    run.run()
    kinds = [type(news) for news, _, _ in run.news if news is not None]
    assert kinds[:2] == [WorkerReady, LeaseDone]
    assert Counter(kinds)[Quarantine] == 1
    assert Counter(kinds)[WorkerLost] == 1
    settled = [settled for _, settled, _ in run.news]
    assert settled == sorted(settled)
    assert settled[-1] == 3
    assert run.told[-1].fleet["lost"] == 1


def test_a_quiet_run_still_gives_signs_of_life() -> None:
    run = Run(1, {0: [hang]}, heartbeat_s=5)
    stop_at(run, 21, run.stop)
    with pytest.raises(StoppedError):
        run.run()
    assert sum(news is None for news, _, _ in run.news) >= 4


def test_while_all_workers_are_busy_the_driver_does_not_spin() -> None:
    """A shard whose back-off is over needs a free slot, not haste."""
    run = Run(4, {0: [fail(AGAIN), hang], 1: [hang], 2: [hang]}, stall_s=10_000)
    stop_at(run, 100, run.stop)
    waits: list[float] = []
    plain = run.fleet.wait
    run.fleet.wait = lambda timeout_s: (waits.append(timeout_s), plain(timeout_s))[1]  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        run.run()
    assert len(waits) < 400
