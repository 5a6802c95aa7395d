"""Streams through faults, with a scripted storage, a clock that only counts, and draws that are known."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from curator.errors import NotFoundError, ReplacedError, RetryableError
from curator.storage import Entry, MemoryStorage, ReadStream, resuming
from curator.storage.backoff import Backoff
from tests.waiting import wait_until

DATA = random.Random(3).randbytes(100_000)


class Faulty(MemoryStorage):
    """Memory whose k-th open stream fails as the k-th fault says, and is well after the last."""

    def __init__(self, *faults: Callable[[ReadStream], ReadStream] | Exception) -> None:
        self.faults: Iterator[object] = iter(faults)
        self.opened: list[tuple[int, int | None]] = []
        self.closed = 0
        self.lock = threading.Lock()

    def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
        stream = super().open(url, offset=offset, length=length, etag=etag)
        with self.lock:
            self.opened.append((offset, length))
            fault = next(self.faults, None)
        if isinstance(fault, Exception):
            raise fault
        return fault(stream) if callable(fault) else stream


class Ends:
    """A stream that gives ``after`` bytes and then its error, or an early end."""

    def __init__(self, stream: ReadStream, after: int, error: Exception | None) -> None:
        self.stream, self.left, self.error = stream, after, error

    def read(self, size: int = -1, /) -> bytes:
        if self.left == 0 and self.error is not None:
            raise self.error
        data = self.stream.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data

    def close(self) -> None:
        self.stream.close()


def ends(after: int, error: Exception | None = None) -> Callable[[ReadStream], ReadStream]:
    return lambda stream: Ends(stream, after, error)


def lost() -> RetryableError:
    return RetryableError("connection reset")


@pytest.fixture
def entry() -> Entry:
    return MemoryStorage().write(f"memory://resume-{uuid.uuid4().hex}/shard.tar", DATA)


def patient(attempts: int = 5) -> tuple[Backoff, list[float]]:
    waits: list[float] = []
    return Backoff(attempts, base_s=1.0, cap_s=5.0, sleep=waits.append, draw=lambda: 1.0), waits


def test_without_faults_it_is_one_open(entry: Entry) -> None:
    storage = Faulty()
    stream = resuming(storage, entry)
    assert stream.read(10) + stream.read(0) + stream.read() == DATA
    assert stream.read(1) == b""
    assert storage.opened == [(0, None)]


@pytest.mark.parametrize("chunk", [1, 512, 777, 65536, -1])
def test_bytes_are_the_same_through_resets_short_bodies_and_refusals(entry: Entry, chunk: int) -> None:
    backoff, waits = patient()
    storage = Faulty(ends(1000, lost()), lost(), ends(0), ends(1), ends(30_000, lost()), lost(), lost(), lost())
    stream = resuming(storage, entry, backoff=backoff)
    got = stream.read(5)
    got += b"".join(iter(lambda: stream.read(chunk), b""))
    assert got == DATA
    assert [offset for offset, _ in storage.opened] == [0, 1000, 1000, 1000, 1001, 31_001, 31_001, 31_001, 31_001]
    # waits double while nothing arrives, up to the cap, and start again after a byte
    assert waits == [1.0, 2.0, 4.0, 1.0, 1.0, 2.0, 4.0, 5.0]


def test_it_starts_at_an_offset(entry: Entry) -> None:
    stream = resuming(Faulty(ends(7)), entry, offset=99_000, backoff=patient()[0])
    assert stream.read() == DATA[99_000:]


def test_faults_in_a_row_are_bounded_and_the_error_says_where(entry: Entry) -> None:
    backoff, waits = patient(attempts=3)
    storage = Faulty(ends(500, lost()), *[lost() for _ in range(9)])
    with pytest.raises(RetryableError, match=r"byte 500 of 100000 after 3 faults.*connection reset"):
        resuming(storage, entry, backoff=backoff).read()
    assert len(storage.opened) == 3
    assert waits == [1.0, 2.0]


def test_a_trickle_is_bounded_in_all(entry: Entry) -> None:
    storage = Faulty(*[ends(1, lost()) for _ in range(1000)])
    with pytest.raises(RetryableError, match="after 40 faults"):
        resuming(storage, entry, backoff=patient(attempts=2)[0]).read()


def test_a_body_cut_in_storage_is_never_taken_for_the_whole(entry: Entry) -> None:
    longer = Entry(entry.url, entry.size + 1, entry.etag)
    with pytest.raises(RetryableError, match="ended at byte 100000 of 100001"):
        resuming(MemoryStorage(), longer, backoff=patient()[0]).read()


@pytest.mark.parametrize("error", [ReplacedError("etag"), NotFoundError("gone")])
def test_other_verdicts_pass_through_at_once(entry: Entry, error: Exception) -> None:
    storage = Faulty(ends(1000, lost()), error)
    stream = resuming(storage, entry, backoff=patient()[0])
    with pytest.raises(type(error)):
        stream.read()
    assert len(storage.opened) == 2


def test_an_object_replaced_between_two_openings_is_no_mixture(entry: Entry) -> None:
    stream = resuming(Faulty(ends(1000, lost())), entry, backoff=patient()[0])
    stream.read(10)
    MemoryStorage().write(entry.url, bytes(100_000))
    with pytest.raises(ReplacedError):
        stream.read()


def test_jitter_is_full() -> None:
    backoff = Backoff(base_s=0.5, cap_s=20.0, draw=random.Random(0).random)
    for failures in (1, 3, 9):
        top = min(20.0, 0.5 * 2 ** (failures - 1))
        waits = [backoff.wait_s(failures) for _ in range(2000)]
        assert 0 <= min(waits) < 0.01 * top
        assert 0.99 * top < max(waits) <= top
        assert abs(sum(waits) / len(waits) - top / 2) < 0.03 * top


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
@pytest.mark.parametrize("offset", [0, 12_345])
def test_read_ahead_delivers_the_same_bytes(entry: Entry, parts: int, offset: int) -> None:
    draw = random.Random(parts)
    faults = [ends(draw.randrange(5000), lost()) if draw.random() < 0.5 else ends(10**6) for _ in range(60)]
    storage = Faulty(*faults)
    stream = resuming(storage, entry, offset=offset, backoff=patient()[0], read_ahead_parts=parts, part_bytes=4096)
    got = b""
    while piece := stream.read(draw.randrange(1, 9000)):
        got += piece
    assert got == DATA[offset:]
    assert all(length is None or length <= 4096 for _, length in storage.opened)
    stream.close()


def test_read_ahead_runs_in_parallel_and_holds_no_more_than_its_parts(entry: Entry) -> None:
    gate = threading.Barrier(4)

    def together(stream: ReadStream) -> ReadStream:
        gate.wait(60)  # passes only when four parts are on the way at once
        return stream

    storage = Faulty(*[together] * 4)
    stream = resuming(storage, entry, read_ahead_parts=4, part_bytes=1000)
    assert stream.read(1) == DATA[:1]
    time.sleep(0.1)
    assert len(storage.opened) == 4
    assert stream.read(1000) == DATA[1:1001]  # the first part is used up: room for one more
    wait_until(lambda: len(storage.opened) == 5)
    time.sleep(0.1)
    assert len(storage.opened) == 5
    stream.close()


def test_read_ahead_raises_an_error_where_its_bytes_are_due(entry: Entry) -> None:
    class Hole(MemoryStorage):
        def open(self, url: str, *, offset: int = 0, length: int | None = None, etag: str | None = None) -> ReadStream:
            if offset == 3000:
                raise NotFoundError(url)
            return super().open(url, offset=offset, length=length, etag=etag)

    stream = resuming(Hole(), entry, read_ahead_parts=8, part_bytes=1000)
    assert stream.read(3000) == DATA[:3000]
    for _ in range(2):
        with pytest.raises(NotFoundError):
            stream.read(1)
    stream.close()


def test_closing_read_ahead_ends_its_threads(entry: Entry) -> None:
    stream = resuming(MemoryStorage(), entry, read_ahead_parts=3, part_bytes=1000)
    stream.read(1)
    stream.close()
    wait_until(lambda: not any(thread.name.startswith("read-ahead") for thread in threading.enumerate()))
    with pytest.raises(ValueError, match="closed"):
        stream.read(5000)
