"""Each rule of the scheduler by itself, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from curator.data import Lease, Shard
from curator.engine.scheduler import Failure, Limits, Scheduler
from tests.engine.clock import Clock

AGAIN = Failure("retryable", "timeout")
BROKEN = Failure("shard", "cut at byte 7")


def make(
    n: int, clock: Clock, *, jitter: Callable[[], float] = lambda: 1.0, limits: Limits | None = None
) -> tuple[Scheduler, list[Shard]]:
    shards = [Shard(f"mem/{i}.tar") for i in range(n)]
    return Scheduler(shards, limits or Limits(), clock=clock, jitter=jitter), shards


def take(scheduler: Scheduler, worker: str) -> Lease:
    lease = scheduler.lease(worker)
    assert lease is not None
    return lease


def test_shards_are_leased_in_order_and_each_once() -> None:
    scheduler, shards = make(3, Clock())
    leases = [take(scheduler, "a"), take(scheduler, "b"), take(scheduler, "a")]
    assert [lease.shard for lease in leases] == shards
    assert [lease.attempt for lease in leases] == [1, 1, 1]
    assert scheduler.lease("b") is None
    assert scheduler.leases("a") == [leases[0], leases[2]]
    assert scheduler.remaining == 3
    assert all(scheduler.done(worker, lease) for worker, lease in zip("aba", leases, strict=True))
    assert scheduler.finished
    assert scheduler.remaining == 0


def test_a_shard_fault_is_quarantined_at_once_with_its_history() -> None:
    scheduler, shards = make(1, Clock())
    quarantine = scheduler.failed("a", take(scheduler, "a"), BROKEN)
    assert quarantine is not None
    assert quarantine.shard == shards[0]
    assert quarantine.reason == "cut at byte 7"
    assert quarantine.attempts == ("attempt 1 on a: cut at byte 7",)
    assert scheduler.finished


def test_passing_faults_are_tried_again_up_to_the_limit_and_every_attempt_is_remembered() -> None:
    clock = Clock()
    scheduler, _ = make(1, clock, limits=Limits(attempts=3))
    for attempt in (1, 2):
        lease = take(scheduler, f"w{attempt}")
        assert lease.attempt == attempt
        assert scheduler.failed(f"w{attempt}", lease, AGAIN) is None
        assert scheduler.lease("w9") is None
        clock.advance(60)
    quarantine = scheduler.failed("w3", take(scheduler, "w3"), Failure("retryable", "503"))
    assert quarantine is not None
    assert quarantine.reason == "503"
    assert len(quarantine.attempts) == 3
    assert scheduler.finished


@pytest.mark.parametrize(("jitter", "waits"), [(1.0, [1.0, 2.0, 4.0, 5.0, 5.0]), (0.25, [0.25, 0.5, 1.0, 1.25, 1.25])])
def test_backoff_doubles_up_to_its_limit_and_is_jittered(jitter: float, waits: list[float]) -> None:
    clock = Clock()
    limits = Limits(attempts=6, backoff_s=1.0, backoff_limit_s=5.0)
    scheduler, _ = make(1, clock, jitter=lambda: jitter, limits=limits)
    for wait in waits:
        assert scheduler.failed("a", take(scheduler, "a"), AGAIN) is None
        assert scheduler.seconds_until_ready() == pytest.approx(wait)
        clock.advance(wait - 0.01)
        assert scheduler.lease("a") is None
        clock.advance(0.02)


def test_a_shard_that_waits_only_for_a_slot_does_not_ask_for_haste() -> None:
    """Else the driver would spin while all workers are busy."""
    clock = Clock()
    scheduler, _ = make(2, clock)
    first, _ = take(scheduler, "a"), take(scheduler, "a")
    assert scheduler.seconds_until_ready() is None
    scheduler.failed("a", first, AGAIN)
    clock.advance(1.0)
    assert scheduler.seconds_until_ready() is None


def test_a_shard_that_backs_off_does_not_hold_up_the_others() -> None:
    clock = Clock()
    scheduler, shards = make(3, clock)
    scheduler.failed("a", take(scheduler, "a"), AGAIN)
    assert take(scheduler, "a").shard == shards[1]
    clock.advance(1.0)
    assert take(scheduler, "a") == Lease(shards[0], 2)
    assert take(scheduler, "a").shard == shards[2]


def test_lost_workers_have_a_limit_of_their_own() -> None:
    clock = Clock()
    scheduler, shards = make(1, clock, limits=Limits(attempts=1, losses=3))
    for _ in range(2):
        take(scheduler, "a")
        assert scheduler.lost("a", "SIGKILL") == []
        clock.advance(60)
    take(scheduler, "a")
    (quarantine,) = scheduler.lost("a", "SIGKILL")
    assert quarantine.shard == shards[0]
    assert quarantine.reason == "worker lost 3 times, last: SIGKILL"
    assert len(quarantine.attempts) == 3
    assert scheduler.finished


def test_losing_an_idle_or_unknown_worker_changes_nothing() -> None:
    scheduler, _ = make(1, Clock())
    assert scheduler.lost("nobody", "gone") == []
    assert scheduler.remaining == 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("losses", [2, 3])
@pytest.mark.parametrize("poison", [{0}, {4, 5}, {9}, {0, 1, 2}])
def test_a_poison_shard_is_quarantined_and_its_neighbours_are_not(workers: int, losses: int, poison: set[int]) -> None:
    """A worker that holds a poison shard dies, always, with all its leases."""
    clock = Clock()
    scheduler, shards = make(10, clock, limits=Limits(losses=losses))
    quarantined, done, born, turns = [], [], workers, 0
    alive = [f"w{i}" for i in range(workers)]
    while not scheduler.finished:
        turns += 1
        assert turns < 200
        clock.advance(5.0)
        for worker in list(alive):
            while len(scheduler.leases(worker)) < 2 and scheduler.lease(worker):
                pass
            held = scheduler.leases(worker)
            if any(shards.index(lease.shard) in poison for lease in held):
                quarantined += [quarantine.shard for quarantine in scheduler.lost(worker, "SIGSEGV")]
                alive[alive.index(worker)] = f"w{born}"
                born += 1
            elif held:
                assert scheduler.done(worker, held[0])
                done.append(held[0].shard)
    assert {shards.index(shard) for shard in quarantined} == poison
    assert sorted(map(shards.index, done)) == sorted(set(range(10)) - poison)


def suspect_of(scheduler: Scheduler, clock: Clock, losses: int) -> None:
    for _ in range(losses):
        take(scheduler, "dies")
        scheduler.lost("dies", "OOM")
        clock.advance(60)


def test_a_suspect_is_leased_to_an_idle_worker_only_and_gets_no_company() -> None:
    clock = Clock()
    scheduler, shards = make(4, clock, limits=Limits(losses=2))
    suspect_of(scheduler, clock, 1)
    lease = take(scheduler, "idle")
    assert lease == Lease(shards[0], 2)
    assert scheduler.lease("idle") is None
    assert scheduler.done("idle", lease)
    assert take(scheduler, "idle").shard == shards[1]


def test_one_worker_is_emptied_for_a_suspect_while_others_go_on() -> None:
    """Else a suspect would wait until nothing else is left, which in a nightly window may be never."""
    clock = Clock()
    scheduler, shards = make(50, clock, limits=Limits(losses=2))
    take(scheduler, "dies")
    busy = {worker: take(scheduler, worker) for worker in "abc"}
    scheduler.lost("dies", "OOM")
    clock.advance(60)
    assert scheduler.lease("a") is None
    assert scheduler.lease("b") is not None
    assert scheduler.lease("c") is not None
    assert scheduler.lease("a") is None
    scheduler.done("a", busy["a"])
    assert take(scheduler, "a").shard == shards[0]
    assert scheduler.lease("a") is None
    assert scheduler.lease("b") is not None


def test_a_worker_that_dies_while_it_is_emptied_gives_its_place_to_another() -> None:
    clock = Clock()
    scheduler, _ = make(50, clock, limits=Limits(losses=2))
    take(scheduler, "dies")
    take(scheduler, "a")
    take(scheduler, "b")
    scheduler.lost("dies", "OOM")
    clock.advance(1)
    assert scheduler.lease("a") is None
    scheduler.lost("a", "OOM")
    assert scheduler.lease("b") is None


def stragglers(clock: Clock, limits: Limits | None = None) -> tuple[Scheduler, Lease, Lease]:
    """Two shards under way on ``slow``; ``quick`` has done one in 10 s and is idle; nothing waits."""
    scheduler, _ = make(3, clock, limits=limits or Limits(straggler_floor_s=30, straggler_factor=3))
    first, second, third = take(scheduler, "quick"), take(scheduler, "slow"), take(scheduler, "slow")
    clock.advance(10)
    assert scheduler.done("quick", first)
    return scheduler, second, third


def test_a_straggler_is_issued_again_once_it_runs_far_longer_than_usual() -> None:
    clock = Clock()
    scheduler, second, third = stragglers(clock)
    clock.advance(19)
    assert scheduler.lease("quick") is None
    clock.advance(2)
    assert scheduler.lease("slow") is None
    assert take(scheduler, "quick") == Lease(second.shard, 2)
    assert take(scheduler, "other") == Lease(third.shard, 2)
    assert scheduler.lease("more") is None
    clock.advance(1000)
    assert scheduler.lease("more") is None, "two attempts are enough"


@pytest.mark.parametrize("winner", ["slow", "quick"])
def test_whichever_attempt_of_a_straggler_comes_first_counts_and_the_other_is_ignored(winner: str) -> None:
    clock = Clock()
    scheduler, second, third = stragglers(clock)
    clock.advance(60)
    again = take(scheduler, "quick")
    leases = {"slow": second, "quick": again}
    loser = "quick" if winner == "slow" else "slow"
    assert scheduler.done(winner, leases[winner])
    assert not scheduler.done(loser, leases[loser])
    assert scheduler.failed(loser, leases[loser], BROKEN) is None
    assert scheduler.leases(loser) == ([] if loser == "quick" else [third])
    assert scheduler.done("slow", third)
    assert scheduler.finished


def test_a_straggler_whose_second_attempt_fails_is_not_issued_a_third_time_while_it_runs() -> None:
    clock = Clock()
    scheduler, second, third = stragglers(clock)
    clock.advance(60)
    assert scheduler.failed("quick", take(scheduler, "quick"), AGAIN) is None
    assert take(scheduler, "quick").shard == third.shard
    assert scheduler.lease("idle") is None
    assert scheduler.done("slow", second)


def test_a_shard_given_up_while_its_other_attempt_runs_may_still_be_finished_by_it() -> None:
    clock = Clock()
    scheduler, second, third = stragglers(clock)
    clock.advance(60)
    assert scheduler.failed("quick", take(scheduler, "quick"), BROKEN) is None
    assert scheduler.done("slow", second)
    clock.advance(60)
    assert scheduler.failed("quick", take(scheduler, "quick"), BROKEN) is None
    quarantine = scheduler.failed("slow", third, AGAIN)
    assert quarantine is not None
    assert quarantine.reason == "cut at byte 7"
    assert scheduler.finished


def test_nothing_is_issued_twice_before_the_end_of_the_run_or_without_a_measure() -> None:
    clock = Clock()
    scheduler, shards = make(2, clock, limits=Limits(straggler_floor_s=1))
    take(scheduler, "slow")
    clock.advance(1000)
    assert take(scheduler, "quick").shard == shards[1]
    clock.advance(1000)
    assert scheduler.lease("idle") is None


def test_a_shard_that_backs_off_comes_before_a_straggler() -> None:
    clock = Clock()
    scheduler, second, third = stragglers(clock)
    scheduler.failed("slow", third, AGAIN)
    clock.advance(0.5)
    assert scheduler.lease("quick") is None
    clock.advance(60)
    assert take(scheduler, "quick") == Lease(third.shard, 2)
    assert take(scheduler, "other") == Lease(second.shard, 2)


def test_results_of_a_worker_that_was_lost_are_ignored() -> None:
    clock = Clock()
    scheduler, _ = make(1, clock)
    stale = take(scheduler, "a")
    scheduler.lost("a", "silent")
    assert not scheduler.done("a", stale)
    assert scheduler.failed("a", stale, BROKEN) is None
    clock.advance(60)
    fresh = take(scheduler, "a")
    assert not scheduler.done("a", stale)
    assert scheduler.done("a", fresh)
    assert not scheduler.done("a", fresh)
