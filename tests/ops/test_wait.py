"""Waiting for a run that another process drives, under a clock that moves only while it waits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curator.cli import app
from curator.engine.ledger import Ledger
from curator.engine.lock import RunLock, holder_of
from curator.engine.wait import EndedError, WaitedError, wait_for_run
from curator.errors import ConfigError
from curator.storage import open_storage

DAY = "2026-11-22"


class Night:
    """An output whose drivers do what ``events`` says, each at its second; ``wait`` is told the same time."""

    def __init__(self, output: Path) -> None:
        self.output = str(output)
        self.storage = open_storage()
        self.ledger = Ledger(self.storage, self.output)
        self.began = self.now = time.time()
        self.events: list[tuple[float, Callable[[], None]]] = []

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        self.events.append((self.began + seconds, act))

    def beat(self, seconds: float, *, run_id: str | None = None, host: str = "elsewhere", ttl_s: float = 60.0) -> None:
        """A driver of another machine is heard of at that time."""
        holder = {
            "owner": "o", "host": host, "machine": host, "pid": 7, "started": 1.0,
            "beat": self.began + seconds, "ttl_s": ttl_s, "run_id": run_id,
        }  # fmt: skip
        self.at(seconds, lambda: self.storage.write(f"{self.ledger.root}/lock.json", json.dumps(holder).encode()))

    def end(self, seconds: float, status: str = "complete", *, run_id: str | None = None) -> None:
        """The driver writes its summary and lets go of the lock."""
        summary = {"status": status, "exit_status": int(status != "complete"), "run_id": run_id}
        self.at(seconds, lambda: self.ledger.write_summary(summary))
        self.at(seconds, lambda: self.storage.delete(f"{self.ledger.root}/lock.json"))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [act for when, act in self.events if when <= self.now]
        self.events = [(when, act) for when, act in self.events if when > self.now]
        for act in due:
            act()

    def wait(self, run_id: str | None = None, timeout_s: float = 1000) -> dict[str, Any]:
        self.sleep(0)
        return wait_for_run(
            self.output, self.storage, run_id=run_id, timeout_s=timeout_s, clock=lambda: self.now, sleep=self.sleep
        )

    @property
    def waited_s(self) -> float:
        return self.now - self.began


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path / "out")


def test_a_run_that_has_ended_is_not_waited_for(night: Night) -> None:
    night.end(0, "over_budget")
    assert night.wait()["status"] == "over_budget"
    assert night.waited_s == 0


def test_a_run_under_way_is_newer_than_the_summary_there_is(night: Night) -> None:
    night.end(-1, "complete")
    for second in range(0, 100, 15):
        night.beat(second)
    night.end(100, "stopped")
    assert night.wait()["status"] == "stopped"
    assert night.waited_s == 100


def test_a_run_is_waited_for_by_name_before_it_begins(night: Night) -> None:
    night.end(-1, "complete", run_id="2026-11-21")
    night.beat(50, run_id=DAY)
    night.beat(100, run_id=DAY)
    night.end(140, run_id=DAY)
    assert night.wait(DAY)["run_id"] == DAY
    assert night.waited_s == 140


def test_an_earlier_run_is_known_by_its_name(night: Night) -> None:
    night.end(-2, "complete", run_id="2026-11-21")
    night.end(-1, "stopped", run_id=DAY)
    night.beat(0, run_id="2026-11-23")
    assert night.wait("2026-11-21")["status"] == "complete"


@pytest.mark.parametrize(
    ("begins", "said"),
    [(None, "no driver works on this output"), (0, "host elsewhere, pid 7\\) is at work")],
)
def test_the_time_to_wait_ends(night: Night, begins: int | None, said: str) -> None:
    if begins is not None:
        for second in range(begins, 200, 15):
            night.beat(second)
    with pytest.raises(WaitedError, match=f"no run has ended within 100 s: .*{said}"):
        night.wait(timeout_s=100)
    assert night.waited_s == 100


def test_a_driver_that_died_is_not_waited_for_to_the_end(night: Night) -> None:
    night.beat(0, run_id=DAY)
    with pytest.raises(EndedError, match=rf"run {DAY} \(host elsewhere, pid 7\) was last heard of 1\d\d s ago"):
        night.wait(DAY, timeout_s=10_000)
    assert 120 <= night.waited_s < 130


def test_one_that_died_and_was_started_again_is(night: Night) -> None:
    night.beat(0)
    night.beat(100)
    night.end(130)
    assert night.wait()["status"] == "complete"


def test_a_run_that_went_without_a_summary_is_over(night: Night) -> None:
    night.beat(0)
    night.at(30, lambda: night.storage.delete(f"{night.ledger.root}/lock.json"))
    with pytest.raises(
        EndedError, match=r"the run \(host elsewhere, pid 7\) ended without a summary; its log says why"
    ):
        night.wait()
    assert night.waited_s == 30


def test_another_run_is_no_reason_to_give_up_one_that_has_yet_to_begin(night: Night) -> None:
    night.beat(0, run_id="2026-11-21")
    night.end(20, run_id="2026-11-21")
    night.end(90, run_id=DAY)
    assert night.wait(DAY)["run_id"] == DAY


def test_the_lock_of_a_driver_says_who_it_is(tmp_path: Path) -> None:
    storage = open_storage()
    root = str(tmp_path / "_ledger")
    assert holder_of(storage, root) is None
    with RunLock(storage, root, run_id=DAY):
        holder = holder_of(storage, root)
        assert holder is not None
        assert (holder.pid, holder.run_id, holder.alive) == (os.getpid(), DAY, True)
        later = holder_of(storage, root, clock=lambda: time.time() + 61)
        assert later is not None
        assert not later.alive
    storage.write(f"{root}/lock.json", b"[]")
    with pytest.raises(ConfigError, match="is no lock of Curator"):
        holder_of(storage, root)


@pytest.mark.parametrize(("status", "code"), [("complete", 0), ("over_budget", 1), ("stopped", 1)])
def test_the_command_leaves_with_the_status_of_the_run(night: Night, status: str, code: int) -> None:
    night.ledger.write_summary(
        {
            "status": status, "exit_status": code, "message": "why", "ended": "then", "run_id": DAY,
            "shards": {"done": 3, "manifest": 4}, "totals": {"rows": 30, "rejected": 2},
        }
    )  # fmt: skip
    result = CliRunner().invoke(app, ["wait", night.output, "--run-id", DAY])
    assert result.exit_code == code
    assert result.stdout == f"{status} then: 3 of 4 shards done, 30 rows (2 rejected). why\n"
    as_json = CliRunner().invoke(app, ["wait", night.output, "--json"])
    assert json.loads(as_json.stdout)["status"] == status


def test_the_command_has_a_status_for_having_waited_in_vain(night: Night) -> None:
    result = CliRunner().invoke(app, ["wait", night.output, "--timeout", "0.2", "--poll", "0.1"])
    assert result.exit_code == 124
    assert "no run has ended within 0.2 s: no driver works on this output" in result.stderr
