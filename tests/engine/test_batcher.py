"""The device's batches: filled across leases, run when nothing more comes, and a fault costs only who was in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from curator.data import ColumnValues, Decoded, Embeddings, Lease, Rows, Shard
from curator.engine.assembly import Assembly
from curator.engine.batcher import DeviceBatcher, Slot
from tests.engine.machines import COLUMNS, DIM, EchoHead, FakeEncoder, engine_threads
from tests.engine.rows import record


class Permits:
    """Counts how many slots have left."""

    def __init__(self) -> None:
        self.left = 0
        self._lock = threading.Lock()

    def release(self) -> None:
        with self._lock:
            self.left += 1


class Bench:
    """A batcher with its permits and encoder."""

    def __init__(self, **options: object) -> None:
        self.permits = Permits()
        self.encoder = FakeEncoder()
        # Nobody waits so long: a batch is split only by what the test does, never by a thread that had no turn.
        self.options = {"batch_size": 4, "linger_s": 60.0, **options}
        self.batcher: DeviceBatcher | None = None

    def start(self, *heads: Callable[[Embeddings], Mapping[str, ColumnValues]]) -> DeviceBatcher:
        self.batcher = DeviceBatcher(
            self.encoder,
            heads or (EchoHead(),),
            release=self.permits.release,
            **self.options,  # type: ignore[arg-type]
        )
        return self.batcher


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    if made.batcher is not None:
        made.batcher.close()


def assembly_of(name: str, rows: int) -> Assembly:
    made = Assembly(Lease(Shard(f"mem/{name}.tar")), dim=DIM, columns=COLUMNS, block_rows=64)
    for _ in range(rows):
        made.admit()
    made.close()
    return made


def slot(assembly: Assembly, index: int, number: int) -> Slot:
    return Slot(assembly, record(index), Decoded(np.full((3, 2, 2), number, np.uint8), 2, 2, "JPEG"))


def numbers_of(rows: Rows | None) -> list[float]:
    assert rows is not None
    assert rows.annotations["number"].tolist() == rows.vectors[:, 0].tolist()  # type: ignore[union-attr]
    return rows.vectors[:, 0].tolist()


def test_batches_fill_across_leases_and_rows_find_back(bench: Bench) -> None:
    batcher = bench.start()
    a, b = assembly_of("a", 4), assembly_of("b", 4)
    for index in range(4):
        batcher.put(slot(a, index, 10 + index))
        batcher.put(slot(b, index, 20 + index))
    assert numbers_of(a.take(wait=True)) == [10, 11, 12, 13]
    assert numbers_of(b.take(wait=True)) == [20, 21, 22, 23]
    assert bench.encoder.batches == [[10, 20, 11, 21], [12, 22, 13, 23]]
    assert bench.permits.left == 8


def test_a_partial_batch_runs_once_nothing_more_comes(bench: Bench) -> None:
    bench.options["linger_s"] = 0.05
    batcher = bench.start()
    a = assembly_of("a", 2)
    began = time.monotonic()
    for index in range(2):
        batcher.put(slot(a, index, index))
    assert numbers_of(a.take(wait=True)) == [0, 1]
    assert time.monotonic() - began > 0.04
    assert [number for batch in bench.encoder.batches for number in batch] == [0, 1]


def test_an_encoder_fault_fails_exactly_the_leases_in_that_batch(bench: Bench) -> None:
    def refuse(numbers: list[int]) -> None:
        if 13 in numbers:
            raise RuntimeError("device-side assert")

    bench.encoder.before = refuse
    batcher = bench.start()
    a, b, c = assembly_of("a", 4), assembly_of("b", 2), assembly_of("c", 8)
    for index in range(4):
        batcher.put(slot(c, index, 30 + index))
    for index in range(2):
        batcher.put(slot(a, index, 12 + index))
        batcher.put(slot(b, index, 20 + index))
    for index in range(4, 8):
        batcher.put(slot(c, index, 30 + index))
    assert numbers_of(c.take(wait=True)) == [30, 31, 32, 33, 34, 35, 36, 37]
    for failed in (a, b):
        with pytest.raises(RuntimeError, match="device-side assert"):
            failed.take(wait=True)
    batcher.put(slot(a, 2, 14))
    d = assembly_of("d", 3)
    for index in range(3):
        batcher.put(slot(d, index, 40 + index))
    assert numbers_of(d.take(wait=True)) == [40, 41, 42], "rows of a lease that has ended are dropped, and nobody minds"
    assert bench.permits.left == 16


@pytest.mark.parametrize("fault", [ValueError("bad head"), MemoryError("host")])
def test_a_head_that_fails_costs_its_batch_and_no_other(bench: Bench, fault: BaseException) -> None:
    def head(embeddings: Embeddings) -> Mapping[str, ColumnValues]:
        if embeddings.vectors[0, 0] == 1:
            raise fault
        return {}

    batcher = bench.start(head)
    a, b = assembly_of("a", 4), assembly_of("b", 4)
    for made, number in ((a, 1), (b, 2)):
        for index in range(4):
            batcher.put(slot(made, index, number))
    rows = b.take(wait=True)
    assert rows is not None
    assert rows.vectors[:, 0].tolist() == [2] * 4
    with pytest.raises(type(fault)):
        a.take(wait=True)
    assert bench.permits.left == 8


def test_seconds_are_in_the_lease_before_its_last_row_is(bench: Bench) -> None:
    """A lease commits as soon as it has all rows: seconds that came later would be missing from its receipt."""

    def slow(embeddings: Embeddings) -> Mapping[str, ColumnValues]:
        time.sleep(0.05)
        return {}

    bench.encoder.before = lambda numbers: time.sleep(0.1)
    batcher = bench.start(slow)
    a, b = assembly_of("a", 3), assembly_of("b", 1)
    for index in range(3):
        batcher.put(slot(a, index, 1))
    batcher.put(slot(b, 0, 1))
    a.take(wait=True)
    seconds = dict(a.seconds)
    b.take(wait=True)
    assert seconds["device"] >= 0.075
    assert seconds["label"] >= 0.0375
    assert seconds["device"] == pytest.approx(3 * b.seconds["device"]), "a batch is paid for by the row"
    assert seconds["device"] + b.seconds["device"] == pytest.approx(batcher.busy_s)


def test_heads_of_one_batch_run_while_the_device_runs_the_next(bench: Bench) -> None:
    second = threading.Event()

    def head(embeddings: Embeddings) -> Mapping[str, ColumnValues]:
        assert second.wait(60)
        return {}

    def before(numbers: list[int]) -> None:
        if numbers[0] == 2:
            second.set()

    bench.encoder.before = before
    batcher = bench.start(head)
    a = assembly_of("a", 8)
    for index in range(8):
        batcher.put(slot(a, index, 1 + index // 4))
    assert a.take(wait=True) is not None


def test_close_runs_what_waits_and_ends_both_threads() -> None:
    bench = Bench(batch_size=8)
    before = engine_threads()
    batcher = bench.start()
    a = assembly_of("a", 20)
    for index in range(20):
        batcher.put(slot(a, index, index))
    batcher.close()
    assert numbers_of(a.take(wait=False)) == list(range(20))
    assert engine_threads() <= before
    assert bench.permits.left == 20


def test_lanes_embed_at_the_same_time_and_share_no_batch(bench: Bench) -> None:
    both = threading.Barrier(2, timeout=60)
    bench.options["lanes"] = 2
    bench.encoder.before = lambda numbers: both.wait()
    batcher = bench.start()
    a = assembly_of("a", 16)
    for index in range(16):
        batcher.put(slot(a, index, index))
    assert numbers_of(a.take(wait=True)) == list(range(16))
    assert bench.permits.left == 16
    batcher.close(timeout_s=60)
    assert not any(thread.is_alive() for thread in batcher._threads)
