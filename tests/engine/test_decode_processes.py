"""Decoding in processes: the outcomes of threads, whatever hangs, dies or is killed; and nothing stays behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from curator.data import Decoded, Preprocess, Reject
from curator.engine import decode_processes
from curator.engine.decode_nursery import Nursery, NurseryError
from curator.engine.decode_processes import DecodeProcesses
from curator.engine.decoding import Job, Outcome, decode_one
from curator.errors import RetryableError
from curator.shards.decode import Decoder
from tests.builders import make_jpeg
from tests.engine.decoders import SHAPE, NotLoaded, Obedient
from tests.engine.machines import engine_threads
from tests.waiting import wait_until

PREPROCESS = Preprocess((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

PROGRAM = "from tests.engine.decoders import main; main()"
"""Not ``-m``: what is defined in ``__main__`` cannot be sent to another process."""

Open = Callable[..., DecodeProcesses]


@pytest.fixture
def open_pool() -> Iterator[Open]:
    made: list[DecodeProcesses] = []

    def open_one(decode: Any = None, shape: tuple[int, ...] = SHAPE, **settings: Any) -> DecodeProcesses:
        nursery = Nursery(decode or Obedient(), shape)
        made.append(DecodeProcesses(nursery, **{"slots": 2, "limit_s": 60.0, **settings}))
        return made[-1]

    yield open_one
    for pool in made:
        pool.close()


def submit(
    pool: Any, images: list[bytes], ended: queue.Queue[tuple[int, Outcome]] | None = None
) -> Callable[[], list[Outcome]]:
    """Give the pool all images; the call returned waits for their outcomes, in the images' order."""
    ended = queue.Queue() if ended is None else ended
    for number, data in enumerate(images):
        pool.submit(Job(data, lambda outcome, number=number: ended.put((number, outcome))))  # type: ignore[misc]

    def wait() -> list[Outcome]:
        found = dict(ended.get(timeout=60) for _ in images)
        assert len(found) == len(images), "each is settled once"
        return [found[number] for number in range(len(images))]

    return wait


def said(outcomes: list[Outcome]) -> list[str]:
    """ok, the reason, or the error."""
    results = [outcome.result for outcome in outcomes]
    return ["ok" if isinstance(each, Decoded) else getattr(each, "reason", str(each)) for each in results]


def processes(pids: list[int]) -> list[psutil.Process]:
    """Known by more than their numbers, which others may have been given when they are asked for."""
    return [psutil.Process(pid) for pid in pids]


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_the_outcomes_are_those_of_the_decoder(open_pool: Open) -> None:
    images = [make_jpeg(40 + seed, 50, seed=seed) for seed in range(60)]
    images[7], images[20], images[33] = b"", b"<html>", images[33][:-300]
    images.append(make_jpeg(1700, 1300, seed=3, quality=100))  # larger than what goes in one message
    decode = Decoder(PREPROCESS)
    found = submit(open_pool(decode, (3, 32, 32)), images)()
    for data, outcome in zip(images, found, strict=True):
        expected = decode_one(decode, data)
        assert outcome.sha256 == hashlib.sha256(data).digest()
        assert outcome.seconds > 0
        if isinstance(expected.result, Decoded):
            assert isinstance(outcome.result, Decoded)
            np.testing.assert_array_equal(outcome.result.pixels, expected.result.pixels)
            assert (outcome.result.width, outcome.result.format) == (expected.result.width, "JPEG")
        else:
            assert outcome.result == expected.result
    assert len(images[-1]) > decode_processes.TOGETHER_BYTES
    assert said(found).count("ok") == 58


def test_pixels_stay_as_they_were_while_others_are_decoded(open_pool: Open) -> None:
    """They are copied out of memory that a process writes on."""
    found = submit(open_pool(slots=1), [b"ok %d" % number for number in range(200)])()
    assert [int(outcome.result.pixels[2, 1, 1]) for outcome in found] == list(range(200))  # type: ignore[union-attr]


def test_what_nobody_foresaw_in_a_decoder_is_an_error_of_that_image(open_pool: Open) -> None:
    found = submit(open_pool(), [b"ok", b"error 7", b"shape", b"bad 5", b"ok"])()
    assert said(found) == [
        "ok",
        "in a decode process: MemoryError: 7",
        "in a decode process: ValueError: the decoder gave pixels (3, 1, 1), not (3, 2, 2)",
        "truncated_image",
        "ok",
    ]
    assert found[3].result == Reject("truncated_image", "image 5 ends \udc80")


