"""One driver per output, on memory and on disk: who is refused, who takes over, and who learns that it lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.engine.lock import RunLock
from curator.errors import ConfigError, ExistsError, NotFoundError, ReplacedError, RetryableError
from curator.storage import LocalStorage, MemoryStorage, Storage
from curator.storage.base import Entry
from tests.engine.clock import Clock
from tests.waiting import wait_until


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Storage, str]]:
    if request.param == "disk":
        yield LocalStorage(), f"{tmp_path}/out/_ledger"
        return
    storage = MemoryStorage()
    yield storage, f"memory://lock-{tmp_path.name}/_ledger"
    storage.delete(f"memory://lock-{tmp_path.name}/_ledger/lock.json")


def lock_url(root: str) -> str:
    return f"{root}/lock.json"


def content(storage: Storage, root: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(storage.read(lock_url(root)))
    return loaded


def plant(storage: Storage, root: str, **changes: object) -> None:
    """A lock as another driver would have written it."""
    with RunLock(storage, root):
        holder = content(storage, root)
    storage.create(lock_url(root), json.dumps({**holder, "owner": "another", **changes}).encode())


def test_a_second_driver_is_refused_with_the_holder_and_the_way_out(place: tuple[Storage, str]) -> None:
    storage, root = place
    with RunLock(storage, root), pytest.raises(ConfigError) as caught, RunLock(storage, root):
        raise AssertionError("two drivers on one output")
    message = str(caught.value)
    assert lock_url(root) in message
    assert f"host {socket.gethostname()}" in message
    assert f"pid {os.getpid()}" in message
    assert "stop it, or wait 60 s" in message


def test_the_lock_is_given_back_on_the_way_out_and_after_an_error(place: tuple[Storage, str]) -> None:
    storage, root = place
    with pytest.raises(RuntimeError, match="boom"), RunLock(storage, root):
        raise RuntimeError("boom")
    with pytest.raises(NotFoundError):
        storage.stat(lock_url(root))
    with RunLock(storage, root) as lock:
        assert not lock.lost.is_set()


def _hold_and_die(root: str) -> None:
    RunLock(LocalStorage(), root).__enter__()
    os._exit(9)


def test_a_killed_driver_of_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    root = f"{tmp_path}/_ledger"
    process = multiprocessing.get_context("forkserver").Process(target=_hold_and_die, args=(root,))
    process.start()
    process.join(30)
    assert process.exitcode == 9
    with RunLock(LocalStorage(), root):
        assert content(LocalStorage(), root)["pid"] == os.getpid()


def test_a_killed_driver_that_nobody_has_buried_is_dead_too(place: tuple[Storage, str]) -> None:
    """A container whose first process does not reap leaves zombies."""
    storage, root = place
    pid = os.posix_spawn("/bin/true", ["true"], {})
    try:
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
        import psutil

        plant(storage, root, pid=pid, started=psutil.Process(pid).create_time(), beat=time.time())
        with RunLock(storage, root) as lock:
            assert not lock.lost.is_set()
    finally:
        os.waitpid(pid, 0)


def test_a_reused_pid_is_not_the_holder(place: tuple[Storage, str]) -> None:
    storage, root = place
    plant(storage, root, started=12345.0, beat=time.time())
    with RunLock(storage, root):
        assert content(storage, root)["owner"] != "another"


@pytest.mark.parametrize("machine", ["another machine"])
def test_the_same_pid_elsewhere_says_nothing_until_the_lock_is_old(place: tuple[Storage, str], machine: str) -> None:
    """Containers on two machines may have one host name and any process id."""
    storage, root = place
    clock = Clock()
    plant(storage, root, machine=machine, pid=2**22 + 1, beat=clock.now, ttl_s=60.0)
    clock.advance(59)
    with pytest.raises(ConfigError, match="last heard of 59 s ago; stop it, or wait 1 s"):
        RunLock(storage, root, clock=clock).__enter__()
    clock.advance(2)
    with RunLock(storage, root, clock=clock):
        assert content(storage, root)["owner"] != "another"


def test_the_loss_is_noticed_at_the_next_beat_and_the_new_owners_lock_stays(place: tuple[Storage, str]) -> None:
    storage, root = place
    beating = _Held(storage)  # a beat between the two looks of the second driver would send it away
    with RunLock(beating, root, ttl_s=0.2) as first:
        late = time.time() + 1000
        with RunLock(_as_another_machine(storage), root, ttl_s=60, clock=lambda: late) as second:
            beating.go_on.set()
            assert first.lost.wait(60)
            assert not second.lost.is_set()
            first.__exit__(None, None, None)
            assert content(storage, root)["owner"] == second._owner


def test_a_driver_that_slept_past_its_time_does_not_delete_the_new_owners_lock(place: tuple[Storage, str]) -> None:
    """Its beat thread never ran in between: it must learn of the loss on its way out."""
    storage, root = place
    with RunLock(storage, root, ttl_s=3600):
        plant_over(storage, root)
    assert content(storage, root)["owner"] == "another"


def plant_over(storage: Storage, root: str) -> None:
    storage.write(lock_url(root), json.dumps({**content(storage, root), "owner": "another"}).encode())


def _as_another_machine(storage: Storage) -> Storage:
    """Reads the lock as if its holder were on another machine, so that only time can tell whether it lives."""

    class Elsewhere(_Through):
        def read(self, url: str) -> bytes:
            return json.dumps({**json.loads(self.inner.read(url)), "machine": "elsewhere"}).encode()

    return Elsewhere(storage)


class _Through:
    """A storage that passes everything on; subclasses put faults in between."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Held(_Through):
    """Replaces nothing before it may."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.go_on = threading.Event()

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        assert self.go_on.wait(60)
        return self.inner.replace(url, data, etag=etag)


def test_two_drivers_that_race_for_a_stale_lock_one_wins(place: tuple[Storage, str]) -> None:
    storage, root = place
    for _ in range(10):
        plant(storage, root, machine="gone", beat=0.0)
        gate = threading.Barrier(2)
        outcomes: list[object] = []

        def contend(gate: threading.Barrier = gate, outcomes: list[object] = outcomes) -> None:
            lock = RunLock(_Meeting(storage, gate), root)
            try:
                outcomes.append(lock.__enter__())
            except ConfigError as error:
                outcomes.append(error)

        threads = [threading.Thread(target=contend) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        winners = [outcome for outcome in outcomes if isinstance(outcome, RunLock)]
        losers = [str(outcome) for outcome in outcomes if isinstance(outcome, ConfigError)]
        assert len(winners) == 1
        assert len(losers) == 1
        assert "another driver took the stale lock first" in losers[0]
        winners[0].__exit__(None, None, None)


class _Meeting(_Through):
    """Both contenders have read the stale lock before either of them writes."""

    def __init__(self, inner: Storage, gate: threading.Barrier) -> None:
        super().__init__(inner)
        self.gate = gate

    def read(self, url: str) -> bytes:
        data = self.inner.read(url)
        self.gate.wait(60)
        return data


class _Flaky(_Through):
    """The heartbeat's writes fail ``faults`` times; with ``after`` the write has happened and its answer is lost."""

    def __init__(self, inner: Storage, faults: int, *, after: bool = False, error: type[Exception] = RetryableError):
        super().__init__(inner)
        self.faults = faults
        self.after = after
        self.error = error
        self.beats = 0

    def replace(self, url: str, data: bytes, *, etag: str) -> Entry:
        entry = self.inner.replace(url, data, etag=etag) if self.after or not self.faults else None
        if self.faults:
            self.faults -= 1
            raise self.error("no answer")
        self.beats += 1
        assert entry is not None
        return entry


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [RetryableError, ReplacedError])
def test_heartbeats_survive_faults_and_lost_answers(
    place: tuple[Storage, str], after: bool, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """ReplacedError is what a storage says that repeats a conditional write whose answer it did not get."""
    storage, root = place
    flaky = _Flaky(storage, 3, after=after, error=error)
    with RunLock(flaky, root, ttl_s=0.2) as lock:
        wait_until(lambda: flaky.beats >= 2)
        assert not lock.lost.is_set()
    with pytest.raises(NotFoundError):
        storage.stat(lock_url(root))


def test_the_heartbeat_goes_on_under_its_own_clock(place: tuple[Storage, str]) -> None:
    storage, root = place
    clock = Clock()
    with RunLock(storage, root, ttl_s=0.1, clock=clock):
        clock.advance(500)
        wait_until(lambda: content(storage, root)["beat"] == 1500.0)


def test_a_create_whose_answer_was_lost_is_known_as_ones_own(place: tuple[Storage, str]) -> None:
    storage, root = place

    class Repeats(_Through):
        def create(self, url: str, data: bytes) -> Entry:
            self.inner.create(url, data)
            raise ExistsError(f"{url}: exists already")

    with RunLock(Repeats(storage), root, ttl_s=0.1) as lock:
        time.sleep(0.1)
        assert not lock.lost.is_set()


def test_a_lock_given_back_between_two_looks_is_free(place: tuple[Storage, str]) -> None:
    storage, root = place

    class Fleeting(_Through):
        seen = 0

        def create(self, url: str, data: bytes) -> Entry:
            self.seen += 1
            if self.seen == 1:
                raise ExistsError(f"{url}: exists already")
            return self.inner.create(url, data)

    with RunLock(Fleeting(storage), root) as lock:
        assert content(storage, root)["owner"] == lock._owner


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{", b'{"host": "a"}'])
def test_a_lock_that_is_none_is_named_and_not_taken(place: tuple[Storage, str], garbage: bytes) -> None:
    storage, root = place
    storage.write(lock_url(root), garbage)
    with pytest.raises(ConfigError, match=r"lock\.json: is no lock of Curator; delete it"):
        RunLock(storage, root).__enter__()
