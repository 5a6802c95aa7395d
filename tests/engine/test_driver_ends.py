"""Every way a run can end before its shards do: no fleet, a config fault, a signal, the window, the lock."""

from __future__ import annotations

import pytest

from curator.engine.driver import FleetLostError, StoppedError
from curator.engine.scheduler import Failure
from curator.errors import ConfigError
from tests.engine.drives import Run, finish_at, stop_at
from tests.engine.fleets import die, fail, hang, succeed


def test_no_worker_left_ends_the_run() -> None:
    run = Run(3, {0: [die]}, replacements=0)
    with pytest.raises(FleetLostError, match="1 workers died without one shard done in between, the last: SIGKILL"):
        run.run()


def test_losses_in_a_row_end_the_run() -> None:
    run = Run(50, {i: [die] for i in range(50)}, replacements=100, worker_losses=7)
    with pytest.raises(FleetLostError, match="7 workers died"):
        run.run()
    assert run.fleet.born == 8


def test_a_shard_done_in_between_forgives_the_losses() -> None:
    run = Run(20, {i: [die, succeed] for i in range(0, 20, 4)}, replacements=100, worker_losses=4)
    assert run.run().totals.shards == 20


def test_workers_that_never_start_end_the_run_in_time() -> None:
    run = Run(1, startup_s=900)
    run.fleet.starts = False
    with pytest.raises(FleetLostError, match=r"no worker was ready for 900 s .*has the CPUs and GPUs"):
        run.run()
    assert 900 < run.clock.now - 1000 < 902


def test_a_successor_that_never_starts_ends_the_run_too() -> None:
    """Also when shards were done before: else the run would wait for ever."""
    run = Run(3, {2: [hang]}, startup_s=100, stall_s=10_000)

    def strike() -> None:
        if run.clock.now > 1500:
            run.fleet.starts = False
            run.fleet.lose("w0", "node gone")

    run.fleet.on_wait.append(strike)
    with pytest.raises(FleetLostError, match="no worker was ready for 100 s"):
        run.run()
    assert 1600 < run.clock.now < 1603


def test_a_config_error_of_a_worker_ends_the_run() -> None:
    run = Run(2)
    run.fleet.starts = False
    run.fleet.on_wait.append(lambda: run.fleet.lose("w0", "no such checkpoint 'laion3b'", config=True))
    with pytest.raises(ConfigError, match="no such checkpoint 'laion3b'"):
        run.run()


def test_a_config_error_of_a_lease_ends_the_run() -> None:
    run = Run(2, {0: [fail(Failure("config", "out: the bucket does not exist"))]})
    with pytest.raises(ConfigError, match="the bucket does not exist"):
        run.run()
    assert run.ledger.quarantined() == {}


def test_a_later_worker_with_other_weights_is_refused_before_it_gets_a_lease() -> None:
    run = Run(4, {0: [die]})
    run.fleet.provenance = [{"encoder_digest": "x"}, {"encoder_digest": "y"}]
    run.check = lambda provenance: run.ledger.open_run({"encoder_digest": provenance["encoder_digest"]}, {})
    with pytest.raises(ConfigError, match="encoder_digest differ"):
        run.run()
    assert {worker for worker, _ in run.fleet.submitted} == {"w0"}


def test_a_stop_lets_leases_under_way_finish_and_gives_no_new_ones() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, grace_s=30)
    stop_at(run, 10, run.stop)
    finish_at(run, 20)
    with pytest.raises(StoppedError, match="stopped by a signal"):
        run.run()
    assert run.driver is not None
    assert run.driver.totals.shards == 2
    assert len(run.fleet.submitted) == 2
    assert run.clock.now - 1000 < 22
    assert run.scheduler.remaining == 8


def test_a_stop_waits_no_longer_than_its_grace() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, grace_s=30)
    stop_at(run, 10, run.stop)
    with pytest.raises(StoppedError):
        run.run()
    assert 40 <= run.clock.now - 1000 < 42


def test_a_stop_stays_a_stop_when_the_last_worker_dies_meanwhile() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, grace_s=30, replacements=0)
    stop_at(run, 10, run.stop)
    run.fleet.on_wait.append(lambda: run.fleet.lose("w0", "SIGTERM") if run.clock.now > 1015 else None)
    with pytest.raises(StoppedError, match="stopped by a signal"):
        run.run()


def test_the_time_window_stops_the_run_between_shards() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, max_seconds=60.0, grace_s=30)
    finish_at(run, 70)
    with pytest.raises(StoppedError, match="the time window of 60 s is over"):
        run.run()
    assert run.driver is not None
    assert run.driver.totals.shards == 2
    assert 70 <= run.clock.now - 1000 < 72


def test_a_lost_lock_stops_the_run_at_once() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, grace_s=30)
    stop_at(run, 10, run.lock_lost)
    with pytest.raises(StoppedError, match="another driver has taken over the lock"):
        run.run()
    assert run.clock.now - 1000 < 12


def test_a_lock_lost_while_draining_ends_the_wait() -> None:
    run = Run(10, {i: [hang] for i in range(10)}, grace_s=30)
    stop_at(run, 10, run.stop)
    stop_at(run, 15, run.lock_lost)
    with pytest.raises(StoppedError):
        run.run()
    assert run.clock.now - 1000 < 17