@pytest.mark.parametrize(("how", "signal_name"), [("segfault", "SIGSEGV"), ("kill", "SIGKILL")])
def test_an_image_that_kills_its_process_costs_no_other(
    open_pool: Open, how: str, signal_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    images = [b"ok %d" % number for number in range(60)]
    images[4] = images[5] = images[30] = how.encode()
    pool = open_pool()
    found = submit(pool, images)()
    assert said(found) == ["decoder_crashed" if data == how.encode() else "ok" for data in images]
    assert found[4].result == Reject("decoder_crashed", f"the decoder died of it twice: {signal_name}")
    assert found[4].sha256 == hashlib.sha256(images[4]).digest()
    assert caplog.text.count(f"died of an image ({signal_name}): it is tried once more") == 3


def test_processes_that_are_killed_at_work_cost_no_image(open_pool: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Each of the first two once: an image dies with one process at most."""
    pool = open_pool()
    wait = submit(pool, [b"slow %d" % number for number in range(100)])
    wait_until(lambda: len(pool.pids) == 2)
    for pid in pool.pids:
        time.sleep(0.15)
        os.kill(pid, signal.SIGKILL)
    assert said(wait()) == ["ok"] * 100
    assert caplog.text.count("SIGKILL") == 2


def test_an_idle_process_that_is_killed_is_replaced(open_pool: Open) -> None:
    pool = open_pool(slots=1)
    assert said(submit(pool, [b"ok"])()) == ["ok"]
    (first,) = pool.pids
    os.kill(first, signal.SIGKILL)
    assert said(submit(pool, [b"ok"] * 30)()) == ["ok"] * 30
    assert pool.pids != [first]


def test_the_nursery_is_replaced_with_its_processes(open_pool: Open, caplog: pytest.LogCaptureFixture) -> None:
    pool = open_pool()
    wait = submit(pool, [b"slow %d" % number for number in range(100)])
    wait_until(lambda: len(pool.pids) == 2)
    before = processes([pool.nursery_pid, *pool.pids])
    before[0].kill()
    assert said(wait()) == ["ok"] * 100
    wait_until(lambda: not any(map(alive, before)))
    assert "starting the decode processes anew" in caplog.text


@pytest.mark.parametrize("how", ["spin", "sleep"])
def test_a_process_that_hangs_is_killed_and_its_neighbours_are_decoded(
    open_pool: Open, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    images = [b"ok %d" % number for number in range(40)]
    images[3] = images[20] = how.encode()
    pool = open_pool(limit_s=2.0)
    wait = submit(pool, images)
    wait_until(lambda: len(pool.pids) == 2)
    first = processes(pool.pids)
    found = wait()
    assert said(found) == ["decode_timeout" if data == how.encode() else "ok" for data in images]
    assert found[3].result == Reject("decode_timeout", "not decoded within 2 s")
    assert found[3].sha256 == hashlib.sha256(images[3]).digest()
    assert not all(map(alive, first)), "what hung is not left behind"
    assert len(psutil.Process(pool.nursery_pid).children()) <= 2
    assert "a decode process was killed: one image took more than 2 s" in caplog.text


def test_slow_images_of_one_message_each_have_their_own_time(open_pool: Open) -> None:
    """100 times 20 ms in messages of eight: a limit on messages would be passed."""
    assert said(submit(open_pool(slots=1, limit_s=1.5), [b"slow"] * 100)()) == ["ok"] * 100


def test_close_ends_processes_and_threads_and_fails_what_waits() -> None:
    before = engine_threads()
    pool = DecodeProcesses(Nursery(Obedient(), SHAPE), slots=2, limit_s=60.0)
    wait = submit(pool, [b"sleep"] * 42)
    wait_until(lambda: len(pool.pids) == 2)
    ours = processes([pool.nursery_pid, *pool.pids])
    pool.close()
    assert all(isinstance(outcome.result, RetryableError) for outcome in wait())
    wait_until(lambda: not any(map(alive, ours)))
    wait_until(lambda: engine_threads() <= before)


def test_processes_that_cannot_be_had_again_fail_the_images_not_the_worker(
    open_pool: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = open_pool()
    assert said(submit(pool, [b"ok"] * 20)()) == ["ok"] * 20
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    gone = processes([pool.nursery_pid, *pool.pids])
    gone[0].kill()
    wait_until(lambda: not any(map(alive, gone)))
    found = submit(pool, [b"ok"] * 20)()
    assert all(isinstance(outcome.result, RetryableError) for outcome in found)
    assert "cannot be started" in said(found)[0]
    monkeypatch.undo()
    assert said(submit(pool, [b"ok"] * 20)()) == ["ok"] * 20


def test_a_decoder_that_cannot_be_loaded_is_told() -> None:
    with pytest.raises(NurseryError, match="libjpeg is not there"):
        DecodeProcesses(Nursery(NotLoaded(), SHAPE), slots=1, limit_s=60.0)
    with pytest.raises(NurseryError, match="cannot be started"):
        Nursery(lambda data: None, SHAPE)  # type: ignore[arg-type, return-value]


def test_a_worker_that_ends_before_its_program_has_begun_leaves_no_word(capfd: pytest.CaptureFixture[str]) -> None:
    Nursery(Obedient(), SHAPE).close()
    nursery = Nursery(Obedient(), SHAPE)
    wait_until(lambda: bool(select.select([nursery._control], [], [], 0)[0]))  # it has said that it is ready
    nursery.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("forked", [[], ["fork"]], ids=["alone", "with a stranger that holds its files"])
def test_a_parent_that_is_killed_leaves_no_process(forked: list[str]) -> None:
    """One of the processes hangs in an image: it would read no end of file."""
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, *forked], stdout=subprocess.PIPE, start_new_session=True)
    assert program.stdout is not None
    *pids, stranger = map(int, program.stdout.readline().split())
    ours = processes(pids)
    try:
        assert all(map(alive, ours))
        program.kill()
        program.wait()
        wait_until(lambda: not any(map(alive, ours)))
    finally:
        program.stdout.close()
        if stranger:
            os.kill(stranger, signal.SIGKILL)


def test_an_interrupt_from_the_terminal_is_the_workers_alone() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert program.stdout is not None
    *pids, _ = map(int, program.stdout.readline().split())
    ours = processes(pids)
    try:
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=60)
        assert (program.returncode, errors) == (0, b"")
        wait_until(lambda: not any(map(alive, ours)))
    finally:
        program.kill()
