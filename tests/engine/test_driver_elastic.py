"""A fleet that comes and goes: too few workers, notices that a worker's node is about to go, and nodes that go."""

from __future__ import annotations

import pytest

from curator.engine.driver import FleetLostError, StoppedError
from curator.engine.scheduler import Limits, Scheduler
from tests.engine.drives import Run, finish_at, stop_at
from tests.engine.fleets import hang, succeed


def preempt_at(run: Run, seconds: float, worker: str) -> None:
    """A notice for the worker's node, once."""

    def act() -> None:
        if run.clock.now >= 1000 + seconds and worker not in run.fleet.leaving:
            run.fleet.preempt(worker)

    run.fleet.on_wait.append(act)


def test_the_first_shard_waits_for_no_second_worker() -> None:
    run = Run(6, workers=1, min_workers=3, startup_s=900)
    assert run.run().totals.shards == 6


def test_fewer_than_the_minimum_for_too_long_end_the_run_and_say_so() -> None:
    run = Run(50, {i: [hang] for i in range(4, 50)}, workers=2, min_workers=3, startup_s=100, stall_s=10_000)
    with pytest.raises(FleetLostError, match=r"only 2 of at least 3 workers were ready for 100 s .*has the CPUs"):
        run.run()
    assert 100 < run.clock.now - 1000 < 102
    assert run.driver is not None
    assert run.driver.totals.shards == 4


def test_the_wait_for_the_minimum_begins_anew_whenever_it_is_lost() -> None:
    run = Run(9, {8: [hang]}, workers=2, min_workers=2, startup_s=100, stall_s=10_000, replacements=9)

    def strike() -> None:
        if run.clock.now > 1500 and run.fleet.starts:
            run.fleet.starts = False
            run.fleet.lose("w1", "node gone")

    run.fleet.on_wait.append(strike)
    with pytest.raises(FleetLostError, match="only 1 of at least 2 workers"):
        run.run()
    assert 1600 < run.clock.now < 1603


def test_a_leaving_worker_ends_its_leases_and_gets_no_more() -> None:
    run = Run(12, {i: [hang] for i in range(12)}, stall_s=10_000)
    preempt_at(run, 10, "w0")
    finish_at(run, 50)
    assert run.run().totals.shards == 12
    assert [lease.shard.url for worker, lease in run.fleet.submitted if worker == "w0"] == ["mem/0.tar", "mem/1.tar"]
    assert run.fleet.released == ["w0"]
    assert run.given().total() == 12


def test_an_idle_worker_that_is_leaving_is_released_at_once() -> None:
    run = Run(1, {0: [hang]}, workers=2, stall_s=10_000)
    preempt_at(run, 10, "w1")
    finish_at(run, 50)
    stop_at(run, 20, run.stop)
    with pytest.raises(StoppedError):
        run.run()
    assert run.fleet.released == ["w1"]


def test_a_stop_gives_a_leaving_worker_its_grace_too() -> None:
    run = Run(9, {i: [hang] for i in range(9)}, grace_s=30, stall_s=10_000)
    preempt_at(run, 5, "w0")
    stop_at(run, 5, run.stop)
    finish_at(run, 20)
    with pytest.raises(StoppedError):
        run.run()
    assert run.driver is not None
    assert run.driver.totals.shards >= 2


def test_a_leaving_worker_that_stands_still_is_ended() -> None:
    run = Run(1, {0: [hang, succeed]}, stall_s=60)
    preempt_at(run, 10, "w0")
    assert run.run().totals.shards == 1
    assert [worker for worker, _ in run.fleet.killed] == ["w0"]


def test_a_shard_is_not_suspected_of_the_nodes_that_went_while_it_was_there() -> None:
    """Four nodes go with it, where two workers that die by themselves would be the limit."""
    run = Run(1, {0: [hang, hang, hang, hang, succeed]}, stall_s=10_000)

    def strike() -> None:
        worker = run.fleet.living[-1]
        if run.fleet.submitted and run.fleet.submitted[-1][0] == worker:
            run.fleet.preempt(worker)
            run.fleet.lose(worker, "node gone")

    run.fleet.on_wait.append(strike)
    assert run.run().totals.shards == 1
    assert run.driver is not None
    assert run.driver.quarantined == []
    assert run.given().total() == 5


def test_a_shard_that_takes_every_node_down_is_given_up_in_the_end() -> None:
    run = Run(1, {0: [hang]}, stall_s=10_000, worker_losses=100)
    limits = Limits(losses=2, evictions=3)
    run.scheduler = Scheduler(run.plan.todo, limits, clock=run.clock, jitter=lambda: 1.0)

    def strike() -> None:
        worker = run.fleet.living[-1]
        if run.fleet.submitted and run.fleet.submitted[-1][0] == worker:
            run.fleet.preempt(worker)
            run.fleet.lose(worker, "node gone")

    run.fleet.on_wait.append(strike)
    driver = run.run()
    assert [quarantine.shard.url for quarantine in driver.quarantined] == ["mem/0.tar"]
    assert run.given().total() == 5
